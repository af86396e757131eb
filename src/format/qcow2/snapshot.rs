//! The snapshot table: records decoded and encoded without losing unknown extra data; names and ids stay bytes.

use super::bytes::{be16, be32, be64};
use crate::model::{Error, Result, SnapshotInfo, SnapshotMethod};

/// Most snapshots an image may have (the limit of QEMU).
pub const MAX_SNAPSHOTS: u32 = 65536;
/// Most bytes of a snapshot table.
pub const MAX_TABLE_BYTES: u64 = 64 << 20;
/// Most bytes of extra data in one record.
const MAX_EXTRA: u32 = 1024;
const FIXED: usize = 40;

/// One record, as on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    pub l1_offset: u64,
    /// Entries of the L1 table.
    pub l1_size: u32,
    pub id: Vec<u8>,
    pub name: Vec<u8>,
    /// Seconds since 1970 UTC.
    pub seconds: u32,
    pub nanoseconds: u32,
    /// Guest time since boot, nanoseconds.
    pub guest_clock: u64,
    /// Bytes of saved machine state (32-bit field).
    pub state_size: u32,
    /// 64-bit state size, 64-bit disk size, instruction count, then what newer programs add.
    pub extra: Vec<u8>,
}

impl SnapshotRecord {
    /// Virtual disk size at the snapshot; old images do not record it.
    pub fn disk_size(&self) -> Option<u64> {
        be64(&self.extra, 8)
    }
    /// Bytes of saved machine state.
    pub fn machine_state_size(&self) -> u64 {
        be64(&self.extra, 0).unwrap_or(u64::from(self.state_size))
    }
    /// Records the disk size where it is missing.
    pub fn fill_disk_size(&mut self, size: u64) {
        if self.disk_size().is_none() {
            let state = self.machine_state_size();
            self.extra.resize(16, 0);
            self.extra[..8].copy_from_slice(&state.to_be_bytes());
            self.extra[8..16].copy_from_slice(&size.to_be_bytes());
        }
    }
    pub fn shown_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
    pub fn info(&self) -> SnapshotInfo {
        SnapshotInfo {
            name: self.shown_name(),
            created: u64::from(self.seconds),
            method: SnapshotMethod::Qcow2Internal,
            id: String::from_utf8_lossy(&self.id).into_owned(),
        }
    }

    fn read(bytes: &[u8], number: u32, at: usize) -> Result<(Self, usize)> {
        let short = || {
            Error::integrity(format!(
                "snapshot {number} at byte {at} of the snapshot table runs past its end"
            ))
        };
        let fixed = bytes.get(..FIXED).ok_or_else(short)?;
        let word = |at| be32(fixed, at).unwrap_or(0);
        let long = |at| be64(fixed, at).unwrap_or(0);
        let extra_size = word(36);
        if extra_size > MAX_EXTRA {
            return Err(Error::integrity(format!(
                "snapshot {number} at byte {at} of the snapshot table: extra data of {extra_size} bytes is above {MAX_EXTRA}"
            )));
        }
        let id_at = FIXED + extra_size as usize;
        let name_at = id_at + usize::from(be16(fixed, 12).unwrap_or(0));
        let end = name_at + usize::from(be16(fixed, 14).unwrap_or(0));
        let record = SnapshotRecord {
            l1_offset: long(0),
            l1_size: word(8),
            id: bytes.get(id_at..name_at).ok_or_else(short)?.to_vec(),
            name: bytes.get(name_at..end).ok_or_else(short)?.to_vec(),
            seconds: word(16),
            nanoseconds: word(20),
            guest_clock: long(24),
            state_size: word(32),
            extra: bytes.get(FIXED..id_at).ok_or_else(short)?.to_vec(),
        };
        Ok((record, end.next_multiple_of(8)))
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let size = |what: &str, bytes: &[u8]| {
            u16::try_from(bytes.len()).map_err(|_| {
                Error::usage(format!(
                    "snapshot {what} of {} bytes is too long",
                    bytes.len()
                ))
            })
        };
        out.extend(self.l1_offset.to_be_bytes());
        out.extend(self.l1_size.to_be_bytes());
        out.extend(size("id", &self.id)?.to_be_bytes());
        out.extend(size("name", &self.name)?.to_be_bytes());
        out.extend(self.seconds.to_be_bytes());
        out.extend(self.nanoseconds.to_be_bytes());
        out.extend(self.guest_clock.to_be_bytes());
        out.extend(self.state_size.to_be_bytes());
        out.extend((self.extra.len() as u32).to_be_bytes());
        out.extend(&self.extra);
        out.extend(&self.id);
        out.extend(&self.name);
        out.resize(out.len().next_multiple_of(8), 0);
        Ok(())
    }
}

