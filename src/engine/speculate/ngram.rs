//! Proposals without a second model: what followed the last few tokens where they stood before ("prompt lookup").

use std::collections::HashMap;

/// An index over a growing text: for each length, where each run of so many tokens ended. A run is found by a hash of its
/// tokens and compared with them. Tokens may be taken back.
#[derive(Clone, Debug)]
pub struct Ngram {
    least: usize,
    /// By length - least: from a run's hash to where it ended, the latest last.
    ends: Vec<HashMap<u64, Vec<u32>>>,
    tokens: Vec<u32>,
}

fn hash(run: &[u32]) -> u64 {
    run.iter().fold(0xcbf2_9ce4_8422_2325, |h, &t| {
        (h ^ u64::from(t))
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23)
    })
}

impl Ngram {
    /// Looks for runs of `least` up to `most` tokens, the longest first. Both are at least 1.
    pub fn new(least: usize, most: usize) -> Self {
        let least = least.max(1);
        Self {
            least,
            ends: vec![HashMap::new(); most.max(least) - least + 1],
            tokens: Vec::new(),
        }
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Adds tokens to the text.
    pub fn push(&mut self, tokens: &[u32]) {
        for &token in tokens {
            self.tokens.push(token);
            let n = self.tokens.len();
            for (i, ends) in self.ends.iter_mut().enumerate() {
                if let Some(from) = n.checked_sub(self.least + i) {
                    let run = hash(&self.tokens[from..]);
                    ends.entry(run).or_default().push(n as u32);
                }
            }
        }
    }

    /// Keeps the first `n` tokens.
    pub fn truncate(&mut self, n: usize) {
        while self.tokens.len() > n {
            let end = self.tokens.len();
            for (i, ends) in self.ends.iter_mut().enumerate() {
                if let Some(from) = end.checked_sub(self.least + i)
                    && let Some(at) = ends.get_mut(&hash(&self.tokens[from..]))
                {
                    at.pop();
                }
            }
            self.tokens.pop();
        }
    }

    /// Up to `k` tokens that followed the latest earlier place of the longest run that ends the text; none where it has
    /// no such place. Where the text ends before `k` tokens, it goes on as the proposals themselves do, so that what
    /// repeats is proposed in full.
    pub fn propose(&self, k: usize) -> Vec<u32> {
        let n = self.tokens.len();
        for (i, ends) in self.ends.iter().enumerate().rev() {
            let length = self.least + i;
            let Some(from) = n.checked_sub(length) else {
                continue;
            };
            let run = &self.tokens[from..];
            let before = ends.get(&hash(run)).into_iter().flatten().rev();
            // The latest is the end of the text itself.
            let found = before
                .map(|&e| e as usize)
                .find(|&e| e < n && e >= length && self.tokens[e - length..e] == *run);
            if let Some(end) = found {
                let period = n - end;
                return (0..k).map(|j| self.tokens[end + j % period]).collect();
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by looking everywhere.
    fn plain(tokens: &[u32], least: usize, most: usize, k: usize) -> Vec<u32> {
        for length in (least..=most).rev().filter(|&l| l <= tokens.len()) {
            let run = &tokens[tokens.len() - length..];
            let ends = (length..tokens.len()).rev();
            if let Some(end) = ends.into_iter().find(|&e| tokens[e - length..e] == *run) {
                let mut all = tokens.to_vec();
                for j in 0..k {
                    all.push(all[end + j]);
                }
                return all[tokens.len()..].to_vec();
            }
        }
        Vec::new()
    }

    #[test]
    fn the_longest_and_latest_match_is_taken() {
        let mut ngram = Ngram::new(1, 3);
        assert!(ngram.propose(4).is_empty());
        ngram.push(&[1, 2, 3, 9, 2, 3, 7, 5, 3, 8, 1, 2, 3]);
        assert_eq!(ngram.propose(3), [9, 2, 3]);
        ngram.push(&[4, 2, 3]);
        assert_eq!(
            ngram.propose(2),
            [4, 2],
            "the latest of the places after 2, 3"
        );
        ngram.push(&[6]);
        assert!(ngram.propose(3).is_empty());
        assert!(ngram.propose(0).is_empty());
    }

    #[test]
    fn what_repeats_is_proposed_beyond_the_end_of_the_text() {
        let mut ngram = Ngram::new(1, 4);
        ngram.push(&[5, 6, 5, 6, 5, 6]);
        assert_eq!(ngram.propose(5), [5, 6, 5, 6, 5]);
    }

    #[test]
    fn it_agrees_with_looking_everywhere_through_pushes_and_takings_back() {
        let mut state = 1u64;
        let mut random = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            (state >> 33) % n
        };
        let mut ngram = Ngram::new(2, 4);
        let mut tokens: Vec<u32> = Vec::new();
        let mut found = 0;
        for _ in 0..2000 {
            if random(4) == 0 && tokens.len() > 3 {
                let n = tokens.len() - random(4) as usize;
                tokens.truncate(n);
                ngram.truncate(n);
            } else {
                let more: Vec<u32> = (0..random(4)).map(|_| random(5) as u32).collect();
                tokens.extend(&more);
                ngram.push(&more);
            }
            assert_eq!(ngram.tokens(), tokens);
            let expected = plain(&tokens, 2, 4, 6);
            found += usize::from(!expected.is_empty());
            assert_eq!(ngram.propose(6), expected, "{tokens:?}");
        }
        assert!(found > 1000, "{found}");
    }
}
