//! `cascadia osd`: streams of requests, the arms that serve them, and what online learning gains.

use super::common::{Common, within};
use super::language::{files, options};
use super::osd_report::Report;
use super::{Outcome, osd_figures, osd_report, output};
use cascadia::device::Device;
use cascadia::engine::distill::Settings as Training;
use cascadia::engine::language::{DraftLen, KMAX, Language, Sampling, embedded};
use cascadia::engine::online::{OnlineSettings, Positions};
use cascadia::engine::osd::scores::window;
use cascadia::engine::osd::{
    Domain, Draws, Experiment, Item, Kind, Measure, Settings, Stream, criteria,
};
use cascadia::io::text::Tokenizer;
use cascadia::io::utf8;
use cascadia::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// The folder of results: a CSV of each run, summary.json, and figures in SVG
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// As in `generate`; the built-in one without it
    #[arg(long, value_name = "DIR|HUB_ID")]
    target: Option<String>,
    /// The draft that every arm begins with; the built-in one where --target is not given either
    #[arg(long, value_name = "DIR|HUB_ID")]
    draft: Option<String>,
    /// Begin with a draft of the same sizes that knows nothing but what --warm-up has taught it: the built-in draft has
    /// learnt every domain already, and leaves little to gain
    #[arg(long)]
    fresh: bool,
    /// Steps in which a --fresh draft learns the first domain
    #[arg(long, value_name = "N", default_value_t = 100)]
    warm_up: usize,
    /// A folder with one .txt for each domain, at the starts of whose lines prompts are cut
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only these streams: a domain's name or stationary, sharp, abrupt, gradual, interleaved,
    /// mixed
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    stream: Vec<String>,
    /// Only these arms: plain, static, static-10, online-8, online-1, routed, offline
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    arm: Vec<String>,
    /// Requests of a stream; 400, or 24 with --quick
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
    /// Times that everything is done, with other prompts and draws; 3, or 1 with --quick
    #[arg(long, value_name = "N")]
    seeds: Option<usize>,
    /// New tokens of a request, at most; 64, or 16 with --quick
    #[arg(long, value_name = "N")]
    max_new: Option<usize>,
    /// 0 takes the likeliest token
    #[arg(
        long,
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Tokens that the draft proposes at a time: auto, or a number
    #[arg(long, value_name = "auto|N", default_value = "5")]
    draft_len: DraftLen,
    /// The learning rate of every arm that learns
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1e-3,
        allow_negative_numbers = true
    )]
    lr: f32,
    /// Of the arms that are distilled beforehand; that of --lr where it is not given
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    offline_lr: Option<f32>,
    /// What every arm that learns makes small
    #[arg(long, value_name = "LOSS", default_value = "forward_kl")]
    loss: super::distill::Kind,
    /// Which of the target's distributions the online arms learn from: those of corrected tokens, or of accepted ones too
    #[arg(long, default_value = "errors")]
    positions: Taught,
    /// Distributions of earlier buffers that updates learn from again, beside as many new ones; 0: none
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = within(0..=1 << 24))]
    remember: usize,
    /// Steps of an update; one after every request (online-1) makes a quarter of them
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = within(1..=1000))]
    update_steps: usize,
    /// Little of everything, for a software adapter
    #[arg(long)]
    quick: bool,
    /// Go on in a folder that has some of the runs: what it has by the same settings is not done again
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Taught {
    Errors,
    All,
}

/// More of anything than an experiment has.
const MOST: usize = 1_000_000;

/// How much is run.
#[derive(Clone, Copy)]
struct Size {
    requests: usize,
    seeds: usize,
    max_new: usize,
}

impl Args {
    fn size(&self) -> Result<Size> {
        let or = |given: Option<usize>, usual: usize, quick: usize| {
            given.unwrap_or(if self.quick { quick } else { usual })
        };
        let size = Size {
            requests: or(self.requests, 400, 24),
            seeds: or(self.seeds, 3, 1),
            max_new: or(self.max_new, 64, 16),
        };
        for (flag, found, least) in [
            ("--requests", size.requests, 4),
            ("--seeds", size.seeds, 1),
            ("--max-new", size.max_new, 1),
        ] {
            if !(least..=MOST).contains(&found) {
                return Err(Error::Usage(format!(
                    "{flag} {found}: expected {least} to {MOST}"
                )));
            }
        }
        Ok(size)
    }

