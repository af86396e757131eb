//! A block device seen from its registers and its owner: configure, reset, hold, release, grow; it moves no data.

use super::super::registers::{Effect, status};
use super::config::{self, CONFIG_WCE, WRITEBACK_OFFSET};
use super::device::{Blk, State};
use super::request::SECTOR;
use crate::model::{ByteCount, Error, Result};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// How long a CPU that resets the device waits for requests in flight; after that the driver has to poll the status.
const RESET_WAIT: Duration = Duration::from_secs(2);

impl Blk {
    pub(in crate::vmm) fn read_common(&self, offset: u64, data: &mut [u8]) {
        self.lock().registers.read(offset, data);
    }

    pub(in crate::vmm) fn write_common(&self, offset: u64, data: &[u8]) {
        let mut state = self.lock();
        match state.registers.write(offset, data, &*self.ram) {
            Effect::Nothing => {}
            Effect::Start => {
                let _ = self.kick.write(1);
            }
            Effect::Broken => self.broken(&mut state, "its queue is not in memory"),
            Effect::Reset => drop(self.begin_reset(state, RESET_WAIT)),
        }
    }

    fn begin_reset<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wait: Duration,
    ) -> MutexGuard<'a, State> {
        if state.in_flight() == 0 {
            state.finish_reset(self.spec.write_cache);
            return state;
        }
        state.resetting = true;
        let (state, _) = self
            .idle
            .wait_timeout_while(state, wait, |state| state.resetting)
            .unwrap_or_else(PoisonError::into_inner);
        state
    }

    /// Back to power-on state; `Busy` when the volume did not finish its requests in time.
    pub(in crate::vmm) fn reset(&self, wait: Duration) -> Result<()> {
        if self.begin_reset(self.lock(), wait).resetting {
            return Err(self.busy());
        }
        Ok(())
    }

    pub(in crate::vmm) fn read_config(&self, offset: u64, data: &mut [u8]) {
        let state = self.lock();
        let geometry = self.spec.device.geometry();
        let space = config::space(&geometry, state.sectors, state.writeback);
        let from = usize::try_from(offset)
            .ok()
            .and_then(|from| space.get(from..))
            .unwrap_or(&[]);
        data.fill(0);
        for (to, from) in data.iter_mut().zip(from) {
            *to = *from;
        }
    }

    /// The only writable field is the write cache switch, and only where the machine's owner allows a cache.
    pub(in crate::vmm) fn write_config(&self, offset: u64, data: &[u8]) {
        let mut state = self.lock();
        if let (WRITEBACK_OFFSET, [value]) = (offset, data) {
            if state.registers.agreed(CONFIG_WCE) {
                state.writeback = *value == 1;
            }
        }
    }

    fn busy(&self) -> Error {
        Error::busy(format!(
            "device '{}' did not finish its requests in time",
            self.spec.id
        ))
    }

    /// Takes nothing new from the queue. Needs no lock: the I/O thread keeps it for as long as it takes requests.
    pub(in crate::vmm) fn stop_taking(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// Takes nothing new from the queue and waits until nothing is in flight; `Busy` (and not held) after `wait`.
    pub(in crate::vmm) fn hold(&self, wait: Duration) -> Result<()> {
        self.stop_taking();
        let state = self.lock();
        let (state, _) = self
            .idle
            .wait_timeout_while(state, wait, |state| state.in_flight() > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if state.in_flight() > 0 {
            drop(state);
            self.release();
            return Err(self.busy());
        }
        Ok(())
    }

    pub(in crate::vmm) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
        let _ = self.kick.write(1);
    }

    /// Grows the volume to `size` (nothing to do when it has that size already) and tells the guest.
    pub(in crate::vmm) fn resize(&self, size: ByteCount) -> Result<()> {
        let now = self.spec.device.geometry().size;
        let seen = ByteCount(self.lock().sectors * SECTOR);
        if size < seen || size < now {
            return Err(Error::usage(format!(
                "device '{}' has {} bytes and can only grow, not to {}",
                self.spec.id,
                now.get(),
                size.get()
            )));
        }
        if size > now {
            self.spec.device.resize(size)?;
        }
        let mut state = self.lock();
        state.sectors = self.spec.device.geometry().size.get() / SECTOR;
        state.registers.generation = state.registers.generation.wrapping_add(1);
        if state.registers.status & status::DRIVER_OK != 0 {
            self.interrupts.config(state.registers.config_vector);
        }
        Ok(())
    }
}