/// Reads `count` records; `bytes` starts at the table (longer is fine). Gives the bytes the table takes, too.
pub fn read_table(bytes: &[u8], count: u32) -> Result<(Vec<SnapshotRecord>, u64)> {
    if count > MAX_SNAPSHOTS {
        return Err(Error::integrity(format!(
            "header field nb_snapshots at byte 60: {count} is above {MAX_SNAPSHOTS}"
        )));
    }
    let mut records = Vec::new();
    let mut at = 0usize;
    for number in 0..count {
        let rest = bytes.get(at..).unwrap_or(&[]);
        let (record, length) = SnapshotRecord::read(rest, number, at)?;
        records.push(record);
        at += length;
        if at as u64 > MAX_TABLE_BYTES {
            return Err(Error::integrity(format!(
                "snapshot table is above {MAX_TABLE_BYTES} bytes at snapshot {number}"
            )));
        }
    }
    Ok((records, at as u64))
}

/// The bytes of a whole table.
pub fn table_bytes(records: &[SnapshotRecord]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for record in records {
        record.write(&mut out)?;
    }
    if out.len() as u64 > MAX_TABLE_BYTES || records.len() as u64 > u64::from(MAX_SNAPSHOTS) {
        return Err(Error::new(
            crate::model::ErrorKind::NoSpace,
            "the snapshot table of the image is full",
        ));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &[u8], extra: usize) -> SnapshotRecord {
        SnapshotRecord {
            l1_offset: 0x30000,
            l1_size: 2,
            id: b"1".to_vec(),
            name: name.to_vec(),
            seconds: 7,
            nanoseconds: 8,
            guest_clock: 9,
            state_size: 10,
            extra: (0..extra).map(|n| n as u8).collect(),
        }
    }

    #[test]
    fn a_table_survives_with_unknown_extra_data_and_names_that_are_not_text() {
        let records = vec![record(b"a", 0), record(b"\xff\xfe", 40), record(b"", 24)];
        let bytes = table_bytes(&records).unwrap();
        assert_eq!(
            read_table(&bytes, 3).unwrap(),
            (records, bytes.len() as u64)
        );
    }

    #[test]
    fn a_table_cut_anywhere_is_refused() {
        let bytes = table_bytes(&[record(b"name", 24)]).unwrap();
        for cut in 0..69 {
            assert!(read_table(&bytes[..cut], 1).is_err(), "{cut}");
        }
    }

    #[test]
    fn huge_counts_and_sizes_are_refused_before_any_allocation() {
        assert!(read_table(&[], u32::MAX).is_err());
        let mut bytes = table_bytes(&[record(b"name", 24)]).unwrap();
        bytes[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(read_table(&bytes, 1).is_err());
    }

    #[test]
    fn the_disk_size_can_be_added_to_an_old_record() {
        let mut old = record(b"old", 8);
        old.fill_disk_size(77);
        assert_eq!(old.disk_size(), Some(77));
        assert_eq!(old.machine_state_size(), 0x0001_0203_0405_0607);
    }
}
