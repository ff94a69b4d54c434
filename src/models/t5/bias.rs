//! The bias that T5 adds to scores: a table by bucket in the checkpoint, by distance here.

use crate::graph::Weight;
use crate::models::language::T5Config;

/// Which distances occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Keys on both sides of a query: the encoder.
    Both,
    /// Keys before a query: the decoder.
    Back,
}

/// What is learned: the bias [buckets, heads].
pub(super) fn table(c: &T5Config, stack: &str) -> Weight {
    let name = format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    Weight::plain(name, &[c.buckets, c.heads])
}

/// One at the bucket of each distance, [len + keys - 1, buckets]: of keys that stand 1 - `len` … `keys` - 1 positions
/// after the query. Its product with the table is the bias by distance.
pub(super) fn buckets(c: &T5Config, direction: Direction, [len, keys]: [usize; 2]) -> Weight {
    let (count, most, span) = (c.buckets, c.max_distance, len + keys - 1);
    let name = format!("{direction:?} buckets {len} {keys}");
    Weight::made(name, &[span, count], Vec::new(), move |_| {
        let mut out = vec![0.0; span * count];
        for (i, row) in out.chunks_mut(count).enumerate() {
            let distance = i as isize - (len as isize - 1);
            row[bucket(distance, count, most, direction)] = 1.0;
        }
        out
    })
}

/// The bias [heads, 2·R + 1] of keys that stand -R … R positions after the query; farther ones have that of ±R, for
/// from `max_distance` = R on all share a bucket.
pub(super) fn by_distance(c: &T5Config, stack: &str, direction: Direction) -> Weight {
    let (buckets, heads, most) = (c.buckets, c.heads, c.max_distance);
    let sources = table(c, stack).sources;
    let shape = [heads, 2 * most + 1];
    Weight::made(format!("{stack}.bias"), &shape, sources, move |t| {
        let far = most as isize;
        (0..heads)
            .flat_map(|h| (-far..=far).map(move |d| (h, d)))
            .map(|(h, d)| t[0][bucket(d, buckets, most, direction) * heads + h])
            .collect()
    })
}

/// The bucket of a key that stands `distance` positions after the query (paper, section 2.1): half of the buckets are
/// single distances, half grow logarithmically up to `most`; the encoder has them once for each side.
fn bucket(distance: isize, buckets: usize, most: usize, direction: Direction) -> usize {
    let (side, buckets, away) = match direction {
        Direction::Both if distance > 0 => (buckets / 2, buckets / 2, distance.unsigned_abs()),
        Direction::Both => (0, buckets / 2, distance.unsigned_abs()),
        Direction::Back => (0, buckets, (-distance).max(0).unsigned_abs()),
    };
    let exact = buckets / 2;
    if away < exact {
        return side + away;
    }
    // In f32, as the public implementation rounds it.
    let part = (away as f32 / exact as f32).ln() / ((most as f64 / exact as f64).ln() as f32);
    let far = exact + (part * (buckets - exact) as f32) as usize;
    side + far.min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_public_implementation() {
        let both = |d| bucket(d, 32, 128, Direction::Both);
        assert_eq!(
            [-200, -128, -20, -8, -7, -1, 0, 1, 7, 8, 20, 127, 500].map(both),
            [15, 15, 10, 8, 7, 1, 0, 17, 23, 24, 26, 31, 31]
        );
        let back = |d| bucket(d, 32, 128, Direction::Back);
        assert_eq!(
            [-500, -128, -127, -40, -17, -16, -15, -1, 0, 3].map(back),
            [31, 31, 31, 23, 16, 16, 15, 1, 0, 0]
        );
    }
}
