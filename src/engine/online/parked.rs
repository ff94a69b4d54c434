//! A draft that learns, put by on the host while others serve.

use super::learner::Learner;
use super::writer::Writer;
use crate::engine::language::Session;
use crate::error::Result;

impl Learner {
    /// Ends the update that is under way, and has all that it learned and will be judged by leave the device. What is
    /// buffered stays.
    ///
    /// # Errors
    /// What training and reading return; it stays where it is then.
    pub fn park(&mut self) -> Result<()> {
        while self.updating() {
            self.slice(self.slice_ms())?;
        }
        self.save();
        self.renewal = None;
        let rows: Vec<u32> = self.used_rows().collect();
        self.trainer.park(&rows)?;
        if let Some(writer) = &mut self.writer {
            writer.park();
        }
        self.draft.evict();
        Ok(())
    }

    /// Ends the update that is due, if one is.
    ///
    /// # Errors
    /// What training returns.
    pub fn finish(&mut self, session: &mut Session) -> Result<()> {
        self.save();
        self.start(session)?;
        while self.updating() {
            self.slice(self.slice_ms())?;
        }
        self.save();
        Ok(())
    }

    /// Brings it back, as it was.
    ///
    /// # Errors
    /// What making memory returns.
    pub fn wake(&mut self) -> Result<()> {
        self.trainer.wake()
    }

    /// Bytes on the device: of the draft that is served, and of its training.
    pub fn device_bytes(&self) -> u64 {
        let writer = self.writer.as_ref().map_or(0, Writer::bytes);
        self.draft.bytes() + self.trainer.device_bytes() + writer
    }
}
