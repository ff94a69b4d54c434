//! From what was kept of requests to batches that a step takes.

use super::row::Row;
use crate::engine::distill::{Batch, Prompts, few};

/// Of so many requests one is held out of training, for the canary: as a whole, since what a draft learns of a text helps
/// it with the rest of that text, whatever it does to others.
const HELD: usize = 5;
/// The least tokens of a sequence.
const SHORTEST: usize = 32;

/// A sequence, and the target's distributions at rows of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lesson {
    pub tokens: Vec<u32>,
    /// What an encoder reads of it; nothing where the models have none.
    pub prompt: Vec<u32>,
    /// Positions in order, and the distributions after them.
    pub rows: Vec<(usize, Row)>,
}

impl Lesson {
    /// Whether its distributions lie in the trainer's table; those of one lesson are alike.
    pub fn kept(&self) -> bool {
        self.rows.iter().any(|(_, row)| row.slot().is_some())
    }
}

/// Sequences to learn from and those held out, of which `seen` counts all by now. They are cut where they are longer than
/// `context`: a row sees at most so many tokens, the text's first among them, as models put attention there that they have
/// no use for (arXiv 2309.17453) and foresee badly without it. What answers an encoder's prompt ends there: its rows count
/// from its first token.
pub fn lessons(given: Vec<Lesson>, context: usize, seen: &mut usize) -> (Vec<Lesson>, Vec<Lesson>) {
    let (mut taught, mut held) = (Vec::new(), Vec::new());
    for lesson in given {
        *seen += 1;
        let to = match *seen % HELD {
            0 => &mut held,
            _ => &mut taught,
        };
        let mut left = lesson.rows;
        if !lesson.prompt.is_empty() {
            left.truncate(left.partition_point(|r| r.0 < context));
            if let Some((last, _)) = left.last() {
                to.push(Lesson {
                    tokens: lesson.tokens[..=*last].to_vec(),
                    prompt: lesson.prompt,
                    rows: left,
                });
            }
            continue;
        }
        while let Some((last, _)) = left.last() {
            let end = last + 1;
            let begin = end.saturating_sub(context);
            // In the place of the window's first token, which then teaches nothing.
            let cut = begin > 0 && context > 1;
            let at = left.partition_point(|r| r.0 < begin + usize::from(cut));
            let mut tokens = lesson.tokens[begin..end].to_vec();
            if cut {
                tokens[0] = lesson.tokens[0];
            }
            let own = left.split_off(at).into_iter();
            to.push(Lesson {
                tokens,
                prompt: Vec::new(),
                rows: own.map(|(at, row)| (at - begin, row)).collect(),
            });
        }
    }
    (taught, held)
}

/// What is held out of `taught` where nothing is yet: the last lesson, or of a single one the last rows. `None` where there
/// are not two rows.
pub fn hold_out(taught: &mut Vec<Lesson>) -> Option<Lesson> {
    if taught.len() > 1 {
        return taught.pop();
    }
    let lesson = taught.first_mut().filter(|l| l.rows.len() > 1)?;
    let held = (lesson.rows.len() / HELD).max(1);
    let rows = lesson.rows.split_off(lesson.rows.len() - held);
    Some(Lesson {
        rows,
        ..lesson.clone()
    })
}

/// How lessons are put into batches.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Of a batch, at most.
    pub sequences: usize,
    pub rows: usize,
    pub vocab: usize,
}

impl Batching {
    /// Batches of `lessons`. There are few different sizes of them, as each needs a plan. Distributions lie in the
    /// trainer's table, or come along, whole, over the vocabulary: never some of either in one batch.
    pub fn of(&self, lessons: &[Lesson]) -> Vec<Batch> {
        let mut sorted: Vec<(&Lesson, &[(usize, Row)])> = (lessons.iter())
            .flat_map(|l| l.rows.chunks(self.rows.max(1)).map(move |rows| (l, rows)))
            .collect();
        sorted.sort_by_key(|(l, _)| (l.kept(), l.tokens.len()));
        let (mut batches, mut group, mut rows) = (Vec::new(), Vec::new(), 0);
        for part in sorted {
            let fits = group.len() < self.sequences.max(1) && rows + part.1.len() <= self.rows;
            let alike = group
                .last()
                .is_none_or(|(l, _): &(&Lesson, _)| l.kept() == part.0.kept());
            if !(group.is_empty() || fits && alike) {
                batches.push(self.batch(&std::mem::take(&mut group)));
                rows = 0;
            }
            rows += part.1.len();
            group.push(part);
        }
        if !group.is_empty() {
            batches.push(self.batch(&group));
        }
        batches
    }

