//! The state of an open image: header, tables, counts, and the set of clusters that hold metadata and may never hold data.

use super::refcounts::Refcounts;
use super::store::Store;
use super::tables::Tables;
use crate::block::BlockDevice;
use crate::format::qcow2::bytes::entries;
use crate::format::qcow2::entry::check_table_entry;
use crate::format::qcow2::header::{MAX_L1_BYTES, check_place, extension, incompatible};
use crate::format::qcow2::snapshot::{MAX_TABLE_BYTES, read_table};
use crate::format::qcow2::{Header, Layout, RawHeader, SnapshotRecord};
use crate::model::{Error, Result};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;

/// Bytes of all L1 tables of snapshots together, at most.
const MAX_SNAPSHOT_L1_BYTES: u64 = 256 << 20;

/// A snapshot of the open image. `serial` is never given twice, so that a view notices when its snapshot is gone.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) record: SnapshotRecord,
    pub(super) l1: Arc<Vec<u64>>,
    pub(super) serial: u64,
}

/// References to a cluster that go once no table on disk names it any more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    pub(super) count: u64,
    pub(super) punch: bool,
}

pub(super) struct Image {
    pub(super) store: Store,
    pub(super) header: Header,
    pub(super) layout: Layout,
    pub(super) writable: bool,
    pub(super) l1: Vec<u64>,
    /// L1 entries not yet on disk.
    pub(super) l1_changed: BTreeSet<usize>,
    pub(super) tables: Tables,
    pub(super) refcounts: Refcounts,
    pub(super) pending: HashMap<u64, Pending>,
    /// Numbers of the clusters that hold metadata of any kind.
    pub(super) metadata: HashSet<u64>,
    pub(super) snapshots: Vec<Live>,
    pub(super) snapshot_bytes: u64,
    pub(super) next_serial: u64,
    pub(super) backing: Option<Arc<dyn BlockDevice>>,
    /// Behind the last cluster taken so far, which may not be written yet.
    pub(super) taken_end: u64,
    /// The last compressed cluster that was read: where it starts, and its bytes.
    pub(super) inflated: Option<(u64, Vec<u8>)>,
}

impl Image {
    pub(super) fn open(
        file: File,
        shown: String,
        writable: bool,
        backing: Option<Arc<dyn BlockDevice>>,
    ) -> Result<Self> {
        let store = Store::new(file, shown)?;
        let header = read_header(&store)?;
        if header.backing_name.is_none() && backing.is_some() {
            return Err(Error::conflict(format!(
                "'{}' has no backing file, but one was given",
                store.shown
            )));
        }
        if writable && header.fields.incompatible & incompatible::CORRUPT != 0 {
            return Err(Error::integrity(format!("'{}' is marked corrupt (header field incompatible_features at byte 72)", store.shown))
                .hint("open it read-only and copy what is left, or repair it with 'qemu-img check -r all'"));
        }
        let layout = header.layout;
        let l1 = read_l1(
            &store,
            layout,
            header.fields.l1_offset,
            header.fields.l1_size,
            "L1 table",
        )?;
        let refcounts = Refcounts::open(&store, &header)?;
        let mut image = Image {
            tables: Tables::new(layout),
            l1_changed: BTreeSet::new(),
            pending: HashMap::new(),
            metadata: HashSet::new(),
            snapshots: Vec::new(),
            snapshot_bytes: 0,
            next_serial: 1,
            inflated: None,
            taken_end: 0,
            store,
            header,
            layout,
            writable,
            l1,
            refcounts,
            backing,
        };
        image.read_snapshots()?;
        image.collect_metadata()?;
        Ok(image)
    }

    pub(super) fn shown(&self) -> &str {
        &self.store.shown
    }
    pub(super) fn size(&self) -> u64 {
        self.header.fields.size
    }
    /// Where the file ends, counted in whole clusters; entries naming anything behind are wrong.
    pub(super) fn end(&self) -> u64 {
        self.store
            .end()
            .max(self.taken_end)
            .next_multiple_of(self.layout.cluster_size())
    }
    pub(super) fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn read_snapshots(&mut self) -> Result<()> {
        let fields = &self.header.fields;
        if fields.snapshot_count == 0 {
            return Ok(());
        }
        let room = self.store.end().saturating_sub(fields.snapshot_offset);
        let bytes = self
            .store
            .read_vec(fields.snapshot_offset, room.min(MAX_TABLE_BYTES))?;
        let (records, length) =
            read_table(&bytes, fields.snapshot_count).map_err(|e| prefixed(self.shown(), e))?;
        self.snapshot_bytes = length;
        let mut total = 0;
        for record in records {
            total += u64::from(record.l1_size) * 8;
            if total > MAX_SNAPSHOT_L1_BYTES {
                return Err(Error::unsupported(format!(
                    "'{}': the L1 tables of its snapshots are above {MAX_SNAPSHOT_L1_BYTES} bytes",
                    self.shown()
                )));
            }
            let what = format!(
                "L1 table of snapshot '{}'",
                record.shown_name().escape_debug()
            );
            if let Some(size) = record.disk_size()
                && (size > i64::MAX as u64
                    || self.layout.l1_entries(size) > u64::from(record.l1_size))
            {
                return Err(Error::integrity(format!(
                    "'{}': {what} is too small for its disk size {size}",
                    self.shown()
                )));
            }
            let l1 = read_l1(
                &self.store,
                self.layout,
                record.l1_offset,
                record.l1_size,
                &what,
            )?;
            let serial = self.serial();
            let l1 = Arc::new(l1);
            self.snapshots.push(Live { record, l1, serial });
        }
        Ok(())
    }

