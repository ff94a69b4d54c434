//! Checkpoints of this model: which variant one is, and its tensors under timm's names or the authors'.

use super::Config;
use super::names::authors;
use crate::error::{Error, Result, printable};
use crate::graph::{Finished, Source};
use crate::io::{Checkpoint, FileDType};
use std::collections::BTreeSet;

/// The name under which the checkpoint holds what timm calls `name`.
fn held(checkpoint: &Checkpoint, name: &str) -> Option<String> {
    if checkpoint.contains(name) {
        return Some(name.to_string());
    }
    let other = authors(name);
    checkpoint.contains(&other).then_some(other)
}

/// The configuration that a checkpoint was made for: widths, classes, table sides and heads from its tensors'
/// shapes, all else from the variant of those widths.
///
/// # Errors
/// [`Error::Weights`] where the tensors are not those of EfficientViT-M0 to M5, [`Error::File`] where the metadata says
/// that they are another one's.
pub fn inspect(checkpoint: &Checkpoint) -> Result<Config> {
    let shape = |name: &str| -> Result<Vec<usize>> {
        held(checkpoint, name)
            .and_then(|n| checkpoint.shape(&n).map(<[usize]>::to_vec))
            .ok_or_else(|| {
                Error::Weights(format!(
                    "{}: no tensor `{name}` (nor `{}`): not an EfficientViT checkpoint",
                    checkpoint.path().display(),
                    authors(name)
                ))
            })
    };
    let first = |name: &str| -> Result<usize> { Ok(shape(name)?.first().copied().unwrap_or(0)) };
    let dims = [
        first("patch_embed.conv4.conv.weight")?,
        first("stages.1.downsample.patchmerge.conv3.conv.weight")?,
        first("stages.2.downsample.patchmerge.conv3.conv.weight")?,
    ];
    let mut config = Config::of_widths(dims).ok_or_else(|| {
        Error::Weights(format!(
            "{}: widths {dims:?} are none of EfficientViT-M0 to M5",
            checkpoint.path().display()
        ))
    })?;
    config.classes = first("head.linear.weight")?;
    if config.classes == 0 {
        return Err(Error::Weights(format!(
            "{}: `head.linear.weight` has no rows: a classifier has at least one class",
            checkpoint.path().display()
        )));
    }
    if let Some(told) = checkpoint.metadata().get("architecture") {
        let plain = told.split('.').next().and_then(Config::named);
        if plain.and_then(|c| c.name()) != config.name() {
            return Err(Error::file(
                checkpoint.path(),
                format!(
                    "metadata `architecture` is {told:?}, but the tensors are those of EfficientViT-{}",
                    config.name().unwrap_or("?").to_uppercase()
                ),
            ));
        }
    }
    config.distilled = held(checkpoint, "head_dist.linear.weight").is_some();
    for (s, side) in config.tables.iter_mut().enumerate() {
        let name = format!("stages.{s}.blocks.0.mixer.m.attn.attention_biases");
        let columns = shape(&name)?.get(1).copied().unwrap_or(0);
        *side = columns.isqrt();
        if *side * *side != columns || columns == 0 {
            return Err(Error::Weights(format!(
                "{}: `{name}` has {columns} columns, which is not the square of a window's side",
                checkpoint.path().display()
            )));
        }
    }
    Ok(config)
}

/// Reads a checkpoint's tensors under either naming; refuses numbers that no model can run on, naming the file.
pub fn reader(checkpoint: &Checkpoint) -> impl Fn(&Source) -> Result<Vec<f32>> + '_ {
    move |source| {
        let name = held(checkpoint, &source.name).unwrap_or_else(|| source.name.clone());
        let values = checkpoint.tensor(&name)?.to_f32();
        let variance = source.name.ends_with("running_var");
        let bad = |v: &f32| !v.is_finite() || (variance && *v < 0.0);
        match values.iter().position(bad) {
            None => Ok(values),
            Some(at) => Err(Error::file(
                checkpoint.path(),
                format!(
                    "tensor `{name}` holds {} at element {at}; {}",
                    values[at],
                    match values[at].is_finite() {
                        true => "no variance is negative",
                        false => "a model cannot run on it",
                    }
                ),
            )),
        }
    }
}

/// Checks that the checkpoint holds what `graph` reads, no less and no more.
///
/// # Errors
/// [`Error::Weights`] that names every missing, misshapen, mistyped and unknown tensor (the first few of each).
pub fn fits(checkpoint: &Checkpoint, graph: &Finished) -> Result<()> {
    let mut problems = Vec::new();
    let mut known = BTreeSet::new();
    let (mut missing, mut misshapen, mut mistyped) = (Vec::new(), Vec::new(), Vec::new());
    for source in graph.sources() {
        let Some(name) = held(checkpoint, &source.name) else {
            missing.push(format!("`{}`", source.name));
            continue;
        };
        let have = checkpoint.shape(&name).unwrap_or_default();
        if have != source.shape {
            misshapen.push(format!("`{name}` is {have:?}, not {:?}", source.shape));
        }
        use FileDType::{BF16, F16, F32, F64};
        match checkpoint.dtype(&name) {
            Some(F32 | F16 | BF16 | F64) | None => {}
            Some(other) => mistyped.push(format!("`{name}` is {other}, not F32, F16, BF16 or F64")),
        }
        known.insert(name);
    }
    let ignored =
        |n: &str| n.ends_with("num_batches_tracked") || n.ends_with("attention_bias_idxs");
    let extra: Vec<String> = (checkpoint.names())
        .filter(|n| !known.contains(*n) && !ignored(n))
        .map(|n| format!("`{}`", printable(n)))
        .collect();
    for (what, names) in [
        ("missing", missing),
        ("misshapen", misshapen),
        ("of a wrong type", mistyped),
        ("unknown", extra),
    ] {
        if !names.is_empty() {
            let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
            let more = names.len().saturating_sub(4);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            problems.push(format!("{what}: {shown}{more}"));
        }
    }
    if !problems.is_empty() {
        return Err(Error::Weights(format!(
            "{} does not fit the model; {}",
            checkpoint.path().display(),
            problems.join("; ")
        )));
    }
    Ok(())
}