    fn batch(&self, group: &[(&Lesson, &[(usize, Row)])]) -> Batch {
        let longest = group.iter().map(|(l, _)| l.tokens.len()).max().unwrap_or(1);
        let len = longest.next_power_of_two().max(SHORTEST);
        let read = group.iter().map(|(l, _)| l.prompt.len()).max().unwrap_or(0);
        let mut batch = Batch {
            len,
            prompts: Prompts {
                len: match read {
                    0 => 0,
                    read => read.next_power_of_two().max(SHORTEST),
                },
                ..Prompts::default()
            },
            ..Batch::default()
        };
        for (i, (lesson, rows)) in group.iter().enumerate() {
            batch.tokens.extend(&lesson.tokens);
            batch.tokens.resize((i + 1) * len, 0);
            if read > 0 {
                batch.prompts.push(&lesson.prompt);
            }
            for (at, row) in *rows {
                batch.rows.push((i * len + at) as u32);
                match row.slot() {
                    Some(slot) => batch.slots.push(slot),
                    None => row.write(self.vocab, &mut batch.probs),
                }
            }
        }
        let sequences = few(group.len());
        batch.tokens.resize(sequences * len, 0);
        for _ in group.len()..sequences {
            if read > 0 {
                // Of one token: attention to none has no meaning.
                batch.prompts.push(&[0]);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Batching, Lesson, Row, hold_out, lessons};

    fn batches(lessons: &[Lesson], sequences: usize, vocab: usize) -> Vec<Batch> {
        let rows = 2048;
        let batching = Batching {
            sequences,
            rows,
            vocab,
        };
        batching.of(lessons)
    }

    #[test]
    fn rows_keep_their_tokens_and_their_distributions() {
        // The i-th row is one-hot at i % 4.
        let hot = |i: usize| (0..4).map(|c| f32::from(u8::from(c == i % 4))).collect();
        let positions = [3, 8, 40, 41, 42, 90].into_iter().enumerate();
        let given = Lesson {
            tokens: (0..91).collect(),
            prompt: Vec::new(),
            rows: positions.map(|(i, at)| (at, Row::Whole(hot(i)))).collect(),
        };
        // Every fifth is held out.
        let mut seen = 4;
        let (none, held) = lessons(vec![given.clone()], 16, &mut seen);
        let (taught, others) = lessons(vec![given], 16, &mut seen);
        assert_eq!((seen, none.len(), others.len()), (6, 0, 0));
        assert_eq!(held, taught);
        let all: Vec<(u32, u32)> = (taught.iter())
            .flat_map(|l| {
                assert!(l.tokens.len() <= 16 && l.tokens[0] == 0);
                l.rows.iter().map(|(at, row)| {
                    let mut probs = Vec::new();
                    row.write(4, &mut probs);
                    let hot = probs.iter().position(|&p| p == 1.0);
                    (l.tokens[*at], hot.map_or(9, |c| c as u32))
                })
            })
            .collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [(3, 0), (8, 1), (40, 2), (41, 3), (42, 0), (90, 1)]);
        for batch in batches(&taught, 2, 4) {
            assert!(batch.check(100, false).is_err(), "a vocabulary of 4 it is");
            assert_eq!(batch.probs.len(), batch.rows.len() * 4);
            assert!(batch.len.is_power_of_two() && batch.sequences().is_power_of_two());
            for (row, probs) in batch.rows.iter().zip(batch.probs.chunks(4)) {
                let hot = probs.iter().position(|&p| p == 1.0).map_or(9, |c| c as u32);
                assert!(all.contains(&(batch.tokens[*row as usize], hot)));
            }
        }
        // Others do not come into a batch with those in the table.
        let there = Lesson {
            tokens: vec![0; 20],
            prompt: Vec::new(),
            rows: vec![(3, Row::Kept(7))],
        };
        let all = [taught, vec![there]].concat();
        let mixed = batches(&all, 8, 4);
        let slots: Vec<&[u32]> = mixed.iter().map(|b| &b.slots[..]).collect();
        assert_eq!(slots, [&[][..], &[7]]);
        assert!(mixed[1].probs.is_empty() && mixed[1].check(4, false).is_ok());
    }

    #[test]
    fn what_judges_the_first_update_is_not_learned() {
        let lesson = |rows: usize| Lesson {
            tokens: vec![1; 32],
            prompt: Vec::new(),
            rows: (0..rows).map(|at| (at, Row::Kept(at as u32))).collect(),
        };
        for (rows, taught, held) in [(2, 1, 1), (9, 8, 1), (30, 24, 6)] {
            let mut all = vec![lesson(rows)];
            let out = hold_out(&mut all).map_or(Vec::new(), |l| l.rows);
            assert_eq!((all[0].rows.len(), out.len()), (taught, held));
            assert_eq!([&all[0].rows[..], &out].concat(), lesson(rows).rows);
        }
        let mut all = vec![lesson(3), lesson(4)];
        assert_eq!(hold_out(&mut all), Some(lesson(4)));
        assert_eq!(all, [lesson(3)]);
        for mut none in [vec![], vec![lesson(1)]] {
            let before = none.clone();
            assert_eq!(hold_out(&mut none), None);
            assert_eq!(none, before);
        }
    }

    #[test]
    fn a_batch_has_no_more_rows_than_it_may() {
        let lesson = |token: u32, rows: usize| Lesson {
            tokens: vec![token; 32],
            prompt: Vec::new(),
            rows: (0..rows).map(|at| (at, Row::Kept(at as u32))).collect(),
        };
        let given = [lesson(1, 10), lesson(2, 9), lesson(3, 30), lesson(4, 1)];
        let batching = Batching {
            sequences: 8,
            rows: 12,
            vocab: 4,
        };
        let all = batching.of(&given);
        assert!(
            all.iter()
                .all(|b| b.rows.len() <= 12 && b.check(64, false).is_ok())
        );
        let mut seen: Vec<(u32, u32)> = Vec::new();
        for batch in &all {
            for (&row, &slot) in batch.rows.iter().zip(&batch.slots) {
                assert_eq!(row % 32, slot);
                seen.push((batch.tokens[row as usize], slot));
            }
        }
        seen.sort_unstable();
        let wanted = [(1, 10), (2, 9), (3, 30), (4, 1)];
        let wanted: Vec<(u32, u32)> = (wanted.into_iter())
            .flat_map(|(token, n)| (0..n).map(move |slot| (token, slot)))
            .collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn answers_to_an_encoders_prompt_keep_it_and_their_first_token() {
        let answer = |read: u32, last: usize| Lesson {
            tokens: (0..=last as u32).collect(),
            prompt: (0..read).collect(),
            rows: vec![(2, Row::Kept(0)), (last, Row::Kept(1))],
        };
        let given = vec![answer(3, 5), answer(40, 20), answer(7, 15)];
        let (taught, held) = lessons(given, 16, &mut 0);
        assert!(held.is_empty());
        let ends: Vec<usize> = taught.iter().map(|l| l.tokens.len()).collect();
        // The second one's last row is beyond the context.
        assert_eq!(ends, [6, 3, 16]);
        let batches = batches(&taught, 8, 64);
        let [batch] = &batches[..] else {
            panic!("one batch");
        };
        assert_eq!((batch.prompts.len, batch.sequences()), (64, 4));
        assert_eq!(batch.prompts.lengths, [40, 3, 7, 1]);
        assert!(batch.check(64, false).is_ok());
    }
}