    fn arms(&self) -> Result<Vec<Kind>> {
        let all: Vec<Kind> = (self.arm.iter())
            .map(|a| a.parse())
            .collect::<Result<_>>()?;
        Ok(match all.is_empty() {
            true => Kind::ALL.to_vec(),
            false => all,
        })
    }

    fn settings(&self, size: Size) -> Result<Settings> {
        match self.draft_len {
            DraftLen::Off => {
                return Err(Error::Usage(
                    "--draft-len off measures no draft; expected auto or a number".into(),
                ));
            }
            DraftLen::Fixed(k) if !(1..=KMAX).contains(&k) => {
                return Err(Error::Usage(format!(
                    "--draft-len {k}: expected 1 to {KMAX}"
                )));
            }
            _ => {}
        }
        let sampling = Sampling {
            temperature: self.temperature,
            ..Sampling::greedy()
        };
        sampling.check()?;
        let loss = self.loss.with(0.5);
        let training = Training {
            loss,
            lr: self.offline_lr.unwrap_or(self.lr),
            clip: Some(1.0),
            ..Training::default()
        };
        training.check()?;
        let online = OnlineSettings {
            loss,
            lr: self.lr,
            positions: match self.positions {
                Taught::Errors => Positions::Errors,
                Taught::All => Positions::All,
            },
            remember: self.remember,
            max_rows: self.remember.max(OnlineSettings::default().max_rows),
            steps: self.update_steps,
            ..OnlineSettings::default()
        };
        online.check()?;
        Ok(Settings {
            max_new: size.max_new,
            temperature: self.temperature,
            draft_len: self.draft_len,
            training,
            online,
            epochs: 2,
            batch: 8,
        })
    }
}

/// The texts of `--data`, by their names.
fn texts(folder: &Path) -> Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.extension().is_none_or(|e| e != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        out.push((name.into_owned(), utf8(&path.display().to_string(), bytes)?));
    }
    out.sort();
    match out.is_empty() {
        true => Err(Error::file(
            folder,
            "has no .txt; expected one for each domain",
        )),
        false => Ok(out),
    }
}

fn domains(texts: &[(String, String)]) -> Result<Vec<Domain<'_>>> {
    let one = |(name, text): &'_ (String, String)| -> Result<()> {
        let reserved = [
            "stationary",
            "sharp",
            "abrupt",
            "gradual",
            "interleaved",
            "mixed",
        ];
        match reserved.contains(&name.as_str()) || Domain::of_text(name, text).is_none() {
            true => Err(Error::Usage(format!(
                "{name}.txt cannot be a domain: expected another name than a stream's, and at least two lines of text"
            ))),
            false => Ok(()),
        }
    };
    texts.iter().try_for_each(one)?;
    Ok((texts.iter())
        .filter_map(|(name, text)| Domain::of_text(name, text))
        .collect())
}

/// The target, the draft, and the tokenizer that both have.
fn open(common: &Common, args: &Args, device: &Device) -> Result<([Arc<Language>; 2], Tokenizer)> {
    let [target, draft] = match (&args.target, &args.draft) {
        (None, None) => embedded()?,
        (None, Some(draft)) => embedded().and_then(|[target, _]| Ok([target, files(draft)?]))?,
        (Some(target), Some(draft)) => [files(target)?, files(draft)?],
        (Some(_), None) => {
            return Err(Error::Usage(
                "--draft is missing: which model is to learn?".into(),
            ));
        }
    };
    let Some(tokenizer) = target.tokenizer()? else {
        return Err(Error::Usage(format!(
            "{} has no tokenizer.json, which prompts need",
            target.path.display()
        )));
    };
    if let Some(theirs) = draft.tokenizer()? {
        tokenizer.agree(&theirs)?;
    }
    let options = options(common, device, None)?;
    let target = Language::open(device, Arc::new(target), &options)?;
    let draft = Language::open(device, Arc::new(draft), &options)?;
    tokenizer.within(target.config().vocab())?;
    Ok(([Arc::new(target), Arc::new(draft)], tokenizer))
}

