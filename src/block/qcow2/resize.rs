//! Growing the virtual disk; what lay behind the old end never shows up, the size itself changes by one header write.

use super::image::Image;
use super::switch::Switch;
use crate::format::qcow2::header::MAX_L1_BYTES;
use crate::model::{Error, Result};

impl Image {
    pub(super) fn resize(&mut self, size: u64) -> Result<()> {
        let before = self.size();
        if size == before {
            return Ok(());
        }
        if size < before {
            return Err(Error::unsupported(format!(
                "'{}' has {before} bytes and cannot shrink to {size}",
                self.shown()
            )));
        }
        let entries = self.layout.l1_entries(size.min(i64::MAX as u64));
        if size > i64::MAX as u64 || entries * 8 > MAX_L1_BYTES {
            return Err(Error::usage(format!(
                "'{}' cannot grow to {size} bytes with clusters of {}",
                self.shown(),
                self.layout.cluster_size()
            ))
            .hint("convert it to an image with larger clusters"));
        }
        if self.layout.version < 3 && !self.snapshots.is_empty() {
            // QEMU could not go back to snapshots of another size in such an image.
            return Err(Error::unsupported(format!(
                "'{}' is a version 2 image with snapshots and cannot grow",
                self.shown()
            ))
            .hint("upgrade it with 'qemu-img amend -o compat=1.1', or delete its snapshots"));
        }
        self.before_change()?;
        self.flush()?;
        if entries as usize > self.l1.len() {
            let mut l1 = self.l1.clone();
            l1.resize(entries as usize, 0);
            let mut switch = Switch::new(self);
            switch.replace_l1(l1)?;
            switch.commit()?;
        }
        let below = self.backing.as_ref().map_or(0, |b| b.geometry().size.get());
        let cluster_end = before.next_multiple_of(self.layout.cluster_size());
        self.zero(before, size.min(cluster_end.max(below)) - before, false)?;
        self.flush()?;
        // Snapshots of old images do not say how large the disk was: now they must.
        let mut snapshots = self.snapshots.clone();
        let silent = snapshots
            .iter()
            .any(|live| live.record.disk_size().is_none());
        let mut switch = Switch::new(self);
        if silent {
            for live in &mut snapshots {
                live.record.fill_disk_size(before);
            }
            switch.replace_snapshots(snapshots)?;
        }
        switch.header.fields.size = size;
        switch.commit()
    }
}
