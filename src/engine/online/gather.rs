//! From requests to the buffer, and from the buffer to what an update learns from.

use super::Source;
use super::learner::Learner;
use super::lesson::Lesson;
use super::replay::Example;
use super::row::Row;
use crate::engine::distill::mixed;
use crate::engine::language::Session;
use crate::error::Result;
use std::collections::VecDeque;
use std::time::Instant;

impl Learner {
    /// Adds what was kept of the session's request to go on from `prompt`. What there is no room for is given
    /// back; all of it where it is kept on the host.
    ///
    /// # Errors
    /// What reading returns.
    pub fn gather(&mut self, session: &mut Session, prompt: &[u32]) -> Result<()> {
        let kept = session.take_kept();
        let brought = !kept.is_empty();
        let over = self
            .replay
            .push(session.tokens(), kept, self.begun.elapsed());
        self.figures.lost_rows += over.len();
        session.release(over);
        let Some(last) = self.replay.last().filter(|_| brought) else {
            return Ok(());
        };
        match session.target().has_encoder() {
            true => last.read = prompt.to_vec(),
            false => last.prompt = prompt.len(),
        }
        if let Some(top) = self.settings.keep_top {
            let begun = Instant::now();
            let slots: Vec<u32> = last.rows.iter().map(|k| k.slot).collect();
            let rows = self.read(session, &slots, top)?;
            session.release(self.replay.compress(rows));
            self.figures.update_seconds += begun.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// The distributions in `slots` of the device, taken into the trainer's table; `None` of one that is none.
    fn take(&mut self, session: &Session, slots: &[u32]) -> Result<Vec<Option<Row>>> {
        let pairs: Vec<[u32; 2]> = (slots.iter().zip(self.free_rows()))
            .map(|(&there, here)| [there, here])
            .collect();
        if pairs.is_empty() {
            return Ok(vec![None; slots.len()]);
        }
        let (ring, room) = (session.kept_in(), self.capacity.table);
        let sound = (self.trainer).take((&ring, Session::KEPT), &pairs, room)?;
        let rows = pairs.iter().zip(sound);
        let mut rows: Vec<Option<Row>> = rows
            .map(|(p, sound)| sound.then_some(Row::Kept(p[1])))
            .collect();
        rows.resize(slots.len(), None);
        Ok(rows)
    }

    /// The distributions in `slots` of the device, on the host; `None` of one that is none.
    fn read(&mut self, session: &Session, slots: &[u32], top: f32) -> Result<Vec<Option<Row>>> {
        let (Some(&low), Some(&high)) = (slots.iter().min(), slots.iter().max()) else {
            return Ok(Vec::new());
        };
        let (low, count, vocab) = (low as usize, (high - low + 1) as usize, self.vocab);
        let store = session.kept_in();
        let values = store.read_part(Session::KEPT, low * vocab, count * vocab)?;
        let values = values.to_f32();
        let dropped = &mut self.figures.dropped;
        let one = |&slot: &u32| {
            let from = (slot as usize - low) * vocab;
            Row::of(&values[from..from + vocab], Some(top), dropped)
        };
        Ok(slots.iter().map(one).collect())
    }

    /// Empties the buffer: what the target's own texts teach; the prompts of requests that the draft is to answer itself
    /// are put by.
    ///
    /// # Errors
    /// What reading returns.
    pub(super) fn drain(&mut self, session: &mut Session) -> Result<Vec<Lesson>> {
        let examples = self.replay.take();
        let mut given = Vec::new();
        let on_device = examples.iter().filter(|e| e.compressed.is_none());
        let slots: Vec<u32> = on_device
            .flat_map(|e| e.rows.iter().map(|k| k.slot))
            .collect();
        let mut read = VecDeque::from(self.take(session, &slots)?);
        session.release(slots);
        for example in examples {
            let Example {
                tokens,
                prompt,
                read: prompt_read,
                rows,
                compressed,
                ..
            } = example;
            let found = compressed.unwrap_or_else(|| read.drain(..rows.len()).collect());
            let own = match self.settings.source {
                Source::Teacher => false,
                Source::Student => true,
                Source::Mixed => {
                    self.drawn += 1;
                    mixed(self.drawn).is_multiple_of(2)
                }
            };
            if own && !prompt_read.is_empty() {
                self.prompts.push_back((prompt_read, tokens.len()));
                continue;
            }
            if own && prompt > 0 {
                let answer = tokens.len() - prompt.min(tokens.len() - 1);
                self.prompts
                    .push_back((tokens[..prompt.min(tokens.len())].to_vec(), answer));
                continue;
            }
            self.figures.bad_rows += found.iter().filter(|r| r.is_none()).count();
            let rows = rows.iter().zip(found);
            let rows = rows.filter_map(|(k, row)| Some((k.position, row?)));
            given.push(Lesson {
                rows: rows.collect(),
                prompt: prompt_read,
                tokens,
            });
        }
        Ok(given)
    }

    /// What the draft answers to a prompt now, in about so many tokens, with the target's distributions along it.
    ///
    /// # Errors
    /// What running returns.
    pub(super) fn write(&mut self, (prompt, answer): (Vec<u32>, usize)) -> Result<Vec<Lesson>> {
        let Some(writer) = &mut self.writer else {
            return Ok(Vec::new());
        };
        self.drawn += 1;
        let Some(batch) = writer.write(&self.draft, &prompt, answer, mixed(self.drawn))? else {
            return Ok(Vec::new());
        };
        let (top, dropped) = (self.settings.keep_top, &mut self.figures.dropped);
        let probs = batch.probs.chunks(self.vocab);
        let rows: Vec<(usize, Row)> = (batch.rows.iter().zip(probs))
            .filter_map(|(&at, p)| Some((at as usize, Row::of(p, top, dropped)?)))
            .collect();
        self.figures.bad_rows += batch.rows.len() - rows.len();
        let read = batch.prompts.lengths.first().map_or(0, |&n| n as usize);
        self.figures.own_texts += 1;
        self.figures.own_tokens += rows.len();
        Ok(vec![Lesson {
            tokens: batch.tokens,
            prompt: batch.prompts.tokens[..read.min(batch.prompts.tokens.len())].to_vec(),
            rows,
        }])
    }
}
