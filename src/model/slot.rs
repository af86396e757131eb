//! Where a volume hangs in a machine: `scsi0`, `virtio15`, `unused3`; knows order and limits, not what the drive is.

use super::storage::words;
use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

words! {
    /// In the order every multi-disk operation visits drives.
    Bus { Ide = "ide", Scsi = "scsi", Virtio = "virtio", Sata = "sata", Efidisk = "efidisk", Tpmstate = "tpmstate", Unused = "unused" }
}

impl Bus {
    /// Number of slots: indexes are 0..count.
    pub fn count(self) -> u16 {
        match self {
            Bus::Ide => 4,
            Bus::Scsi => 31,
            Bus::Virtio => 16,
            Bus::Sata => 6,
            Bus::Efidisk | Bus::Tpmstate => 1,
            Bus::Unused => 256,
        }
    }
}

/// Ordered by bus, then number: the iteration order of snapshots and of every multi-disk operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slot {
    bus: Bus,
    index: u16,
}

impl Slot {
    pub fn new(bus: Bus, index: u16) -> Result<Self> {
        if index >= bus.count() {
            return Err(Error::usage(format!(
                "no slot '{bus}{index}': {bus} goes to {}",
                bus.count() - 1
            )));
        }
        Ok(Slot { bus, index })
    }
    /// The config key, `scsi0`; no leading zeros.
    pub fn parse(key: &str) -> Result<Self> {
        Slot::from_key(key)
            .ok_or_else(|| Error::usage(format!("'{}' is not a drive slot", key.escape_debug())))
    }
    /// As `parse`, for keys that mostly are no slots.
    pub fn from_key(key: &str) -> Option<Self> {
        let (word, number) = key.split_at(key.find(|c: char| c.is_ascii_digit())?);
        let bus = Bus::parse(word)?;
        let index: u16 = number.parse().ok()?;
        let canonical = number.len() == 1 || !number.starts_with('0');
        (canonical && index < bus.count()).then_some(Slot { bus, index })
    }
    pub fn bus(self) -> Bus {
        self.bus
    }
    pub fn index(self) -> u16 {
        self.index
    }
    pub fn is_unused(self) -> bool {
        self.bus == Bus::Unused
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.bus, self.index)
    }
}
impl TryFrom<String> for Slot {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Slot::parse(&text)
    }
}
impl From<Slot> for String {
    fn from(slot: Slot) -> String {
        slot.to_string()
    }
}
