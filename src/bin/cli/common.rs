//! What all commands take: the adapter, the element type, and limits lowered for debugging.

use super::output::Download;
use cascadia::device::{self, Device, LimitCaps};
use cascadia::io::Checkpoint;
use cascadia::models::efficientvit::{Config, inspect};
use cascadia::shader::Caps;
use cascadia::tensor::DType;
use cascadia::{Error, Result, engine};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// The largest batch: far beyond what any device takes, far below where counts overflow.
const MOST_IMAGES: usize = 1 << 20;

#[derive(clap::Args)]
pub struct Common {
    /// Take the first adapter whose name contains NAME, in any case; `cascadia devices` lists them
    #[arg(long, global = true, value_name = "NAME")]
    pub adapter: Option<String>,
    /// Element type of weights and activations; without it f16 where the adapter has f16, else f32
    #[arg(long, global = true)]
    pub dtype: Option<Float>,
    /// Compile shaders with every runtime check, as browsers do
    #[arg(long, global = true, help_heading = "Debugging")]
    pub checked: bool,
    /// Act as if a tensor could have BYTES at most
    #[arg(long, global = true, value_name = "BYTES", help_heading = "Debugging")]
    pub limit_binding: Option<u64>,
    /// Act as if a workgroup had BYTES of memory at most
    #[arg(long, global = true, value_name = "BYTES", help_heading = "Debugging")]
    pub limit_workgroup: Option<u32>,
    /// Act as if a workgroup had N invocations at most
    #[arg(long, global = true, value_name = "N", help_heading = "Debugging")]
    pub limit_invocations: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Float {
    F32,
    F16,
}

/// Height and width.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub [usize; 2]);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |t: &str| t.trim().parse::<usize>();
        let sides = match text.split_once(['x', '×']) {
            Some((h, w)) => side(h).and_then(|h| Ok([h, side(w)?])),
            None => side(text).map(|n| [n, n]),
        };
        sides
            .map(Size)
            .map_err(|_| "expected a side such as 224, or HEIGHTxWIDTH such as 256x320".into())
    }
}

impl Common {
    /// The least that WebGPU allows an adapter to have is kept: kernels are written for it.
    fn limits(&self) -> Result<LimitCaps> {
        let least = Caps::default();
        for (flag, given, least) in [
            ("--limit-binding", self.limit_binding, 1 << 16),
            (
                "--limit-workgroup",
                self.limit_workgroup.map(u64::from),
                u64::from(least.max_workgroup_bytes),
            ),
            (
                "--limit-invocations",
                self.limit_invocations.map(u64::from),
                u64::from(least.max_invocations),
            ),
        ] {
            if let Some(n) = given.filter(|n| *n < least) {
                return Err(Error::Usage(format!(
                    "{flag} {n} is below {least}, the least that is supported"
                )));
            }
        }
        Ok(LimitCaps {
            binding_bytes: self.limit_binding,
            workgroup_bytes: self.limit_workgroup,
            invocations: self.limit_invocations,
            groups: None,
        })
    }

    /// How a device is to be opened.
    pub fn options(&self) -> Result<device::Options> {
        Ok(device::Options {
            adapter: self.adapter.clone(),
            checked: self.checked,
            limits: self.limits()?,
            ..device::Options::default()
        })
    }

    /// Opens the adapter that is asked for.
    pub fn open(&self) -> Result<Device> {
        Device::open(&self.options()?)
    }

    /// The element type for an adapter called `name`.
    pub fn dtype(&self, caps: &Caps, name: &str) -> Result<DType> {
        match self.dtype {
            Some(Float::F32) => Ok(DType::F32),
            Some(Float::F16) if !caps.f16 => Err(Error::Device(format!(
                "adapter `{name}` has no f16; use --dtype f32"
            ))),
            None if !caps.f16 => Ok(DType::F32),
            _ => Ok(DType::F16),
        }
    }
}

/// What a plan is made for.
pub struct Target {
    pub caps: Caps,
    pub name: String,
    pub dtype: DType,
}

impl Target {
    /// The adapter that is asked for; what every WebGPU adapter has where `portable`.
    pub fn of(common: &Common, portable: bool) -> Result<Self> {
        if portable {
            let f16 = matches!(common.dtype, Some(Float::F16));
            return Ok(Self {
                caps: Caps {
                    f16,
                    ..Caps::default()
                },
                name: match f16 {
                    true => "any WebGPU adapter with f16".to_string(),
                    false => "any WebGPU adapter".to_string(),
                },
                dtype: if f16 { DType::F16 } else { DType::F32 },
            });
        }
        let device = common.open().map_err(|e| match e {
            Error::Device(why) => Error::Device(format!("{why}; or plan with --portable")),
            e => e,
        })?;
        Ok(Self {
            caps: device.caps().clone(),
            name: device.name().to_string(),
            dtype: common.dtype(device.caps(), device.name())?,
        })
    }
}

/// The weights that `--model` names, with a progress bar where they are downloaded.
pub fn find(model: Option<&str>) -> Result<Arc<Checkpoint>> {
    engine::find(model, &mut Download::default())
}

/// The model that M names, for commands that need no weights: a variant, or what a checkpoint holds.
pub fn config(model: &str, size: Option<Size>) -> Result<Config> {
    let mut config = match Config::named(model) {
        Some(config) => config,
        None => inspect(&*find(Some(model))?)?,
    };
    if let Some(Size(size)) = size {
        config.size = size;
    }
    Ok(config)
}

/// A number in `range`, which messages tell.
pub fn within(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// `--batch`, or what keeps such an adapter busy.
pub fn batch(given: Option<usize>, caps: &Caps) -> Result<usize> {
    match given {
        Some(0) => Err(Error::Usage(
            "--batch 0 runs nothing: a batch has at least 1 image".into(),
        )),
        Some(n) if n > MOST_IMAGES => Err(Error::Usage(format!(
            "--batch {n} is too many: at most {MOST_IMAGES}"
        ))),
        Some(n) => Ok(n),
        None if caps.parallel < 16 => Ok(4),
        None => Ok(64),
    }
}
