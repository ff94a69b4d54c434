//! numpy's frozen legacy generator, `numpy.random.RandomState(seed)`, so that reference weights are
//! drawn in Rust bit for bit as the scripts that made the reference outputs drew them in Python.
//!
//! Only what the references need is here: `uniform`, `standard_normal` and `randint` with its default
//! integer type. numpy promises that this stream never changes.

/// Words of state of the Mersenne Twister MT19937.
const WORDS: usize = 624;
/// Distance of the second word in the recurrence.
const MIDDLE: usize = 397;

/// `numpy.random.RandomState`, seeded with one integer.
#[derive(Clone)]
pub struct RandomState {
    key: [u32; WORDS],
    next: usize,
    /// The second number of the last polar pair, not handed out yet.
    spare: Option<f64>,
}

impl RandomState {
    /// The stream that `RandomState(seed)` starts for an integer seed in `0..2**32`.
    pub fn new(seed: u32) -> Self {
        let mut key = [0; WORDS];
        let mut word = seed;
        for (place, slot) in (1u32..).zip(key.iter_mut()) {
            *slot = word;
            word = (word ^ (word >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(place);
        }
        Self {
            key,
            next: WORDS,
            spare: None,
        }
    }

    /// The next 32 tempered bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut bits = self.key[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    fn refill(&mut self) {
        for i in 0..WORDS {
            let joined = (self.key[i] & 0x8000_0000) | (self.key[(i + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.key[i] = self.key[(i + MIDDLE) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// `random_sample()`: a double in `[0, 1)` with 53 random bits.
    pub fn random_sample(&mut self) -> f64 {
        let high = f64::from(self.next_u32() >> 5);
        let low = f64::from(self.next_u32() >> 6);
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `uniform(low, high)`: a double in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.random_sample()
    }

    /// `standard_normal()`: Marsaglia's polar method, the second of each pair kept for the next call.
    pub fn standard_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let x = 2.0 * self.random_sample() - 1.0;
            let y = 2.0 * self.random_sample() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(scale * x);
                return scale * y;
            }
        }
    }

    /// `randint(low, high)` of the default type (int64): an integer in `low..high`, by masked rejection.
    /// A span of up to 2³² numbers takes one 32-bit draw per try, a wider one 64 bits.
    ///
    /// # Panics
    /// If `low >= high`, as numpy raises `ValueError`.
    pub fn randint(&mut self, low: i64, high: i64) -> i64 {
        assert!(low < high, "randint: low {low} is not below high {high}");
        let largest = high.wrapping_sub(low).wrapping_sub(1) as u64;
        let mask = largest
            .checked_ilog2()
            .map_or(0, |bits| u64::MAX >> (63 - bits));
        if largest == 0 {
            return low;
        }
        loop {
            let draw = if u32::try_from(largest).is_ok() {
                u64::from(self.next_u32())
            } else {
                let high = u64::from(self.next_u32());
                high << 32 | u64::from(self.next_u32())
            };
            if draw & mask <= largest {
                return low.wrapping_add((draw & mask) as i64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RandomState;

    // Every expected number was printed by numpy 2.4 from the same calls.

    #[test]
    fn raw_words_match_numpy_over_a_refill() {
        let mut random = RandomState::new(5489);
        let words: Vec<u32> = (0..700).map(|_| random.next_u32()).collect();
        assert_eq!(
            [words[0], words[623], words[624], words[699]],
            [3_499_211_612, 4_020_325_887, 4_178_893_912, 2_381_045_132]
        );
    }

    #[test]
    fn one_stream_of_mixed_calls_matches_numpy() {
        let mut random = RandomState::new(42);
        let samples = [(); 3].map(|()| random.random_sample());
        assert_eq!(
            samples,
            [0.3745401188473625, 0.9507143064099162, 0.7319939418114051]
        );
        let normals = [(); 4].map(|()| random.standard_normal());
        let expected = [
            -1.1118801180469204,
            0.31890218468938336,
            0.2790412922001377,
            1.0105152848065264,
        ];
        for (found, expected) in normals.into_iter().zip(expected) {
            // One unit in the last place of slack: the logarithm is the platform's.
            assert!((found - expected).abs() <= 2.3e-16 * expected.abs());
        }
        assert_eq!(random.uniform(0.5, 1.5), 1.2080725777960455);
        let narrow = [(); 5].map(|()| random.randint(3, 512));
        assert_eq!(narrow, [152, 311, 260, 346, 494]);
        let wide = [(); 3].map(|()| random.randint(0, 1 << 40));
        assert_eq!(wide, [675_221_855_013, 554_831_713_471, 803_946_600_724]);
        assert_eq!(random.randint(-5, -4), -5);
        let last = random.standard_normal();
        assert!((last - 1.4623781203460173).abs() < 1e-15);
    }

    #[test]
    fn a_full_span_of_32_bits_takes_the_words_as_they_are() {
        let mut random = RandomState::new(u32::MAX);
        let words = [(); 3].map(|()| random.randint(0, 1 << 32));
        assert_eq!(words, [419_326_371, 479_346_978, 3_918_654_476]);
    }
}
