//! The header and its extensions: `RawHeader` is what the bytes say, `Header` what was checked against the file; does no I/O.

use super::bytes::{be32, be64};
use super::entry::Layout;
use super::refcount::Width;
use super::snapshot::MAX_SNAPSHOTS;
use crate::model::{Error, Result};

pub const MAGIC: u32 = 0x5146_49fb;
/// Bytes of a version 2 header.
const V2_LENGTH: u64 = 72;
/// Bytes every version 3 header has.
const V3_LENGTH: u64 = 104;
/// Largest L1 table in bytes (the limit of QEMU).
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// Largest refcount table in bytes (the limit of QEMU).
pub const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// Longest backing file name.
pub const MAX_BACKING_NAME: u32 = 1023;

/// Incompatible feature bits.
pub mod incompatible {
    pub const DIRTY: u64 = 1;
    pub const CORRUPT: u64 = 2;
    pub const DATA_FILE: u64 = 4;
    pub const COMPRESSION: u64 = 8;
    pub const EXTENDED_L2: u64 = 16;
}

/// Header extension types.
pub mod extension {
    pub const END: u32 = 0;
    pub const BACKING_FORMAT: u32 = 0xe279_2aca;
    pub const BITMAPS: u32 = 0x2385_2875;
}

/// The fixed fields exactly as they stand; nothing of it may be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawHeader {
    pub version: u32,
    pub backing_offset: u64,
    pub backing_size: u32,
    pub cluster_bits: u32,
    pub size: u64,
    pub crypt_method: u32,
    pub l1_size: u32,
    pub l1_offset: u64,
    pub refcount_offset: u64,
    pub refcount_clusters: u32,
    pub snapshot_count: u32,
    pub snapshot_offset: u64,
    pub incompatible: u64,
    pub compatible: u64,
    pub autoclear: u64,
    pub refcount_order: u32,
    pub header_length: u32,
    pub compression: u8,
}

/// One extension, kept as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    pub kind: u32,
    pub data: Vec<u8>,
}

/// A header whose every field was checked against the limits and the length of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub fields: RawHeader,
    pub layout: Layout,
    pub width: Width,
    pub extensions: Vec<Extension>,
    pub backing_name: Option<Vec<u8>>,
}

fn field(name: &str, offset: u32, why: impl std::fmt::Display) -> Error {
    Error::integrity(format!("header field {name} at byte {offset}: {why}"))
}

impl RawHeader {
    /// From the first bytes of a file; looks at magic, version and its own length only.
    pub fn parse(head: &[u8]) -> Result<Self> {
        if be32(head, 0) != Some(MAGIC) {
            return Err(field("magic", 0, "this is not a qcow2 image"));
        }
        let version = be32(head, 4).ok_or_else(|| field("version", 4, "the file ends here"))?;
        if version != 2 && version != 3 {
            return Err(field("version", 4, format!("{version} is not 2 or 3")));
        }
        let fixed = if version == 2 { V2_LENGTH } else { V3_LENGTH };
        if (head.len() as u64) < fixed {
            return Err(Error::integrity(format!(
                "the header is cut off at byte {} (a version {version} header has {fixed})",
                head.len()
            )));
        }
        let word = |at| be32(head, at).unwrap_or(0);
        let long = |at| be64(head, at).unwrap_or(0);
        let v3 = version == 3;
        let header_length = if v3 { word(100) } else { V2_LENGTH as u32 };
        Ok(RawHeader {
            version,
            backing_offset: long(8),
            backing_size: word(16),
            cluster_bits: word(20),
            size: long(24),
            crypt_method: word(32),
            l1_size: word(36),
            l1_offset: long(40),
            refcount_offset: long(48),
            refcount_clusters: word(56),
            snapshot_count: word(60),
            snapshot_offset: long(64),
            incompatible: if v3 { long(72) } else { 0 },
            compatible: if v3 { long(80) } else { 0 },
            autoclear: if v3 { long(88) } else { 0 },
            refcount_order: if v3 { word(96) } else { 4 },
            header_length,
            compression: if header_length > 104 {
                head.get(104).copied().unwrap_or(0)
            } else {
                0
            },
        })
    }

