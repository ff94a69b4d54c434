//! Deterministic weights and inputs: what `references/weights.py` draws, bit for bit, so that the
//! references are stored as outputs and no checkpoint is.
//!
//! A tensor is drawn from numpy's legacy stream seeded with `crc32(name) ^ seed`, by the rule of its name:
//!
//! | name | values |
//! |---|---|
//! | `*.num_batches_tracked` | 0 |
//! | `*.running_var`; weights of norms (`.bn.` or `norm` in the name) | uniform `[0.5, 1.5)`, a quarter of it for the batch norm that closes a residual branch |
//! | `*.running_mean`, `*.bias`, `*.attention_biases` | 0.2 · standard normal |
//! | embedding tables, T5's relative attention bias | 0.05 · standard normal |
//! | every other weight | standard normal / √(product of all dims but the first) |

use crate::numpy::RandomState;

/// The last parts of the batch norms that close a residual branch of EfficientViT: scaled down so that
/// activations stay within the range of f16.
const CLOSES_RESIDUAL: [&str; 3] = [".m.bn.weight", ".pw2.bn.weight", ".proj.1.bn.weight"];

/// The parameter called `name`, row-major, `shape.iter().product()` values (one for an empty shape).
pub fn tensor(name: &str, shape: &[usize], seed: u32) -> Vec<f32> {
    let mut random = RandomState::new(crc32fast::hash(name.as_bytes()) ^ seed);
    let count = shape.iter().product();
    let leaf = name.rsplit('.').next().unwrap_or(name);
    let is_norm = leaf == "weight"
        && (name.contains(".bn.") || name.contains("norm") || name.ends_with("bn.weight"));
    match leaf {
        "num_batches_tracked" => vec![0.0; count],
        _ if leaf == "running_var" || is_norm => {
            let closes = CLOSES_RESIDUAL.iter().any(|end| name.ends_with(end));
            let scale = if closes { 0.25 } else { 1.0 };
            fill(count, || random.uniform(0.5, 1.5) * scale)
        }
        "running_mean" | "bias" | "attention_biases" => {
            fill(count, || 0.2 * random.standard_normal())
        }
        _ if name.contains("embed_tokens")
            || name == "shared.weight"
            || name.contains("relative_attention_bias") =>
        {
            fill(count, || 0.05 * random.standard_normal())
        }
        _ => {
            let fan_in = shape.iter().skip(1).product::<usize>().max(1);
            let root = (fan_in as f64).sqrt();
            fill(count, || random.standard_normal() / root)
        }
    }
}

/// Images `[batch, 3, height, width]`, standard normal: a network's input, already normalised.
pub fn image_batch(batch: usize, height: usize, width: usize, seed: u32) -> Vec<f32> {
    let mut random = RandomState::new(1000 + seed);
    fill(batch * 3 * height * width, || random.standard_normal())
}

/// Token ids `[batch, length]`, each in `3..vocab` (0, 1 and 2 are left to padding and the like).
///
/// # Panics
/// If `vocab` is 3 or less.
pub fn token_ids(batch: usize, length: usize, vocab: usize, seed: u32) -> Vec<i64> {
    let mut random = RandomState::new(2000 + seed);
    let high = i64::try_from(vocab).unwrap_or(i64::MAX);
    (0..batch * length)
        .map(|_| random.randint(3, high))
        .collect()
}

fn fill(count: usize, mut draw: impl FnMut() -> f64) -> Vec<f32> {
    (0..count).map(|_| draw() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::{image_batch, tensor, token_ids};

    /// Compares the first four values and the last with those that numpy 2.4 printed.
    fn check(values: &[f32], expected: [f32; 5], what: &str) {
        let found = [0, 1, 2, 3, values.len() - 1].map(|i| values[i]);
        assert_eq!(found, expected, "{what}");
    }

    #[test]
    #[rustfmt::skip]
    fn every_rule_of_names_matches_python() {
        let cases: [(&str, &[usize], u32, [f32; 5]); 11] = [
            ("patch_embed.conv1.conv.weight", &[8, 3, 3, 3], 0,
                [-0.25084445, 0.018218853, 0.15655363, 0.2218697, 0.04261338]),
            ("patch_embed.conv1.conv.weight", &[8, 3, 3, 3], 1,
                [0.05919185, 0.544866, -0.0014720638, 0.11677371, 0.026575921]),
            ("patch_embed.conv1.bn.weight", &[8], 0,
                [1.4887052, 0.8303075, 0.5453718, 1.0582656, 0.5106233]),
            ("patch_embed.conv1.bn.running_var", &[8], 0,
                [1.348149, 1.150531, 1.4695848, 1.2152671, 0.8591199]),
            ("patch_embed.conv1.bn.running_mean", &[8], 0,
                [0.07298243, -0.15971579, -0.14346561, -0.19611596, -0.17840734]),
            ("stages.0.blocks.0.dw0.m.bn.weight", &[64], 0,
                [0.18025841, 0.15264623, 0.24659328, 0.13180467, 0.3003358]),
            ("stages.0.blocks.0.mixer.m.attn.attention_biases", &[4, 49], 0,
                [-0.05112765, 0.3905865, 0.020961823, -0.46315306, 0.13372335]),
            ("head.linear.weight", &[1000, 192], 0,
                [-0.16817644, 0.06875191, -0.07499848, 0.026874356, 0.04613621]),
            ("model.embed_tokens.weight", &[512, 128], 0,
                [-0.06024905, 0.058165707, 0.07824834, 0.019953033, 0.06410923]),
            ("model.norm.weight", &[128], 0,
                [1.2065892, 0.5442825, 1.2175381, 1.135527, 1.0942353]),
            ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 4], 0,
                [-0.01029829, 0.04495272, -0.037868924, 0.02653716, -0.017911894]),
        ];
        for (name, shape, seed, expected) in cases {
            let values = tensor(name, shape, seed);
            assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
            check(&values, expected, name);
        }
    }

    #[test]
    fn a_whole_uniform_tensor_has_pythons_bytes() {
        let values = tensor("head.bn.weight", &[192], 0);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(crc32fast::hash(&bytes), 0x9575_688d);
    }

    #[test]
    fn a_counter_is_one_zero() {
        assert_eq!(tensor("head.bn.num_batches_tracked", &[], 3), [0.0]);
    }

    #[test]
    #[rustfmt::skip]
    fn images_match_python_square_and_not() {
        check(&image_batch(2, 224, 224, 0),
            [-0.8044583, 0.32093155, -0.02548288, 0.6443238, -1.6650065], "2 of 224x224");
        check(&image_batch(1, 256, 320, 1),
            [-1.0864464, -0.8960651, -0.30629936, -1.3399336, -1.1631812], "1 of 256x320");
    }

    #[test]
    fn token_ids_match_python() {
        let ids = token_ids(1, 33, 512, 0);
        assert_eq!(ids.len(), 33);
        assert_eq!(ids[..8], [441, 331, 209, 464, 57, 126, 487, 287]);
        assert_eq!(ids[30..], [57, 356, 74]);
    }
}
