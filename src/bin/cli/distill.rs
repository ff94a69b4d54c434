//! `cascadia distill`: a draft that learns from a target's distributions, on texts or on recorded rows.

use super::common::Common;
use super::language::files;
use super::lessons::{Lessons, Student, ends};
use super::training::{Course, Training};
use super::{Outcome, saving};
use cascadia::engine::distill::{Distributions, Loss, Settings, Trainer};
use cascadia::engine::language::{Language, embedded};
use cascadia::models::language::Config;
use cascadia::plan::Options;
use cascadia::tensor::DType;
use cascadia::{Error, Result};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct Args {
    /// The model that teaches, as in `generate`; the built-in one without it. Recorded rows need none
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub target: Option<String>,
    /// The model that learns; the built-in draft where --target is not given either
    #[arg(long, value_name = "DIR|HUB_ID")]
    pub draft: Option<String>,
    /// Text; .jsonl with `text` or `prompt` (and `answer`) on each line; or recorded rows: .safetensors with tokens
    /// int64 [B, L], positions int64 [B, P] and target_probs f32 [B, P, V]. T5 reads `prompt`, or tokens, with its
    /// encoder, and learns the answer, or rows of decoder_tokens int64 [B, L2]
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// What is made small
    #[arg(long, default_value = "forward_kl")]
    loss: Kind,
    /// Who writes what is learned: the target (or the file), the draft, or both in turn
    #[arg(long, default_value = "teacher")]
    pub source: Source,
    /// Tokens that the target answers a prompt with, at most; 128 without it
    #[arg(long, value_name = "N")]
    max_new: Option<usize>,
    /// Of both distributions; recorded rows must have been made with it
    #[arg(
        long,
        value_name = "T",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub temperature: f32,
    /// Of --loss jsd: the target's share in the mixture; 0.5 without it
    #[arg(long, value_name = "B", allow_negative_numbers = true)]
    beta: Option<f32>,
    /// Train additions of this rank to the layers' projections instead of the weights; 0: the weights
    #[arg(long, value_name = "R")]
    lora_rank: Option<usize>,
    #[command(flatten)]
    pub training: Training,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    #[value(name = "forward_kl")]
    ForwardKl,
    #[value(name = "reverse_kl")]
    ReverseKl,
    Jsd,
    Tv,
    #[value(name = "cross_entropy")]
    CrossEntropy,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Source {
    Teacher,
    Student,
    Mixed,
}

impl Kind {
    /// The loss of this name; `beta` is that of a JSD.
    pub fn with(self, beta: f32) -> Loss {
        match self {
            Self::ForwardKl => Loss::ForwardKl,
            Self::ReverseKl => Loss::ReverseKl,
            Self::Jsd => Loss::Jsd { beta },
            Self::Tv => Loss::Tv,
            Self::CrossEntropy => Loss::CrossEntropy,
        }
    }
}

/// Of a JSD where --beta does not say.
const BETA: f32 = 0.5;

impl Args {
    /// Tokens of an answer at most.
    pub fn max_new(&self) -> usize {
        self.max_new.unwrap_or(128)
    }

    /// Refuses flags that would do nothing.
    fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Usage(message.into()));
        if self.beta.is_some() && !matches!(self.loss, Kind::Jsd) {
            return refuse("--beta is of --loss jsd alone");
        }
        if self.max_new == Some(0) {
            return refuse("--max-new 0 answers nothing: expected at least 1");
        }
        let recorded = ends(&self.data, "safetensors");
        for (flag, given) in [
            ("--length", self.training.length.is_some()),
            ("--max-new", self.max_new.is_some()),
        ] {
            if given && recorded {
                return Err(Error::Usage(format!(
                    "{flag} is for texts; recorded rows are learned as they were recorded"
                )));
            }
        }
        Ok(())
    }

    /// What tells this training from others but for what all have.
    fn said(&self, taught_by: String, draft: &Language) -> Vec<(&'static str, String)> {
        let name = |value: Option<PossibleValue>| {
            value.map_or(String::new(), |value| value.get_name().to_string())
        };
        vec![
            ("--target", taught_by),
            ("--draft", saving::model(&draft.name(), draft.config())),
            ("--loss", name(self.loss.to_possible_value())),
            ("--beta", self.beta.unwrap_or(BETA).to_string()),
            ("--temperature", self.temperature.to_string()),
            ("--source", name(self.source.to_possible_value())),
            ("--length", self.training.length().to_string()),
            ("--max-new", self.max_new().to_string()),
            ("--lora-rank", self.lora_rank.unwrap_or(0).to_string()),
        ]
    }

    fn settings(&self) -> Settings {
        Settings {
            temperature: self.temperature,
            low_rank: self.lora_rank.filter(|&rank| rank > 0),
            ..self
                .training
                .settings(self.loss.with(self.beta.unwrap_or(BETA)))
        }
    }
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let (training, settings) = (&args.training, args.settings());
    args.check()?;
    training.check(&settings)?;
    let device = common.open()?;
    let (target, draft) = match (&args.target, &args.draft) {
        (None, None) => embedded().map(|[target, draft]| (Some(target), draft))?,
        (target, Some(draft)) => (target.as_deref().map(files).transpose()?, files(draft)?),
        (Some(_), None) => {
            return Err(Error::Usage(
                "--draft is missing: which model is to learn?".into(),
            ));
        }
    };
    // Training is in f32, and so is the teacher, unless --dtype says otherwise: then products round to halves.
    let taught_in = match common.dtype {
        Some(_) => common.dtype(device.caps(), device.name())?,
        None => DType::F32,
    };
    let draft = Arc::new(Language::open(
        &device,
        Arc::new(draft),
        &Options::new(DType::F32),
    )?);
    let lock = training.claim(&draft)?;
    let taught_by = match &target {
        Some(files) => saving::model(&files.path.display().to_string(), &Config::of(files)?),
        None => "none".into(),
    };
    let mut lessons = Lessons::open(args, &Options::new(taught_in), &draft, target)?;
    let settings = Settings {
        halves: taught_in == DType::F16,
        ..settings
    };
    let mut trainer = Trainer::new(&draft, settings)?;
    let mut student = Student::default();
    let hard = matches!(args.loss, Kind::CrossEntropy);
    let course = Course {
        what: "draft",
        data: &args.data,
        sequences: lessons.sequences(),
        ordered: lessons.ordered(),
        given: true,
        said: args.said(taught_by, &draft),
    };
    training.run(&mut trainer, &course, lock, |trainer, which, anew| {
        let written = student.turn(args, trainer, anew)?;
        let to = match hard {
            true => Distributions::None,
            false => Distributions::Table(trainer),
        };
        lessons.batch(which, to, written)
    })
}