/// The requests of a stream.
fn items(
    stream: Stream,
    domains: &[Domain],
    tokenizer: &Tokenizer,
    requests: usize,
    most: usize,
    seed: u64,
) -> Result<Vec<Item>> {
    let order = stream.order(requests, domains.len(), seed);
    let mut d = Draws::new(seed);
    let mut pools = Vec::new();
    for (i, domain) in domains.iter().enumerate() {
        let count = order.iter().filter(|&&o| o == i).count();
        pools.push(domain.prompts(count, d.seed()).into_iter());
    }
    let one = |domain: usize| -> Result<Item> {
        let text = pools[domain].next().unwrap_or_default();
        let mut prompt = tokenizer.prompt(&text)?;
        prompt.truncate(most);
        Ok(Item { domain, prompt })
    };
    order.into_iter().map(one).collect()
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let size = args.size()?;
    let (arms, settings) = (args.arms()?, args.settings(size)?);
    let owned = args.data.as_deref().map(texts).transpose()?;
    let domains = match &owned {
        Some(texts) => domains(texts)?,
        None => Domain::built_in(),
    };
    let names: Vec<String> = domains.iter().map(|d| d.name.clone()).collect();
    let streams = Stream::chosen(&names, &args.stream)?;
    let device = common.open()?;
    let ([target, draft], tokenizer) = open(common, args, &device)?;
    // Long prompts are cut, so that the answers have room; short ones keep a software adapter from reading all day.
    let context = target.max_positions().unwrap_or(4096);
    let most = (context / 4).min(if args.quick { 64 } else { 256 });
    if most + size.max_new > context {
        return Err(Error::Usage(format!(
            "--max-new {} is too many: prompts of {most} tokens and the answers must fit the {context} that the target \
             was made for",
            size.max_new
        )));
    }
    std::fs::create_dir_all(&args.output).map_err(Error::io(&args.output))?;
    let mut experiment = Experiment {
        target,
        draft,
        settings,
    };
    let fresh = match args.fresh {
        true => {
            let texts: Vec<Vec<u32>> = (domains[0].prompts(400, u64::MAX).iter())
                .map(|text| tokenizer.prompt(text))
                .collect::<Result<_>>()?;
            Some(experiment.begun(&texts, args.warm_up, 0)?)
        }
        false => None,
    };
    if let Some(made) = &fresh {
        experiment.draft = made.draft.clone();
    }
    let mut report = Report::new(
        &args.output,
        &names,
        &device,
        args.fresh.then_some(args.warm_up),
        &experiment,
    );
    for seed in 0..size.seeds as u64 {
        for (name, stream) in &streams {
            let mut left = arms.clone();
            if args.resume {
                left = report.take_up((name, *stream), &arms, seed, size.requests)?;
            }
            let items = items(*stream, &domains, &tokenizer, size.requests, most, seed)?;
            let bar = output::bar(
                (size.requests * left.len()) as u64,
                "{msg} {bar:32} {pos}/{len} requests {eta} left",
            );
            let mut progress = |arm: Kind| {
                bar.set_message(format!("{name}, {}, seed {seed}", arm.name()));
                bar.inc(1);
            };
            experiment.run(
                (name, *stream),
                &items,
                &left,
                seed,
                &mut progress,
                &mut |run| {
                    bar.suspend(|| output::note(osd_report::line(&run)));
                    report.add(run, window(size.requests))
                },
            )?;
            bar.finish_and_clear();
        }
    }
    let runs = report.runs();
    let proposals = match args.draft_len {
        DraftLen::Fixed(k) => Some(k),
        _ => None,
    };
    let measure = Measure::of(runs.iter().flat_map(|r| &r.rows));
    let criteria = criteria(runs, measure, names.len(), proposals);
    let figures = osd_figures::draw(&args.output, runs, measure, &names)?;
    report.summary(measure, &criteria, &figures)?;
    output::print(osd_report::table(&criteria, measure))?;
    for line in osd_report::gains(runs, measure) {
        output::print(line)?;
    }
    output::note(format_args!(
        "{} {}; {} and summary.json are in {}",
        runs.len(),
        if runs.len() == 1 { "run" } else { "runs" },
        figures.join(", "),
        args.output.display()
    ));
    Ok(Outcome::Done)
}