    /// The fixed fields as bytes: 72 of version 2, 104 of version 3. All of them share one 512-byte sector, so that one
    /// write of them is atomic.
    pub fn fixed_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(V3_LENGTH as usize);
        out.extend(MAGIC.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        out.extend(self.backing_offset.to_be_bytes());
        out.extend(self.backing_size.to_be_bytes());
        out.extend(self.cluster_bits.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.extend(self.crypt_method.to_be_bytes());
        out.extend(self.l1_size.to_be_bytes());
        out.extend(self.l1_offset.to_be_bytes());
        out.extend(self.refcount_offset.to_be_bytes());
        out.extend(self.refcount_clusters.to_be_bytes());
        out.extend(self.snapshot_count.to_be_bytes());
        out.extend(self.snapshot_offset.to_be_bytes());
        if self.version >= 3 {
            out.extend(self.incompatible.to_be_bytes());
            out.extend(self.compatible.to_be_bytes());
            out.extend(self.autoclear.to_be_bytes());
            out.extend(self.refcount_order.to_be_bytes());
            out.extend(self.header_length.to_be_bytes());
        }
        out
    }

    fn layout(&self) -> Result<Layout> {
        if !(9..=21).contains(&self.cluster_bits) {
            let why = format!("{} is not from 9 to 21", self.cluster_bits);
            return Err(field("cluster_bits", 20, why));
        }
        Ok(Layout {
            version: self.version,
            cluster_bits: self.cluster_bits,
        })
    }

    fn check_features(&self) -> Result<()> {
        use incompatible as bit;
        let refuse = |what: &str| {
            Err(Error::unsupported(format!(
                "{what} (header field incompatible_features at byte 72)"
            )))
        };
        let known =
            bit::DIRTY | bit::CORRUPT | bit::DATA_FILE | bit::COMPRESSION | bit::EXTENDED_L2;
        if self.incompatible & !known != 0 {
            return refuse(&format!(
                "the image needs unknown features {:#x}",
                self.incompatible & !known
            ));
        }
        if self.incompatible & bit::DATA_FILE != 0 {
            return refuse("the image keeps its data in another file, which is not supported");
        }
        if self.incompatible & bit::EXTENDED_L2 != 0 {
            return refuse("the image has extended L2 entries, which are not supported");
        }
        let typed = self.incompatible & bit::COMPRESSION != 0;
        match (typed, self.compression) {
            (false, 0) => Ok(()),
            (true, 1) => refuse("the image is compressed with zstd, which is not supported"),
            (_, other) => Err(field(
                "compression_type",
                104,
                format!("{other} contradicts the feature bits"),
            )),
        }
    }

    /// Checks everything that can be judged without the file.
    fn check_limits(&self) -> Result<(Layout, Width)> {
        let layout = self.layout()?;
        let cluster = layout.cluster_size();
        let length = u64::from(self.header_length);
        if self.version == 3 && (length < V3_LENGTH || length > cluster || length % 8 != 0) {
            let why = format!("{length} is not a multiple of 8 from 104 to the cluster size");
            return Err(field("header_length", 100, why));
        }
        if self.crypt_method != 0 {
            return Err(Error::unsupported(format!(
                "the image is encrypted (header field crypt_method at byte 32: {}), which is not supported",
                self.crypt_method
            )));
        }
        self.check_features()?;
        let width = Width::from_order(self.refcount_order).ok_or_else(|| {
            field(
                "refcount_order",
                96,
                format!("{} is above 6", self.refcount_order),
            )
        })?;
        if self.size > i64::MAX as u64 {
            return Err(field("size", 24, format!("{} is too large", self.size)));
        }
        let needed = layout.l1_entries(self.size);
        if needed * 8 > MAX_L1_BYTES {
            return Err(field(
                "size",
                24,
                format!("{} needs an L1 table above {MAX_L1_BYTES} bytes", self.size),
            ));
        }
        if u64::from(self.l1_size) * 8 > MAX_L1_BYTES {
            return Err(field(
                "l1_size",
                36,
                format!("{} entries are above {MAX_L1_BYTES} bytes", self.l1_size),
            ));
        }
        if u64::from(self.l1_size) < needed {
            return Err(field(
                "l1_size",
                36,
                format!(
                    "{} entries are too few for {} bytes",
                    self.l1_size, self.size
                ),
            ));
        }
        if u64::from(self.refcount_clusters) * cluster > MAX_REFCOUNT_TABLE_BYTES.max(cluster) {
            let why = format!(
                "{} clusters are above {MAX_REFCOUNT_TABLE_BYTES} bytes",
                self.refcount_clusters
            );
            return Err(field("refcount_table_clusters", 56, why));
        }
        if self.snapshot_count > MAX_SNAPSHOTS {
            let why = format!("{} is above {MAX_SNAPSHOTS}", self.snapshot_count);
            return Err(field("nb_snapshots", 60, why));
        }
        Ok((layout, width))
    }

    /// The backing file name, if any, from the first bytes of the image.
    fn backing_name(&self, head: &[u8], layout: Layout) -> Result<Option<Vec<u8>>> {
        if self.backing_offset == 0 {
            return Ok(None);
        }
        if self.backing_size == 0 || self.backing_size > MAX_BACKING_NAME {
            let why = format!("{} is not from 1 to {MAX_BACKING_NAME}", self.backing_size);
            return Err(field("backing_file_size", 16, why));
        }
        let end = self
            .backing_offset
            .checked_add(u64::from(self.backing_size));
        let end = end.filter(|end| *end <= layout.cluster_size());
        let (Some(end), true) = (end, self.backing_offset >= u64::from(self.header_length)) else {
            let why = format!(
                "{} is not behind the header in the first cluster",
                self.backing_offset
            );
            return Err(field("backing_file_offset", 8, why));
        };
        head.get(self.backing_offset as usize..end as usize)
            .map(|name| Some(name.to_vec()))
            .ok_or_else(|| {
                field(
                    "backing_file_offset",
                    8,
                    "the name is beyond the bytes that were read",
                )
            })
    }

    fn extensions(&self, head: &[u8], layout: Layout) -> Result<Vec<Extension>> {
        let limit = match self.backing_offset {
            0 => layout.cluster_size(),
            offset => offset.min(layout.cluster_size()),
        };
        let mut at = u64::from(self.header_length);
        let mut found = Vec::new();
        while at + 8 <= limit {
            let (Some(kind), Some(length)) = (be32(head, at as usize), be32(head, at as usize + 4))
            else {
                break;
            };
            if kind == extension::END {
                break;
            }
            let end = at + 8 + u64::from(length);
            if end > limit {
                return Err(Error::integrity(format!(
                    "header extension {kind:#010x} at byte {at}: length {length} runs past byte {limit}"
                )));
            }
            let data = head.get(at as usize + 8..end as usize).ok_or_else(|| {
                Error::integrity(format!(
                    "header extension {kind:#010x} at byte {at} is cut off"
                ))
            })?;
            found.push(Extension {
                kind,
                data: data.to_vec(),
            });
            at = end.next_multiple_of(8);
        }
        Ok(found)
    }

    /// Everything but the places in the file; `head` may be shorter than the first cluster.
    pub fn check_head(self, head: &[u8]) -> Result<Header> {
        let (layout, width) = self.check_limits()?;
        let backing_name = self.backing_name(head, layout)?;
        let extensions = self.extensions(head, layout)?;
        Ok(Header {
            fields: self,
            layout,
            width,
            extensions,
            backing_name,
        })
    }

    /// `head` is the first cluster (or the whole shorter file), `length` that of the file.
    pub fn check(self, head: &[u8], length: u64) -> Result<Header> {
        let header = self.check_head(head)?;
        let raw = &header.fields;
        let layout = header.layout;
        let place = |name: &str, at: u32, offset: u64, bytes: u64| {
            check_place(layout, length, offset, bytes).map_err(|why| field(name, at, why))
        };
        if raw.l1_size > 0 {
            place(
                "l1_table_offset",
                40,
                raw.l1_offset,
                u64::from(raw.l1_size) * 8,
            )?;
        }
        if raw.refcount_clusters == 0 {
            return Err(field(
                "refcount_table_clusters",
                56,
                "there is no refcount table",
            ));
        }
        let bytes = u64::from(raw.refcount_clusters) * layout.cluster_size();
        place("refcount_table_offset", 48, raw.refcount_offset, bytes)?;
        if raw.snapshot_count > 0 {
            place(
                "snapshots_offset",
                64,
                raw.snapshot_offset,
                u64::from(raw.snapshot_count) * 40,
            )?;
        }
        Ok(header)
    }
}

/// A table of `bytes` bytes at `offset` is aligned, behind the header and (whole clusters counted) inside the file.
pub fn check_place(
    layout: Layout,
    length: u64,
    offset: u64,
    bytes: u64,
) -> std::result::Result<(), String> {
    if offset == 0 || !layout.is_aligned(offset) {
        return Err(format!(
            "{offset:#x} is not the start of a cluster behind the header"
        ));
    }
    let room = length.next_multiple_of(layout.cluster_size());
    match offset.checked_add(bytes) {
        Some(end) if end <= room => Ok(()),
        _ => Err(format!(
            "{bytes} bytes at {offset:#x} run past the end of the file at {length:#x}"
        )),
    }
}

impl Header {
    pub fn extension(&self, kind: u32) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|e| e.kind == kind)
            .map(|e| e.data.as_slice())
    }

    /// The first cluster of a file: fixed fields, extensions, backing name (placed here). Fails when it does not fit.
    pub fn cluster_bytes(&mut self) -> Result<Vec<u8>> {
        let cluster = self.layout.cluster_size() as usize;
        let mut tail = Vec::new();
        for extension in &self.extensions {
            tail.extend(extension.kind.to_be_bytes());
            tail.extend((extension.data.len() as u32).to_be_bytes());
            tail.extend(&extension.data);
            tail.resize(tail.len().next_multiple_of(8), 0);
        }
        tail.extend([0u8; 8]);
        let start = self.fields.header_length as usize;
        if let Some(name) = &self.backing_name {
            self.fields.backing_offset = (start + tail.len()) as u64;
            self.fields.backing_size = name.len() as u32;
            tail.extend(name);
        }
        let mut out = self.fields.fixed_bytes();
        if self.fields.header_length > 104 {
            out.push(self.fields.compression);
        }
        out.resize(start, 0);
        out.extend(tail);
        if out.len() > cluster {
            return Err(Error::usage(format!(
                "the header needs {} bytes, a cluster has {cluster}",
                out.len()
            )));
        }
        out.resize(cluster, 0);
        Ok(out)
    }
}
