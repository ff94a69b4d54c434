//! Tensors' names: timm's, and the authors' for the same.

/// The authors' name for the tensor that timm calls `name`.
pub(super) fn authors(name: &str) -> String {
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
