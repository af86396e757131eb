//! Reference counts worked out again from the tables, and put in place with right COPIED flags by one switch.

use super::image::Image;
use super::switch::Switch;
use crate::format::qcow2::header::incompatible;
use crate::model::Result;

impl Image {
    /// True when something was wrong and was repaired. Entries that are wrong in themselves are an error, not repaired.
    pub(super) fn repair(&mut self) -> Result<bool> {
        self.before_change()?;
        let dirty = self.header.fields.incompatible & incompatible::DIRTY != 0;
        if !dirty {
            self.flush()?;
        }
        let snapshots = self.snapshots.clone();
        let active = self.l1.clone();
        let cluster = self.layout.cluster_size();
        let old_table = (
            self.header.fields.refcount_offset,
            self.refcounts.table().to_vec(),
        );
        let l1_place = (
            self.header.fields.l1_offset,
            u64::from(self.header.fields.l1_size) * 8,
        );
        let table_place = (self.header.fields.snapshot_offset, self.snapshot_bytes);
        let mut switch = Switch::new(self);
        switch.start_counts_afresh();
        switch.add(0, true)?;
        switch.add_state(&active, true)?;
        for live in &snapshots {
            switch.add_state(&live.l1, true)?;
            switch.add_range(
                live.record.l1_offset,
                u64::from(live.record.l1_size) * 8,
                true,
            )?;
        }
        let mut l1 = active.clone();
        switch.fix_flags(&mut l1)?;
        let mut wrong = dirty || l1 != active;
        let places: Vec<(u64, u64)> = old_table
            .1
            .iter()
            .filter(|at| **at != 0)
            .map(|at| (*at, cluster))
            .chain([
                (old_table.0, old_table.1.len() as u64 * 8),
                l1_place,
                table_place,
            ])
            .collect();
        if !wrong {
            for (offset, bytes) in &places {
                switch.add_range(*offset, *bytes, true)?;
            }
            wrong = switch.differs()?;
            for (offset, bytes) in &places {
                switch.add_range(*offset, *bytes, false)?;
            }
        }
        if !wrong {
            return Ok(false);
        }
        switch.replace_l1(l1)?;
        switch.replace_snapshots(snapshots)?;
        switch.header.fields.incompatible &= !incompatible::DIRTY;
        switch.commit()?;
        Ok(true)
    }
}

impl Switch<'_> {
    /// The counts worked out are not those of the file.
    fn differs(&mut self) -> Result<bool> {
        let covered = self.image.refcounts.table().len();
        let highest = self.highest_block().max(covered);
        for index in 0..highest {
            let image = &mut *self.image;
            let now = image.refcounts.block(&image.store, index)?.cloned();
            let same = match (now, self.blocks_at(index)) {
                (None, None) => true,
                (Some(now), Some(new)) => now == *new,
                (Some(one), None) => one.iter().all(|b| *b == 0),
                (None, Some(one)) => one.iter().all(|b| *b == 0),
            };
            if !same {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
