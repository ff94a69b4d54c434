//! What the commands of language models share: which models, how tokens are drawn, how much room there is.

use super::common::Common;
use super::output::{self, Download};
use cascadia::device::Device;
use cascadia::engine::language::{
    Draft, DraftLen, Language, Request, Room, Sampling, Session, embedded, published,
};
use cascadia::engine::online;
use cascadia::io::LanguageFiles;
use cascadia::io::hub::{self, Hub};
use cascadia::io::text::Tokenizer;
use cascadia::plan::Options;
use cascadia::tensor::Format;
use cascadia::{Error, Result};
use clap::ValueEnum;
use std::path::Path;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Models {
    /// A folder with config.json and safetensors, a .gguf file, or a model of the hub; the built-in one without it
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub target: Option<String>,
    /// As --target, of the same vocabulary and smaller; or `ngram`: what followed the same tokens before; or `none`.
    /// Given several times with names, there are several drafts: see --label
    #[arg(long, value_name = "[NAME=]DIR|[NAME=]HUB_ID|ngram|none")]
    pub draft: Vec<String>,
    /// How weights are stored on the device; the element type without it
    #[arg(long, value_name = "FORMAT")]
    pub weights: Option<Stored>,
    /// Room for so many tokens, prompt and answer together; the model's own length, up to 4096, without it
    #[arg(long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Each token sees only so many before it, so that a text may grow beyond the model's length
    #[arg(long, value_name = "TOKENS")]
    pub sliding_window: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Stored {
    F32,
    F16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

#[derive(clap::Args)]
pub struct Drawing {
    /// At most so many new tokens; 256, or what there is room for, without it
    #[arg(long, value_name = "N")]
    pub max_new: Option<usize>,
    /// 0 takes the likeliest token; what generation_config.json says without it, else 0
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Only the N likeliest tokens; 0: all
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// Only the likeliest tokens that together have this probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Only tokens at least this times as likely as the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens that are there already
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub repetition_penalty: Option<f32>,
    /// The same seed gives the same text: with it, --draft-len auto goes by planned costs, not by the clock
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Tokens that the draft proposes at a time: auto (as many as pay), planned (the same by planned costs alone), a number,
    /// or off
    #[arg(long, value_name = "auto|planned|N|off", default_value = "auto", value_parser = draft_len)]
    pub draft_len: DraftLen,
    /// Where logits are not finite, name the layer that they come from
    #[arg(long)]
    pub check: bool,
}

/// `auto`, `planned`, `off`, or a number of proposals that a round can have.
fn draft_len(text: &str) -> Result<DraftLen, String> {
    let most = cascadia::engine::language::KMAX;
    match text.parse() {
        Ok(DraftLen::Fixed(k)) if k > most => Err(format!("at most {most} tokens a round")),
        Ok(length) => Ok(length),
        Err(e) => Err(e.to_string()),
    }
}

/// New tokens where nobody says how many.
const MAX_NEW: usize = 256;

/// More tokens than any sequence has, and few enough to count their bytes.
pub const LONGEST: usize = 1 << 24;

/// The models of a command, opened.
pub struct Opened {
    pub device: Device,
    pub target: Arc<Language>,
    pub draft: Draft,
    /// Drafts that were given with names.
    pub named: Vec<(String, Arc<Language>)>,
    pub tokenizer: Option<Tokenizer>,
    room: Option<usize>,
    window: Option<usize>,
}

/// How a plan is made whose weights are stored as `stored`.
pub fn options(common: &Common, device: &Device, stored: Option<Stored>) -> Result<Options> {
    let mut options = Options::new(common.dtype(device.caps(), device.name())?);
    if let Some(stored) = stored {
        options.weights = stored.format();
    }
    Ok(options)
}

impl Stored {
    pub fn format(self) -> Format {
        match self {
            Stored::F32 => Format::F32,
            Stored::F16 => Format::F16,
            Stored::Q8_0 => Format::Q8_0,
            Stored::Q4_0 => Format::Q4_0,
        }
    }
}

/// The files that `text` names.
pub fn files(text: &str) -> Result<LanguageFiles> {
    let path = Path::new(text);
    if path.exists() {
        return LanguageFiles::open(path);
    }
    if hub::is_hub_id(text) {
        return LanguageFiles::fetch(&Hub::from_env()?, text, &mut Download::default());
    }
    Err(Error::Usage(format!(
        "there is no model `{text}`: expected a folder with config.json, a .gguf file, or a model of the hub such as \
         TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    )))
}

/// What --draft said: drafts with names, and the one without.
type Given<'a> = (Vec<(&'a str, &'a str)>, Option<&'a str>);

impl Models {
    fn drafts(&self) -> Result<Given<'_>> {
        let (mut named, mut unnamed) = (Vec::new(), None);
        for text in &self.draft {
            let pair = text.split_once('=').filter(|(name, _)| !name.contains('/'));
            match pair.filter(|_| !Path::new(text).exists()) {
                Some((_, "ngram" | "none")) => {
                    return Err(Error::Usage(format!(
                        "--draft {text}: `ngram` and `none` take no name; of several drafts one is always `ngram`"
                    )));
                }
                Some((name, place)) => named.push((online::name(name)?, place)),
                None if unnamed.is_none() => unnamed = Some(text.as_str()),
                None => {
                    return Err(Error::Usage(format!(
                        "--draft {text}: there is one already; give all but one a name, as in --draft sql={text}"
                    )));
                }
            }
        }
        Ok((named, unnamed))
    }

    /// Opens the target, and the draft where `drafted`.
    pub fn open(&self, common: &Common, drafted: bool) -> Result<Opened> {
        for (flag, given) in [
            ("--context", self.context),
            ("--sliding-window", self.sliding_window),
        ] {
            if let Some(n) = given.filter(|n| !(1..=LONGEST).contains(n)) {
                return Err(Error::Usage(format!(
                    "{flag} {n}: expected 1 to {LONGEST} tokens"
                )));
            }
        }
        let device = common.open()?;
        let options = options(common, &device, self.weights)?;
        let (target, built_in) = match &self.target {
            Some(text) => (files(text)?, None),
            None => {
                let [target, draft] = embedded()?;
                (target, Some(draft))
            }
        };
        let (named, unnamed) = self.drafts()?;
        let tokenizer = target.tokenizer()?;
        let target = Arc::new(Language::open(&device, Arc::new(target), &options)?);
        if let Some(tokenizer) = &tokenizer {
            tokenizer.within(target.config().vocab())?;
        }
        let open = |files: LanguageFiles| -> Result<Arc<Language>> {
            let theirs = files.tokenizer()?;
            let draft = Language::open(&device, Arc::new(files), &options)?;
            if let Some(theirs) = &theirs {
                theirs.within(draft.config().vocab())?;
                tokenizer.as_ref().map_or(Ok(()), |t| t.agree(theirs))?;
            }
            Ok(Arc::new(draft))
        };
        let draft = match (unnamed, built_in) {
            _ if !drafted => Draft::None,
            (Some("ngram"), _) => Draft::Ngram,
            (Some("none"), _) | (None, None) => Draft::None,
            (Some(text), _) => Draft::Model(open(files(text)?)?),
            (None, Some(built_in)) => Draft::Model(open(built_in)?),
        };
        let one = |(name, text): (&str, &str)| Ok((name.to_string(), open(files(text)?)?));
        let named = (named.into_iter().filter(|_| drafted).map(one)).collect::<Result<_>>()?;
        Ok(Opened {
            device,
            target,
            draft,
            named,
            tokenizer,
            room: self.context,
            window: self.sliding_window,
        })
    }
}

impl Opened {
    /// Room for a sequence, of which `wanted` tokens are certain.
    pub fn room(&self, wanted: usize) -> Result<Room> {
        const MOST: usize = 4096;
        let own = self.target.max_positions();
        if wanted > LONGEST {
            return Err(Error::Usage(format!(
                "{wanted} tokens are too many: at most {LONGEST}"
            )));
        }
        if let Some(window) = self.window {
            return Ok(Room::sliding(
                self.room.unwrap_or(wanted).max(wanted),
                window,
            ));
        }
        let positions = self
            .room
            .unwrap_or(own.unwrap_or(MOST).min(MOST).max(wanted));
        match own {
            Some(own) if positions > own => Err(Error::Usage(format!(
                "{positions} tokens are beyond the {own} that the model was made for; ask for fewer (--max-new, \
                 --context), or give --sliding-window"
            ))),
            _ => Ok(Room::of(positions)),
        }
    }

    /// New tokens where nobody says how many: as many as fit behind a prompt of `prompt`, up to [`MAX_NEW`].
    pub fn max_new(&self, prompt: usize) -> usize {
        let own = self.target.max_positions();
        let behind = !self.target.has_encoder() && self.window.is_none();
        match self.room.or(own).filter(|_| behind) {
            Some(room) => room.saturating_sub(prompt).clamp(1, MAX_NEW),
            None => MAX_NEW.min(self.room.unwrap_or(MAX_NEW)),
        }
    }

    /// A session with room for `wanted` tokens at least.
    pub fn session(&self, wanted: usize) -> Result<Session> {
        Session::new(&self.target, self.draft.clone(), self.room(wanted)?)
    }

    /// What `drawing` asks for, where the checkpoint's own settings stand for what it does not say.
    pub fn request(&self, drawing: &Drawing) -> Result<Request> {
        let generation = match self.target.files() {
            Some(files) => files.generation.clone(),
            None => Default::default(),
        };
        let own = published(&generation);
        let sampling = Sampling {
            temperature: drawing.temperature.unwrap_or(own.temperature),
            top_k: drawing.top_k.unwrap_or(own.top_k),
            top_p: drawing.top_p.unwrap_or(own.top_p),
            min_p: drawing.min_p.unwrap_or(own.min_p),
            penalty: drawing.repetition_penalty.unwrap_or(own.penalty),
            seed: drawing.seed.unwrap_or(0),
        };
        sampling.check()?;
        if drawing.max_new == Some(0) {
            return Err(Error::Usage(
                "--max-new 0 generates nothing: expected at least 1".into(),
            ));
        }
        // Greedy tokens are the same with any lengths.
        let draft_len = match drawing.draft_len {
            DraftLen::Auto if drawing.seed.is_some() && sampling.temperature > 0.0 => {
                DraftLen::Planned
            }
            asked => asked,
        };
        let stop = match generation.eos.as_slice() {
            [] => self.target.config().eos().to_vec(),
            own => own.to_vec(),
        };
        Ok(Request {
            max_new: drawing.max_new.unwrap_or(MAX_NEW),
            sampling,
            draft_len,
            stop,
            check: drawing.check,
        })
    }

    /// The tokenizer, which a command that takes text needs.
    pub fn text(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| {
            Error::Usage(format!(
                "{} has no tokenizer.json, which text needs; `generate --tokens` takes ids instead",
                self.target.name()
            ))
        })
    }
}

/// A model's name and size.
pub fn titled(model: &Language) -> Result<String> {
    let millions = model.parameters()? as f64 / 1e6;
    Ok(format!("{} ({millions:.1} M)", model.name()))
}

/// Says what runs where; `drafter` is what proposes tokens, where that is not the draft that was given.
pub fn announce(opened: &Opened, drafter: Option<String>) -> Result<()> {
    let draft = match &opened.draft {
        Draft::None => "no draft".to_string(),
        Draft::Ngram => "drafts looked up in the text".into(),
        Draft::Model(model) => format!("drafts by {}", titled(model)?),
    };
    let draft = drafter.unwrap_or(draft);
    let options = opened.target.options();
    output::note(format_args!(
        "{}, {draft}; weights in {}, on {}",
        titled(&opened.target)?,
        options.weights,
        opened.device.name()
    ));
    Ok(())
}