    /// Notes every cluster that holds metadata; two tables in one place make the image unfit for writing.
    fn collect_metadata(&mut self) -> Result<()> {
        let fields = self.header.fields.clone();
        let mut kinds: HashMap<u64, &'static str> = HashMap::new();
        let mut clash = None;
        let cluster = self.layout.cluster_size();
        let mut note = |offset: u64, bytes: u64, kind: &'static str| {
            for number in offset / cluster..(offset + bytes).div_ceil(cluster) {
                let before = kinds.insert(number, kind);
                if before.is_some_and(|before| before != "an L2 table" || kind != "an L2 table") {
                    clash = Some((number * cluster, before.unwrap_or_default(), kind));
                }
            }
        };
        note(0, cluster, "the header");
        note(
            fields.refcount_offset,
            u64::from(fields.refcount_clusters) * cluster,
            "the refcount table",
        );
        for block in self.refcounts.table().iter().filter(|offset| **offset != 0) {
            note(*block, cluster, "a refcount block");
        }
        note(
            fields.l1_offset,
            u64::from(fields.l1_size) * 8,
            "the L1 table",
        );
        note(
            fields.snapshot_offset,
            self.snapshot_bytes,
            "the snapshot table",
        );
        for live in &self.snapshots {
            note(
                live.record.l1_offset,
                u64::from(live.record.l1_size) * 8,
                "a snapshot's L1 table",
            );
        }
        let mut seen = HashSet::new();
        for l1 in std::iter::once(&self.l1).chain(self.snapshots.iter().map(|live| &*live.l1)) {
            for raw in l1 {
                let host = raw & crate::format::qcow2::entry::OFFSET;
                if host != 0 && seen.insert(host) {
                    note(host, cluster, "an L2 table");
                }
            }
        }
        if let (Some((place, one, other)), true) = (clash, self.writable) {
            return Err(Error::integrity(format!("'{}': cluster at {place:#x} is both {one} and {other}", self.shown()))
                .hint("open it read-only and copy what is left, or repair it with 'qemu-img check -r all'"));
        }
        self.metadata = kinds.into_keys().collect();
        Ok(())
    }

    /// Before the first change: autoclear features we do not maintain (persistent bitmaps) are declared invalid.
    pub(super) fn before_change(&mut self) -> Result<()> {
        if !self.writable {
            return Err(Error::usage(format!(
                "'{}' is open read-only",
                self.shown()
            )));
        }
        if self.header.fields.autoclear == 0 {
            return Ok(());
        }
        let mut header = self.header.clone();
        header.fields.autoclear = 0;
        header.extensions.retain(|e| e.kind != extension::BITMAPS);
        let bitmaps = header.extensions.len() != self.header.extensions.len();
        let bytes = header.cluster_bytes()?;
        self.store.write(0, &bytes)?;
        self.store.sync()?;
        self.header = header;
        if bitmaps {
            self.repair()?;
        }
        Ok(())
    }
}

/// The same error with the image's name in front.
pub(super) fn prefixed(shown: &str, error: Error) -> Error {
    let named = Error::new(error.kind(), format!("'{shown}': {}", error.message()));
    match error.hint_text() {
        Some(hint) => named.hint(hint.to_owned()),
        None => named,
    }
}

fn read_header(store: &Store) -> Result<Header> {
    let first = store.read_vec(0, store.end().min(512))?;
    let raw = RawHeader::parse(&first).map_err(|e| prefixed(&store.shown, e))?;
    let head = match raw.cluster_bits {
        bits @ 9..=21 => store.read_vec(0, store.end().min(1 << bits))?,
        _ => first,
    };
    raw.check(&head, store.end())
        .map_err(|e| prefixed(&store.shown, e))
}

fn read_l1(store: &Store, layout: Layout, offset: u64, size: u32, what: &str) -> Result<Vec<u64>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let bytes = u64::from(size) * 8;
    if bytes > MAX_L1_BYTES {
        return Err(Error::integrity(format!(
            "'{}': {what} of {size} entries is too large",
            store.shown
        )));
    }
    check_place(layout, store.end(), offset, bytes)
        .map_err(|why| Error::integrity(format!("'{}': {what}: {why}", store.shown)))?;
    let l1 = entries(&store.read_vec(offset, bytes)?);
    let mut seen = HashSet::new();
    for (index, raw) in l1.iter().enumerate() {
        let place = || {
            format!(
                "'{}': {what} entry {index} at {:#x}",
                store.shown,
                offset + index as u64 * 8
            )
        };
        let host = check_table_entry(*raw, layout, store.end(), place)?;
        if host.is_some_and(|host| !seen.insert(host)) {
            // Bounds the work of walking the table by the length of the file.
            return Err(Error::integrity(format!(
                "{}: names the L2 table of another entry",
                place()
            )));
        }
    }
    Ok(l1)
}
