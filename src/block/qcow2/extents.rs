//! Which runs of a state may hold data, backing file included; reads tables, never data.

use super::image::Image;
use crate::format::qcow2::Cluster;
use crate::model::{ByteCount, ByteOffset, Extent, Result};

/// What a run of guest bytes is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Data,
    Zero,
    Below,
}

/// Collects runs, joining neighbours.
struct Collector<'a> {
    below: &'a [Extent],
    found: Vec<(u64, u64)>,
}

impl Collector<'_> {
    fn data(&mut self, start: u64, end: u64) {
        match self.found.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.found.push((start, end)),
        }
    }

    fn run(&mut self, start: u64, end: u64, what: Run) {
        match what {
            Run::Zero => {}
            Run::Data => self.data(start, end),
            Run::Below => {
                while let Some(extent) = self.below.first().copied() {
                    let (from, to) = (extent.start().max(start), extent.end().min(end));
                    if from < to {
                        self.data(from, to);
                    }
                    if extent.end() > end {
                        break;
                    }
                    self.below = &self.below[1..];
                }
            }
        }
    }
}

impl Image {
    /// Runs of the state `l1` describes that may hold data, up to `size`.
    pub(super) fn data_extents(&mut self, l1: &[u64], size: u64) -> Result<Vec<Extent>> {
        let below = match &self.backing {
            Some(backing) => backing.data_extents()?,
            None => Vec::new(),
        };
        let mut collector = Collector {
            below: &below,
            found: Vec::new(),
        };
        let coverage = self.layout.l2_coverage();
        let cluster = self.layout.cluster_size();
        for index in 0..self.layout.l1_entries(size) {
            let start = index * coverage;
            let end = (start + coverage).min(size);
            let raw = l1.get(index as usize).copied().unwrap_or(0);
            let Some(host) = self.l2_host(raw, index as usize)? else {
                collector.run(start, end, Run::Below);
                continue;
            };
            let mut at = start;
            while at < end {
                let next = (at + cluster).min(end);
                let what = match self.entry(host, ((at - start) / cluster) as usize)? {
                    Cluster::Unallocated => Run::Below,
                    Cluster::Zero | Cluster::ZeroAllocated { .. } => Run::Zero,
                    Cluster::Data { .. } | Cluster::Compressed { .. } => Run::Data,
                };
                collector.run(at, next, what);
                at = next;
            }
        }
        let found = collector.found.into_iter();
        found
            .map(|(start, end)| Extent::new(ByteOffset(start), ByteCount(end - start)))
            .collect()
    }
}
