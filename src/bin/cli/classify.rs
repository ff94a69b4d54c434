//! `cascadia classify`: pictures to labels.

use super::common::{Common, Size, batch, find};
use super::{Outcome, output};
use cascadia::device::Device;
use cascadia::engine::{Classifier, Fed, Prediction, attention, feed};
use cascadia::error::printable;
use cascadia::io::folder;
use cascadia::io::preprocess::Picture;
use cascadia::plan::Options;
use cascadia::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Args {
    /// Pictures, and folders: all files in them and below, but for names that begin with a dot
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// m0 to m5 (the public checkpoints), a .safetensors file, a folder with model.safetensors, or a model of the
    /// hub such as timm/efficientvit_m5.r224_in1k; without it, the built-in model of handwritten digits
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// How many classes to show for each picture
    #[arg(long, value_name = "K", default_value_t = 3)]
    top_k: usize,
    /// Print an object for each picture, one a line, instead of text
    #[arg(long)]
    json: bool,
    /// The input's side, or HEIGHTxWIDTH; what the model was made for without it
    #[arg(long, value_name = "N|HxW")]
    size: Option<Size>,
    /// Pictures run at once
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Draw each head's attention over the one picture given: a row for each block, a column for each head, bright
    /// where tokens receive most of it, on average over those that ask
    #[arg(long, value_name = "OUT.png")]
    attention: Option<PathBuf>,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    if args.top_k == 0 {
        return Err(Error::Usage(
            "--top-k 0 shows nothing: take at least 1".into(),
        ));
    }
    let png = |to: &Path| {
        to.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("png"))
    };
    if let Some(to) = args.attention.as_deref().filter(|to| !png(to)) {
        return Err(Error::Usage(format!(
            "--attention {} is drawn as PNG: name a file that ends in .png",
            output::path(to)
        )));
    }
    let mut failed = 0;
    let mut paths = Vec::new();
    for image in &args.images {
        match expand(image) {
            Ok(found) => paths.extend(found),
            Err(e) => {
                output::error(&e);
                failed += 1;
            }
        }
    }
    if paths.is_empty() {
        return Ok(Outcome::Partly);
    }
    if args.attention.is_some() && paths.len() != 1 {
        return Err(Error::Usage(format!(
            "--attention draws over one picture, and there are {}",
            paths.len()
        )));
    }
    if let Some(to) = &args.attention {
        let mut inputs = paths.clone();
        inputs.extend(args.model.iter().flat_map(|m| output::files_of(m)));
        output::ready("--attention", to, &inputs)?;
    }
    let mut model = open(common, args.model.as_deref(), args.size)?;
    let batch = batch(args.batch, model.vision.device().caps())?.min(paths.len());
    let preprocess = model.preprocess.clone();
    let bar = output::pictures(paths.len());
    let (mut done, mut clock) = (0, Clock::default());
    let ended = feed(&paths, &preprocess, batch, |fed| {
        match fed {
            Fed::Bad(_, e) => {
                failed += 1;
                bar.inc(1);
                bar.suspend(|| output::error(&e));
            }
            Fed::Batch(views) => {
                let (at, views): (Vec<usize>, Vec<_>) = views.into_iter().unzip();
                clock.load(&mut model, views.len())?;
                let all = model.classify_views(&views, args.top_k)?;
                done += all.len();
                bar.inc(all.len() as u64);
                bar.suspend(|| {
                    (at.iter().zip(&all)).try_for_each(|(&i, p)| show(args.json, &paths[i], p))
                })?;
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    ended?;
    if done > 0 {
        summary(&model, done, &clock);
    }
    if let (Some(to), true) = (&args.attention, failed == 0) {
        draw(&mut model, &paths[0], to)?;
    }
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Partly
    })
}

/// The pictures that an argument stands for.
fn expand(image: &Path) -> Result<Vec<PathBuf>> {
    if !image.is_dir() {
        return Ok(vec![image.to_path_buf()]);
    }
    let files = folder::files(image)?;
    if files.is_empty() {
        return Err(Error::file(image, "the folder has no files"));
    }
    Ok(files)
}

/// The model on the adapter, as all options ask.
pub fn open(common: &Common, model: Option<&str>, size: Option<Size>) -> Result<Classifier> {
    let checkpoint = find(model)?;
    let device: Device = common.open()?;
    let options = Options::new(common.dtype(device.caps(), device.name())?);
    Classifier::new(&device, checkpoint, size.map(|s| s.0), &options)
}

/// The time in which pictures are classified: loading weights and compiling shaders, as each size of batch takes once,
/// is no part of it.
#[derive(Default)]
pub struct Clock {
    begin: Option<Instant>,
    loading: Duration,
}

impl Clock {
    /// Loads what a batch of `images` takes, where that is not there yet.
    pub fn load(&mut self, model: &mut Classifier, images: usize) -> Result<()> {
        let now = Instant::now();
        model.warm(images)?;
        match self.begin {
            None => self.begin = Some(Instant::now()),
            Some(_) => self.loading += now.elapsed(),
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        let all = self.begin.map_or(Duration::ZERO, |b| b.elapsed());
        all.saturating_sub(self.loading).as_secs_f64()
    }
}

/// What ran where and how fast, on stderr.
pub fn summary(model: &Classifier, done: usize, clock: &Clock) {
    let (vision, seconds) = (&model.vision, clock.seconds());
    let device = vision.device();
    let config = vision.config();
    let [h, w] = config.size;
    let rate = done as f64 / seconds.max(1e-9);
    output::note(format_args!(
        "{} by EfficientViT-{} at {h}×{w} in {} on {} ({}): {rate:.*} images/s",
        output::count(done, "picture"),
        config.name().unwrap_or("?").to_uppercase(),
        vision.dtype(),
        device.name(),
        device.backend(),
        if rate < 1.0 { 3 } else { 1 },
    ));
}

fn show(json: bool, path: &Path, predictions: &[Prediction]) -> Result<()> {
    if json {
        let predictions: Vec<_> = (predictions.iter())
            .map(|p| json!({"class": p.class, "label": p.label, "probability": p.probability}))
            .collect();
        return output::print(json!({"path": path.to_string_lossy(), "predictions": predictions}));
    }
    let classes: Vec<String> = (predictions.iter())
        .map(|p| format!("{} {:.1}%", printable(&p.label), 100.0 * p.probability))
        .collect();
    output::print(format_args!(
        "{}: {}",
        output::path(path),
        classes.join(", ")
    ))
}

fn draw(model: &mut Classifier, path: &Path, to: &Path) -> Result<()> {
    let picture = Picture::open(path)?;
    let blocks = model.attention(&picture)?;
    let drawn = attention::draw(&model.preprocess.view(&picture)?, &blocks)?;
    drawn.save_png(to)?;
    let rows: Vec<&str> = blocks.iter().map(|b| b.scope.as_str()).collect();
    output::note(format_args!(
        "{}: attention that each token receives; rows: {}; columns: heads; each from its least (dark) to its most \
         (bright)",
        output::path(to),
        rows.join(", ")
    ));
    Ok(())
}
