//! `cascadia evaluate`: top-1 and top-5 on a folder of class folders.

use super::classify::{Clock, open, summary};
use super::common::{Common, Size, batch};
use super::{Outcome, output};
use cascadia::engine::{Fed, feed};
use cascadia::io::folder::{self, Naming};
use cascadia::{Error, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A folder with a folder of pictures for each class, called as the class, by its number, or by its ImageNet
    /// synset; or as many folders as classes, in their order
    folder: PathBuf,
    /// As for `classify`
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The input's side, or HEIGHTxWIDTH
    #[arg(long, value_name = "N|HxW")]
    size: Option<Size>,
    /// Pictures run at once
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

pub fn run(common: &Common, args: &Args) -> Result<Outcome> {
    let folders = folder::folders(&args.folder)?;
    if folders.is_empty() {
        return Err(Error::file(
            &args.folder,
            "expected a folder for each class in it, found none",
        ));
    }
    let mut model = open(common, args.model.as_deref(), args.size)?;
    let batch = batch(args.batch, model.vision.device().caps())?;
    let preprocess = model.preprocess.clone();
    let names: Vec<String> = (folders.iter())
        .map(|f| f.file_name().unwrap_or_default().to_string_lossy().into())
        .collect();
    let (naming, classes) = folder::classes(&names, &model.labels, model.vision.config().classes)
        .map_err(|e| Error::file(&args.folder, e))?;
    let (mut paths, mut truth) = (Vec::new(), Vec::new());
    for (folder, class) in folders.iter().zip(classes) {
        let files = folder::files(folder)?;
        truth.resize(truth.len() + files.len(), class);
        paths.extend(files);
    }
    if paths.is_empty() {
        return Err(Error::file(&args.folder, "its class folders have no files"));
    }
    let batch = batch.min(paths.len());
    let bar = output::pictures(paths.len());
    let (mut first, mut fifth, mut done, mut failed) = (0, 0, 0, 0);
    let mut clock = Clock::default();
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
                for (i, best) in at.into_iter().zip(model.classify_views(&views, 5)?) {
                    let place = best.iter().position(|p| p.class == truth[i]);
                    first += usize::from(place == Some(0));
                    fifth += usize::from(place.is_some());
                    done += 1;
                    bar.inc(1);
                }
            }
        }
        Ok(())
    });
    bar.finish_and_clear();
    ended?;
    if done == 0 {
        return Ok(Outcome::Partly);
    }
    summary(&model, done, &clock);
    let by = match naming {
        Naming::Labels => "by label",
        Naming::Numbers => "by number",
        Naming::Synsets => "by synset",
        Naming::Order => "by the order of their names",
    };
    let share = |n: usize| 100.0 * n as f64 / done as f64;
    output::print(format_args!(
        "{}, taken {by}\ntop-1 {:.2}% ({first} of {done})\ntop-5 {:.2}% ({fifth} of {done})",
        output::count(names.len(), "class folder"),
        share(first),
        share(fifth),
    ))?;
    if failed > 0 {
        output::note(format_args!(
            "{failed} of {} could not be read",
            output::count(paths.len(), "file")
        ));
        return Ok(Outcome::Partly);
    }
    Ok(Outcome::Done)
}
