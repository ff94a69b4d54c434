//! Uniforms as a pure function of (seed, absolute position, purpose): what was drawn elsewhere, in what order and how
//! often does not move them. Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3");
//! the shaders' twin is `lib/random.threefry.wgsl`.

/// What a uniform at a position is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The draft's proposal for the position.
    Draft = 0,
    /// Whether that proposal is accepted.
    Accept = 1,
    /// The token drawn by the target: the correction after a rejection, the bonus after none, plain decoding.
    Next = 2,
}

/// Two words for a key and a counter.
pub fn bits(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const TURNS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];
    let keys = [key[0], key[1], 0x1BD1_1BDA ^ key[0] ^ key[1]];
    let mut x = [
        counter[0].wrapping_add(keys[0]),
        counter[1].wrapping_add(keys[1]),
    ];
    for round in 0..5 {
        for turn in TURNS[round % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(turn) ^ x[0];
        }
        x[0] = x[0].wrapping_add(keys[(round + 1) % 3]);
        x[1] = (x[1].wrapping_add(keys[(round + 2) % 3])).wrapping_add(round as u32 + 1);
    }
    x
}

/// A number in [0, 1) with 24 bits: what the kernels use for `purpose` at `position` under `seed`.
pub fn uniform(seed: u64, position: u32, purpose: Purpose) -> f32 {
    let key = [seed as u32, (seed >> 32) as u32];
    (bits(key, [position, purpose as u32])[0] >> 8) as f32 / (1u32 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threefry_gives_its_published_answers() {
        assert_eq!(bits([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(
            bits([u32::MAX; 2], [u32::MAX; 2]),
            [0x1cb9_96fc, 0xbb00_2be7]
        );
        assert_eq!(
            bits([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xc492_3a9c, 0x483d_f7a0]
        );
    }

    #[test]
    fn uniforms_differ_by_seed_position_and_purpose_and_are_below_one() {
        let mut seen = Vec::new();
        for seed in [0, 1, 1 << 32] {
            for position in 0..50 {
                for purpose in [Purpose::Draft, Purpose::Accept, Purpose::Next] {
                    let u = uniform(seed, position, purpose);
                    assert!((0.0..1.0).contains(&u));
                    seen.push(u.to_bits());
                }
            }
        }
        let mean = seen.iter().map(|&b| f32::from_bits(b)).sum::<f32>() / seen.len() as f32;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 450);
    }
}
