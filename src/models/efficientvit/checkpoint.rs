//! Checkpoints of this model: which variant one is, and its tensors under timm's names or the authors'.

use super::Config;
use crate::error::{Error, Result};
use crate::graph::{Finished, Source};
use crate::io::{Checkpoint, FileDType};
use std::collections::BTreeSet;

/// The authors' name for the tensor that timm calls `name`.
fn authors(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let leaf = |rest: &[&str]| -> String {
        // The convolution or linear layer itself is `c` or `l` there.
        let n = rest.len();
        let own = |i: usize, p: &str| match p {
            "conv" if i + 2 == n => "c".to_string(),
            "linear" if i + 2 == n => "l".to_string(),
            _ => p.to_string(),
        };
        let named: Vec<String> = rest.iter().enumerate().map(|(i, p)| own(i, p)).collect();
        named.join(".")
    };
    match parts.as_slice() {
        ["patch_embed", conv, "conv", rest] => {
            let at = conv.trim_start_matches("conv").parse().unwrap_or(1usize);
            format!("patch_embed.{}.c.{rest}", 2 * (at - 1))
        }
        ["patch_embed", conv, rest @ ..] => {
            let at = conv.trim_start_matches("conv").parse().unwrap_or(1usize);
            format!("patch_embed.{}.{}", 2 * (at - 1), rest.join("."))
        }
        ["stages", s, "downsample", "patchmerge", rest @ ..] => {
            format!("blocks{}.1.{}", next(s), leaf(rest))
        }
        ["stages", s, "downsample", which, rest @ ..] => {
            let at = if *which == "res1" { 0 } else { 2 };
            format!("blocks{}.{at}.{}", next(s), leaf(rest))
        }
        ["stages", s, "blocks", j, rest @ ..] => {
            let first = if *s == "0" { 0 } else { 3 };
            let at = j.parse().unwrap_or(0usize) + first;
            format!("blocks{}.{at}.{}", next(s), leaf(rest))
        }
        rest => leaf(rest),
    }
}

fn next(stage: &str) -> usize {
    stage.parse::<usize>().unwrap_or(0) + 1
}

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
/// [`Error::Weights`] where the tensors are not those of EfficientViT-M0 to M5.
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

/// Reads a checkpoint's tensors under either naming.
pub fn reader(checkpoint: &Checkpoint) -> impl Fn(&Source) -> Result<Vec<f32>> + '_ {
    move |source| {
        let name = held(checkpoint, &source.name).unwrap_or_else(|| source.name.clone());
        Ok(checkpoint.tensor(&name)?.to_f32())
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
        .map(|n| format!("`{n}`"))
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

#[cfg(test)]
mod tests {
    use super::authors;

    #[test]
    fn names_are_mapped_to_the_authors() {
        for (timm, theirs) in [
            ("patch_embed.conv2.conv.weight", "patch_embed.2.c.weight"),
            ("patch_embed.conv4.bn.bias", "patch_embed.6.bn.bias"),
            (
                "stages.0.blocks.0.dw0.m.conv.weight",
                "blocks1.0.dw0.m.c.weight",
            ),
            (
                "stages.1.downsample.res1.0.m.conv.weight",
                "blocks2.0.0.m.c.weight",
            ),
            (
                "stages.1.downsample.res2.1.m.pw1.bn.weight",
                "blocks2.2.1.m.pw1.bn.weight",
            ),
            (
                "stages.2.downsample.patchmerge.conv1.conv.weight",
                "blocks3.1.conv1.c.weight",
            ),
            (
                "stages.2.downsample.patchmerge.se.fc1.bias",
                "blocks3.1.se.fc1.bias",
            ),
            (
                "stages.2.blocks.1.mixer.m.attn.qkvs.3.conv.weight",
                "blocks3.4.mixer.m.attn.qkvs.3.c.weight",
            ),
            (
                "stages.0.blocks.0.mixer.m.attn.proj.1.bn.weight",
                "blocks1.0.mixer.m.attn.proj.1.bn.weight",
            ),
            (
                "stages.0.blocks.0.mixer.m.attn.attention_biases",
                "blocks1.0.mixer.m.attn.attention_biases",
            ),
            ("head.linear.weight", "head.l.weight"),
            ("head.bn.running_var", "head.bn.running_var"),
        ] {
            assert_eq!(authors(timm), theirs);
        }
    }
}
