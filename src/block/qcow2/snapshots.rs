//! Snapshots of the open image: each operation is worked out in memory and made real by one switch.

use super::image::{Image, Live};
use super::switch::Switch;
use crate::format::qcow2::SnapshotRecord;
use crate::model::{Error, Result, SnapshotName};
use std::sync::Arc;

impl Image {
    pub(super) fn find_snapshot(&self, name: &SnapshotName) -> Option<usize> {
        let wanted = name.as_str().as_bytes();
        self.snapshots
            .iter()
            .position(|live| live.record.name == wanted)
    }

    fn wanted_snapshot(&self, name: &SnapshotName) -> Result<usize> {
        self.find_snapshot(name)
            .ok_or_else(|| Error::not_found(format!("'{}' has no snapshot '{name}'", self.shown())))
    }

    /// One more than the highest number in use, as QEMU chooses ids.
    fn free_id(&self) -> u64 {
        let used = self.snapshots.iter();
        let used = used.filter_map(|live| std::str::from_utf8(&live.record.id).ok());
        let highest = used.filter_map(|id| id.parse::<u64>().ok()).max();
        highest.unwrap_or(0).saturating_add(1)
    }

    pub(super) fn snapshot_create(&mut self, name: &SnapshotName, created: u64) -> Result<()> {
        if self.find_snapshot(name).is_some() {
            return Err(Error::conflict(format!(
                "'{}' already has a snapshot '{name}'",
                self.shown()
            )));
        }
        self.before_change()?;
        self.flush()?;
        let id = self.free_id().to_string().into_bytes();
        let mut extra = Vec::with_capacity(24);
        extra.extend(0u64.to_be_bytes());
        extra.extend(self.size().to_be_bytes());
        extra.extend(u64::MAX.to_be_bytes());
        let state = self.l1.clone();
        let serial = self.serial();
        let mut snapshots = self.snapshots.clone();
        let mut switch = Switch::new(self);
        switch.add_state(&state, true)?;
        let l1_offset = switch.put_l1(&state)?;
        let record = SnapshotRecord {
            l1_offset,
            l1_size: state.len() as u32,
            id,
            name: name.as_str().as_bytes().to_vec(),
            seconds: u32::try_from(created).unwrap_or(u32::MAX),
            nanoseconds: 0,
            guest_clock: 0,
            state_size: 0,
            extra,
        };
        let l1 = Arc::new(state.clone());
        snapshots.push(Live { record, l1, serial });
        switch.replace_l1(state)?;
        switch.replace_snapshots(snapshots)?;
        switch.commit()
    }

    pub(super) fn snapshot_delete(&mut self, name: &SnapshotName) -> Result<bool> {
        let Some(index) = self.find_snapshot(name) else {
            return Ok(false);
        };
        self.before_change()?;
        self.flush()?;
        let mut snapshots = self.snapshots.clone();
        let gone = snapshots.remove(index);
        let active = self.l1.clone();
        let mut switch = Switch::new(self);
        switch.add_state(&gone.l1, false)?;
        switch.add_range(
            gone.record.l1_offset,
            u64::from(gone.record.l1_size) * 8,
            false,
        )?;
        switch.replace_l1(active)?;
        switch.replace_snapshots(snapshots)?;
        switch.commit()?;
        Ok(true)
    }

    pub(super) fn snapshot_apply(&mut self, name: &SnapshotName) -> Result<()> {
        let index = self.wanted_snapshot(name)?;
        self.before_change()?;
        self.flush()?;
        let chosen = self.snapshots[index].clone();
        let before = self.l1.clone();
        let mut switch = Switch::new(self);
        // More before less, so that nothing shared passes through zero.
        switch.add_state(&chosen.l1, true)?;
        switch.add_state(&before, false)?;
        switch.replace_l1(chosen.l1.to_vec())?;
        if let Some(size) = chosen.record.disk_size() {
            switch.header.fields.size = size;
        }
        switch.commit()
    }

    /// Table, size and serial of a snapshot for a view of it.
    pub(super) fn snapshot_state(&self, name: &SnapshotName) -> Result<(Arc<Vec<u64>>, u64, u64)> {
        let live = &self.snapshots[self.wanted_snapshot(name)?];
        let size = live.record.disk_size().unwrap_or(self.size());
        Ok((live.l1.clone(), size, live.serial))
    }
}
