//! Which drafts are on the device: the one at work, and of the others as many as there is memory for.

use super::arm::Arm;
use super::drafts::Drafts;
use crate::error::{Error, Result};

impl Drafts {
    /// # Errors
    /// [`Error::Usage`] where `arm` takes more than all drafts may.
    pub(super) fn fits(&self, arm: &Arm) -> Result<()> {
        let least = arm.least_bytes(self.settings.online.is_some())?;
        match self.settings.memory.filter(|most| least > *most) {
            Some(most) => Err(Error::Usage(format!(
                "draft `{}` takes {least} bytes on the device, more than the {most} that drafts may take",
                arm.name
            ))),
            None => Ok(()),
        }
    }

    /// Puts `arm` to work.
    pub(super) fn take(&mut self, arm: usize) -> Result<()> {
        self.clock += 1;
        self.arms[arm].last = self.clock;
        if arm == self.at {
            return Ok(());
        }
        if let Some(most) = self.settings.memory {
            let least = self.arms[arm].least_bytes(self.settings.online.is_some())?;
            let needed = least.max(self.arms[arm].parked_bytes);
            let here = self.arms[arm].own_bytes();
            self.make_room(most.saturating_sub(needed.saturating_sub(here)), arm)?;
        }
        let online = self.online(arm);
        self.arms[arm].wake(&self.session, online)?;
        if let Some(next) = self.arms[arm].drafter.take() {
            let old = self.session.exchange(next);
            self.arms[self.at].drafter = Some(old);
            self.at = arm;
        }
        Ok(())
    }

    pub(super) fn bytes_of(&self, arm: usize) -> u64 {
        let part = match arm == self.at {
            true => self.session.draft_bytes(),
            false => self.arms[arm].drafter.as_ref().map_or(0, |d| d.bytes()),
        };
        self.arms[arm].own_bytes() + part
    }

    /// Bytes of all drafts on the device.
    pub fn bytes(&self) -> u64 {
        (0..self.arms.len()).map(|arm| self.bytes_of(arm)).sum()
    }

    /// Parks drafts, the one that was taken least recently first, until all take at most `most` bytes; neither the one at
    /// work nor `keep`.
    pub(super) fn make_room(&mut self, most: u64, keep: usize) -> Result<()> {
        while self.bytes() > most {
            let oldest = (0..self.arms.len())
                .filter(|&arm| arm != keep && arm != self.at && self.bytes_of(arm) > 0)
                .min_by_key(|&arm| self.arms[arm].last);
            let Some(oldest) = oldest else {
                // The one at work leaves, too, where another takes its place.
                if keep == self.at || self.at == 0 {
                    return Ok(());
                }
                self.rest()?;
                continue;
            };
            self.arms[oldest].parked_bytes = self.bytes_of(oldest);
            self.arms[oldest].park()?;
        }
        Ok(())
    }

    /// Puts arm zero, which takes nothing, to work.
    fn rest(&mut self) -> Result<()> {
        self.arms[0].wake(&self.session, None)?;
        if let Some(next) = self.arms[0].drafter.take() {
            let old = self.session.exchange(next);
            self.arms[self.at].drafter = Some(old);
            self.at = 0;
        }
        Ok(())
    }
}
