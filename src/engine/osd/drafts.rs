//! Drafts for the experiment: distilled on answers of the target, or begun anew.

use super::draws::Draws;
use crate::engine::distill::{Batch, Distributions, Settings, Texts, Trainer};
use crate::engine::language::Language;
use crate::error::{Error, Result};
use crate::io::{LanguageFiles, save};
use crate::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// A draft whose files are removed with it.
pub struct Made {
    pub draft: Arc<Language>,
    _folder: TempDir,
}

fn temporary() -> Result<TempDir> {
    tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))
}

/// The draft in `folder`, to be run as `like` is.
fn open(folder: TempDir, like: &Language) -> Result<Made> {
    let files = Arc::new(LanguageFiles::open(folder.path())?);
    let draft = Language::open(like.device(), files, like.options())?;
    Ok(Made {
        draft: Arc::new(draft),
        _folder: folder,
    })
}

/// How a draft is distilled beforehand.
#[derive(Clone, Debug)]
pub struct Schooling {
    pub settings: Settings,
    /// Times that each lesson is taken, and lessons of a step.
    pub epochs: usize,
    pub batch: usize,
    /// Steps, at most.
    pub steps: usize,
    /// A multiple to which the rows of a step are cut, so that few plans are made.
    pub rows: usize,
    pub seed: u64,
}

/// `draft`, distilled on `lessons`. The second result is the seconds that it took.
///
/// # Errors
/// What [`Trainer::step`] and [`Trainer::save`] return; [`Error::Usage`] where there is no lesson.
pub fn distilled(
    draft: &Arc<Language>,
    lessons: &mut Texts,
    how: &Schooling,
) -> Result<(Made, f64)> {
    let n = lessons.sequences();
    if n == 0 {
        return Err(Error::Usage(
            "there is no answer to distil from: every answer is empty; ask for more tokens".into(),
        ));
    }
    let begun = std::time::Instant::now();
    let mut trainer = Trainer::new(draft, how.settings.clone())?;
    let mut d = Draws::new(how.seed);
    let order: Vec<usize> = (0..how.epochs)
        .flat_map(|_| {
            let mut round: Vec<usize> = (0..n).collect();
            d.shuffle(&mut round);
            round
        })
        .collect();
    let batch = how.batch.min(n);
    for step in 0..order.len().div_ceil(batch).min(how.steps) {
        // The last one is filled up with the first lessons.
        let which = (0..batch).map(|i| order[(step * batch + i) % order.len()]);
        let mut lesson = lessons.batch(which, Distributions::Table(&mut trainer))?;
        cut(&mut lesson, how.rows);
        trainer.step(&[lesson])?;
    }
    let folder = temporary()?;
    trainer.save(folder.path(), &BTreeMap::new())?;
    Ok((open(folder, draft)?, begun.elapsed().as_secs_f64()))
}

/// Cuts the last rows off, down to a multiple of `rows`, where there are as many.
fn cut(batch: &mut Batch, rows: usize) {
    let count = batch.rows.len();
    let keep = count / rows.max(1) * rows.max(1);
    if keep == 0 {
        return;
    }
    batch.rows.truncate(keep);
    batch.slots.truncate(keep);
    if let Some(labels) = &mut batch.labels {
        labels.truncate(keep);
    }
}

/// A draft of the sizes of `like` that knows nothing yet: matrices of noise, norms of 1.
///
/// # Errors
/// What writing it returns.
pub fn fresh(like: &Arc<Language>, seed: u64) -> Result<Made> {
    let trainer = Trainer::new(like, Settings::default())?;
    let folder = temporary()?;
    trainer.save(folder.path(), &BTreeMap::new())?;
    noise(&trainer, folder.path(), seed)?;
    open(folder, like)
}

/// Writes weights of noise into `folder`.
fn noise(trainer: &Trainer, folder: &Path, seed: u64) -> Result<()> {
    let mut d = Draws::new(seed);
    let mut tensors = trainer.export()?;
    for (_, tensor) in &mut tensors {
        let shape = tensor.shape().to_vec();
        let n: usize = shape.iter().product();
        let values: Vec<f32> = match shape[..] {
            [_, inner] => {
                // Even, of the variance 1 / inner.
                let width = (3.0 / inner as f64).sqrt();
                (0..n)
                    .map(|_| ((2.0 * d.unit() - 1.0) * width) as f32)
                    .collect()
            }
            _ => vec![1.0; n],
        };
        *tensor = Tensor::from_f32(&shape, &values)?;
    }
    save(&folder.join("model.safetensors"), &tensors, None)
}

#[cfg(test)]
mod tests {
    use super::{Batch, cut};

    #[test]
    fn rows_are_cut_to_few_sizes() {
        let batch = |rows: u32| Batch {
            len: 100,
            tokens: vec![0; 100],
            rows: (0..rows).collect(),
            slots: (0..rows).collect(),
            labels: Some(vec![1; rows as usize]),
            ..Batch::default()
        };
        for (rows, left) in [(70, 64), (64, 64), (20, 20)] {
            let mut b = batch(rows);
            cut(&mut b, 32);
            assert_eq!((b.rows.len(), b.slots.len()), (left, left));
            assert_eq!(b.labels.map(|l| l.len()), Some(left));
        }
    }
}
