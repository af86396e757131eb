//! From a descriptor chain to a checked request: every field is checked once, here; a `Request` cannot be made any other way.

use crate::block::Geometry;
use crate::model::{ByteCount, ByteOffset, Extent};
use std::ops::Deref;
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

/// The unit of all addresses on the wire.
pub(super) const SECTOR: u64 = 512;
/// Data descriptors a driver may use in one request.
pub(super) const SEG_MAX: u32 = 254;
/// Ranges in one discard or write-zeroes request.
pub(super) const MAX_SEGMENTS: u32 = 16;
/// Sectors in one such range: 1 GiB.
pub(super) const MAX_SEGMENT_SECTORS: u32 = 1 << 21;
/// Longest chain looked at; no driver that keeps to `SEG_MAX` comes near.
const CHAIN_LIMIT: usize = 1024;
/// Most data in one request.
const DATA_LIMIT: u64 = 1 << 30;
const HEADER: usize = 16;
const SEGMENT: usize = 16;
const SERIAL: usize = 20;
/// Request codes that carry ranges; both fit the first byte of the header.
const DISCARD: u8 = 11;
const WRITE_ZEROES: u8 = 13;

/// A run of guest memory that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    address: u64,
    length: u32,
}

impl Span {
    pub(super) fn address(self) -> u64 {
        self.address
    }
    pub(super) fn len(self) -> usize {
        self.length as usize
    }
}

/// Why a chain is not even a request: no status byte to answer with, so the device stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChainFault {
    /// It loops, leaves its table, or its table is not in memory.
    Unfinished,
    TooLong,
    /// A readable part follows a writable one.
    Order,
    OutsideMemory,
    NoHeader,
    NoStatus,
}

/// A well-formed chain: parts in memory, header and ranges copied out so that the guest cannot change them afterwards.
#[derive(Debug)]
pub(super) struct Chain {
    head: u16,
    header: [u8; HEADER],
    /// Start of the readable data, for requests that carry ranges.
    ranges: Vec<u8>,
    readable: Vec<Span>,
    writable: Vec<Span>,
    status: u64,
}

impl Chain {
    pub(super) fn collect<M>(chain: DescriptorChain<M>) -> Result<Self, ChainFault>
    where
        M: Deref + Clone,
        M::Target: GuestMemory,
    {
        let head = chain.head_index();
        let source = chain.clone();
        let ram = source.memory();
        let mut readable = Vec::new();
        let mut writable = Vec::new();
        let mut finished = false;
        for (count, part) in chain.enumerate() {
            if count >= CHAIN_LIMIT {
                return Err(ChainFault::TooLong);
            }
            finished = !part.has_next();
            if !part.is_write_only() && !writable.is_empty() {
                return Err(ChainFault::Order);
            }
            if part.len() == 0 {
                continue;
            }
            let access = Permissions::ReadWrite;
            if !ram.check_range(part.addr(), part.len() as usize, access) {
                return Err(ChainFault::OutsideMemory);
            }
            let span = Span {
                address: part.addr().0,
                length: part.len(),
            };
            if part.is_write_only() {
                writable.push(span);
            } else {
                readable.push(span);
            }
        }
        if !finished {
            return Err(ChainFault::Unfinished);
        }
        let mut header = [0u8; HEADER];
        take_front(ram, &mut readable, &mut header)?;
        let ranges = match header[0] {
            DISCARD | WRITE_ZEROES => peek(ram, &readable, SEGMENT * (MAX_SEGMENTS as usize + 1))?,
            _ => Vec::new(),
        };
        let status = take_last(&mut writable).ok_or(ChainFault::NoStatus)?;
        Ok(Chain {
            head,
            header,
            ranges,
            readable,
            writable,
            status,
        })
    }
}

/// Moves the first bytes of the readable parts into `to`.
fn take_front<M: GuestMemory + ?Sized>(
    ram: &M,
    parts: &mut Vec<Span>,
    to: &mut [u8],
) -> Result<(), ChainFault> {
    let mut done = 0;
    while done < to.len() {
        let first = parts.first_mut().ok_or(ChainFault::NoHeader)?;
        let length = first.len().min(to.len() - done);
        ram.read_slice(&mut to[done..done + length], GuestAddress(first.address))
            .map_err(|_| ChainFault::OutsideMemory)?;
        done += length;
        first.address += length as u64;
        first.length -= length as u32;
        if first.length == 0 {
            parts.remove(0);
        }
    }
    Ok(())
}

/// Copies up to `limit` bytes of the readable parts.
fn peek<M: GuestMemory + ?Sized>(
    ram: &M,
    parts: &[Span],
    limit: usize,
) -> Result<Vec<u8>, ChainFault> {
    let mut bytes = Vec::new();
    for part in parts {
        let length = part.len().min(limit - bytes.len());
        if length == 0 {
            break;
        }
        let from = bytes.len();
        bytes.resize(from + length, 0);
        ram.read_slice(&mut bytes[from..], GuestAddress(part.address))
            .map_err(|_| ChainFault::OutsideMemory)?;
    }
    Ok(bytes)
}

/// Splits off the last writable byte.
fn take_last(parts: &mut Vec<Span>) -> Option<u64> {
    let last = parts.last_mut()?;
    last.length -= 1;
    let address = last.address + u64::from(last.length);
    if last.length == 0 {
        parts.pop();
    }
    Some(address)
}

fn total(parts: &[Span]) -> u64 {
    parts.iter().map(|part| u64::from(part.length)).sum()
}

/// How a request is answered (virtio 1.2, 5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// Where the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    head: u16,
    status: u64,
    /// Writable bytes of the chain, status included.
    writable: u32,
}

