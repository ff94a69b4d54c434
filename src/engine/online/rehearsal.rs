//! What was learned from before, to be learned from again: a few requests alone make a draft forget the others.

use super::lesson::Lesson;
use crate::engine::distill::mixed;
use std::collections::VecDeque;

/// The last lessons.
#[derive(Default)]
pub struct Rehearsal {
    pub lessons: VecDeque<Lesson>,
    drawn: u64,
}

fn rows<'a>(lessons: impl IntoIterator<Item = &'a Lesson>) -> usize {
    lessons.into_iter().map(|l| l.rows.len()).sum()
}

impl Rehearsal {
    /// `new` lessons, and old ones of as many rows, `least` at least, where there are, drawn at random. New ones are
    /// remembered, the oldest forgotten beyond `most` rows.
    pub fn mix(&mut self, new: Vec<Lesson>, least: usize, most: usize) -> Vec<Lesson> {
        let wanted = rows(&new).max(least);
        let mut all = new.clone();
        let mut old: Vec<&Lesson> = self.lessons.iter().collect();
        let mut taken = 0;
        while taken < wanted && !old.is_empty() {
            self.drawn += 1;
            let at = mixed(self.drawn) % old.len() as u64;
            let lesson = old.swap_remove(at as usize);
            taken += lesson.rows.len();
            all.push(lesson.clone());
        }
        self.lessons.extend(new);
        let mut kept = rows(&self.lessons);
        while kept > most
            && let Some(lesson) = self.lessons.pop_front()
        {
            kept -= lesson.rows.len();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Row;
    use super::{Lesson, Rehearsal, rows};

    fn lesson(token: u32) -> Lesson {
        Lesson {
            tokens: vec![token],
            prompt: Vec::new(),
            rows: vec![(0, Row::Kept(token)); 10],
        }
    }

    #[test]
    fn old_lessons_come_again_until_they_are_forgotten() {
        let mut past = Rehearsal::default();
        let mut times = [0; 12];
        for token in 0..12 {
            let all = past.mix(vec![lesson(token)], 1, 50);
            assert_eq!(all[0], lesson(token));
            assert_eq!(all.len(), if token == 0 { 1 } else { 2 });
            assert!(all[1..].iter().all(|l| token - l.tokens[0] <= 5));
            all.iter().for_each(|l| times[l.tokens[0] as usize] += 1);
            assert!(rows(&past.lessons) <= 50);
        }
        assert!(times.iter().filter(|&&n| n > 1).count() > 3, "{times:?}");
        // More than are new.
        assert_eq!(past.mix(vec![lesson(12)], 25, 50).len(), 4);
        // None is remembered.
        let mut none = Rehearsal::default();
        for token in 0..3 {
            assert_eq!(none.mix(vec![lesson(token)], 30, 0), [lesson(token)]);
        }
    }
}
