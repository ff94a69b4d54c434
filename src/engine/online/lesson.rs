//! From what was kept of requests to batches that a step takes.

use super::replay::Example;
use crate::engine::distill::Batch;

/// Of so many rows one is held out of training, for the canary.
const HELD: usize = 5;
/// The least tokens of a sequence.
const SHORTEST: usize = 32;

/// A sequence, and the target's distributions at rows of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lesson {
    pub tokens: Vec<u32>,
    /// Positions, and vocabulary-wide probabilities.
    pub rows: Vec<(usize, Vec<f32>)>,
}

/// Whether `row` is a distribution.
fn sound(row: &[f32]) -> bool {
    let sum: f64 = row.iter().map(|&p| f64::from(p)).sum();
    row.iter().all(|p| (0.0..=1.001).contains(p)) && (sum - 1.0).abs() < 1e-2
}

/// The examples with their distributions, which are rows of `kept`: those to learn from, those held out, and how many
/// were no distributions. Sequences are cut where they are longer than `context`: a row sees at most so many tokens.
pub fn lessons(
    examples: &[Example],
    kept: &[f32],
    vocab: usize,
    context: usize,
) -> (Vec<Lesson>, Vec<Lesson>, usize) {
    let (mut taught, mut held, mut bad, mut count) = (Vec::new(), Vec::new(), 0, 0);
    for example in examples {
        let mut left = &example.rows[..];
        while let Some(last) = left.last() {
            let end = last.position + 1;
            let begin = end.saturating_sub(context);
            let at = left.partition_point(|k| k.position < begin);
            let tokens = example.tokens[begin..end].to_vec();
            let both = [&tokens, &tokens].map(|tokens| Lesson {
                tokens: tokens.clone(),
                rows: Vec::new(),
            });
            let [mut learn, mut hold] = both;
            for k in &left[at..] {
                let from = k.slot as usize * vocab;
                match kept.get(from..from + vocab).filter(|row| sound(row)) {
                    None => bad += 1,
                    Some(row) => {
                        count += 1;
                        let to = if count % HELD == 0 {
                            &mut hold
                        } else {
                            &mut learn
                        };
                        to.rows.push((k.position - begin, row.to_vec()));
                    }
                }
            }
            taught.extend(Some(learn).filter(|l| !l.rows.is_empty()));
            held.extend(Some(hold).filter(|l| !l.rows.is_empty()));
            left = &left[..at];
        }
    }
    (taught, held, bad)
}

/// Batches of `lessons`, up to `sequences` in each. There are few different sizes of them, as each needs a plan:
/// sequences and lengths are powers of two.
pub fn batches(lessons: &[Lesson], sequences: usize) -> Vec<Batch> {
    let mut sorted: Vec<&Lesson> = lessons.iter().collect();
    sorted.sort_by_key(|l| l.tokens.len());
    (sorted.chunks(sequences.max(1)))
        .map(|group| {
            let longest = group.iter().map(|l| l.tokens.len()).max().unwrap_or(1);
            let len = longest.next_power_of_two().max(SHORTEST);
            let mut batch = Batch {
                len,
                ..Batch::default()
            };
            for (i, lesson) in group.iter().enumerate() {
                batch.tokens.extend(&lesson.tokens);
                batch.tokens.resize((i + 1) * len, 0);
                for (at, probs) in &lesson.rows {
                    batch.rows.push((i * len + at) as u32);
                    batch.probs.extend(probs);
                }
            }
            batch
                .tokens
                .resize(group.len().next_power_of_two() * len, 0);
            batch
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Example, batches, lessons};
    use crate::engine::language::Kept;
    use crate::engine::online::replay::Replay;
    use std::time::Duration;

    /// Row of slot s is one-hot at s % 4.
    fn kept(slots: usize) -> Vec<f32> {
        (0..slots * 4)
            .map(|i| f32::from(u8::from(i % 4 == (i / 4) % 4)))
            .collect()
    }

    fn examples(positions: &[usize]) -> Vec<Example> {
        let mut q = Replay::new(1, 100, Duration::ZERO);
        let tokens: Vec<u32> = (0..100).collect();
        let rows = (positions.iter().enumerate()).map(|(i, &position)| Kept {
            position,
            slot: i as u32,
        });
        q.push(&tokens, rows.collect(), Duration::ZERO);
        q.take()
    }

    #[test]
    fn rows_keep_their_tokens_and_their_distributions() {
        let examples = examples(&[3, 8, 40, 41, 42, 90]);
        let mut kept = kept(6);
        kept[4] = f32::NAN;
        let (taught, held, bad) = lessons(&examples, &kept, 4, 16);
        assert_eq!(bad, 1);
        let all: Vec<(u32, u32)> = (taught.iter().chain(&held))
            .flat_map(|l| {
                assert!(l.tokens.len() <= 16);
                l.rows.iter().map(|(at, probs)| {
                    let hot = probs.iter().position(|&p| p == 1.0);
                    (l.tokens[*at], hot.map_or(9, |c| c as u32))
                })
            })
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [(3, 0), (40, 2), (41, 3), (42, 0), (90, 1)]);
        assert_eq!(held.iter().map(|l| l.rows.len()).sum::<usize>(), 1);
        for batch in batches(&taught, 2) {
            assert!(batch.check(100, false).is_err(), "a vocabulary of 4 it is");
            assert_eq!(batch.probs.len(), batch.rows.len() * 4);
            assert!(batch.len.is_power_of_two() && batch.sequences().is_power_of_two());
            for (row, probs) in batch.rows.iter().zip(batch.probs.chunks(4)) {
                let hot = probs.iter().position(|&p| p == 1.0).map_or(9, |c| c as u32);
                assert!(all.contains(&(batch.tokens[*row as usize], hot)));
            }
        }
    }
}