impl Answer {
    pub(super) fn head(self) -> u16 {
        self.head
    }
    pub(super) fn status_address(self) -> u64 {
        self.status
    }
    /// Bytes the driver may look at after this outcome.
    pub(super) fn used(self, outcome: Status) -> u32 {
        if outcome == Status::Ok {
            self.writable
        } else {
            u32::from(self.writable == 1)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Read {
        offset: u64,
        into: Vec<Span>,
    },
    Write {
        offset: u64,
        from: Vec<Span>,
    },
    Flush,
    /// Up to 20 bytes of serial number.
    GetId {
        into: Vec<Span>,
    },
    Discard(Vec<Extent>),
    /// Ranges, each with leave to give the space back.
    WriteZeroes(Vec<(Extent, bool)>),
}

/// A request that the volume can carry out as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    answer: Answer,
    kind: Kind,
    bytes: u64,
}

/// A request that is answered without reaching the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) answer: Answer,
    pub(super) status: Status,
}

/// What requests are checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) sectors: u64,
    logical_block: u64,
    read_only: bool,
    can_discard: bool,
}

impl Limits {
    pub(super) fn new(geometry: &Geometry, sectors: u64, read_only: bool) -> Self {
        Limits {
            sectors,
            logical_block: u64::from(geometry.logical_block).max(SECTOR),
            read_only,
            can_discard: geometry.can_discard,
        }
    }

    /// A run of whole blocks inside the volume.
    fn run(&self, sector: u64, bytes: u64) -> Option<Extent> {
        let offset = sector.checked_mul(SECTOR)?;
        let end = offset.checked_add(bytes)?;
        let inside = end <= self.sectors.checked_mul(SECTOR)?;
        let whole = offset % self.logical_block == 0 && bytes % self.logical_block == 0;
        if !inside || !whole {
            return None;
        }
        Extent::new(ByteOffset(offset), ByteCount(bytes)).ok()
    }
}

impl Request {
    pub(super) fn parse(chain: Chain, limits: &Limits) -> Result<Self, Refusal> {
        let answer = Answer {
            head: chain.head,
            status: chain.status,
            writable: (total(&chain.writable) + 1) as u32,
        };
        let refuse = |status| Refusal { answer, status };
        let (kind, bytes) = kind_of(chain, limits).map_err(refuse)?;
        Ok(Request {
            answer,
            kind,
            bytes,
        })
    }

    pub(super) fn answer(&self) -> Answer {
        self.answer
    }
    /// Bytes of the volume it concerns.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(super) fn into_kind(self) -> Kind {
        self.kind
    }
}

fn kind_of(chain: Chain, limits: &Limits) -> Result<(Kind, u64), Status> {
    let h = &chain.header;
    let code = u32::from_le_bytes([h[0], h[1], h[2], h[3]]);
    let sector = u64::from_le_bytes([h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]]);
    match code {
        0 => {
            let run = data_run(&chain.writable, sector, limits)?;
            let offset = run.start();
            let into = chain.writable;
            Ok((Kind::Read { offset, into }, run.len()))
        }
        1 => {
            if limits.read_only {
                return Err(Status::IoError);
            }
            let run = data_run(&chain.readable, sector, limits)?;
            let offset = run.start();
            let from = chain.readable;
            Ok((Kind::Write { offset, from }, run.len()))
        }
        4 => Ok((Kind::Flush, 0)),
        8 => {
            if chain.writable.is_empty() {
                return Err(Status::IoError);
            }
            let into = chain.writable;
            Ok((Kind::GetId { into }, 0))
        }
        11 | 13 => {
            if code == 11 && !limits.can_discard {
                return Err(Status::Unsupported);
            }
            if limits.read_only {
                return Err(Status::IoError);
            }
            let runs = ranges(&chain, limits, code == 13)?;
            let bytes = runs.iter().map(|(run, _)| run.len()).sum();
            if code == 13 {
                return Ok((Kind::WriteZeroes(runs), bytes));
            }
            let runs = runs.into_iter().map(|(run, _)| run).collect();
            Ok((Kind::Discard(runs), bytes))
        }
        _ => Err(Status::Unsupported),
    }
}

fn data_run(parts: &[Span], sector: u64, limits: &Limits) -> Result<Extent, Status> {
    let bytes = total(parts);
    if bytes > DATA_LIMIT {
        return Err(Status::IoError);
    }
    limits.run(sector, bytes).ok_or(Status::IoError)
}

fn ranges(chain: &Chain, limits: &Limits, may_unmap: bool) -> Result<Vec<(Extent, bool)>, Status> {
    let bytes = total(&chain.readable);
    let most = SEGMENT as u64 * u64::from(MAX_SEGMENTS);
    if bytes == 0 || bytes % SEGMENT as u64 != 0 || bytes > most {
        return Err(Status::IoError);
    }
    let mut runs = Vec::new();
    for raw in chain.ranges.chunks_exact(SEGMENT) {
        let word = |at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let sector = u64::from(word(0)) | u64::from(word(4)) << 32;
        let (count, flags) = (word(8), word(12));
        let known = u32::from(may_unmap);
        if flags & !known != 0 {
            return Err(Status::Unsupported);
        }
        if count > MAX_SEGMENT_SECTORS {
            return Err(Status::IoError);
        }
        let run = limits
            .run(sector, u64::from(count) * SECTOR)
            .ok_or(Status::IoError)?;
        runs.push((run, flags & 1 != 0));
    }
    Ok(runs)
}

/// The answer to "who are you": 20 bytes, padded with zeros.
pub(super) fn serial_bytes(serial: &str) -> [u8; SERIAL] {
    let mut bytes = [0u8; SERIAL];
    for (to, from) in bytes.iter_mut().zip(serial.bytes()) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
