//! Names of things: storage, volume, machine, snapshot, operation. Each is valid once it exists; none is looked up here.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::parse(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::parse(text)
            }
        }
    };
}

text_id! {
    /// A configured storage, `local-zfs`: letter first, letter or digit last, `-_.` between, at least two characters.
    StorageId
}
text_id! {
    /// A volume's name inside one storage, opaque here (`100/vm-100-disk-0.qcow2`, `vm-100-disk-0`); never empty, no NUL or
    /// newline, at most 1,024 bytes. How a kind reads it: `format::volname`.
    VolumeName
}
text_id! {
    /// A snapshot's name: letter, then letters, digits, `_`, `-`; 2 to 40 characters; not `current` or `pending`.
    SnapshotName
}
text_id! {
    /// One operation of the engine; also the name of its journal file. Sortable by start time.
    OpId
}

impl StorageId {
    /// Errors use Proxmox's wording because scripts match it.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let valid = bytes.len() >= 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[bytes.len() - 1].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
        if text.chars().nth(1).is_none() {
            return Err(Error::usage(format!(
                "storage ID '{}' cannot be shorter than 2 characters",
                text.escape_debug()
            )));
        }
        if !valid {
            return Err(Error::usage(format!(
                "storage ID '{}' contains illegal characters",
                text.escape_debug()
            )));
        }
        Ok(StorageId(text.to_owned()))
    }
}

impl VolumeName {
    pub const MAX_BYTES: usize = 1024;

    pub fn parse(text: &str) -> Result<Self> {
        let shown = || {
            text.chars()
                .take(60)
                .collect::<String>()
                .escape_debug()
                .to_string()
        };
        if text.is_empty() {
            return Err(Error::usage("volume name is empty"));
        }
        if text.len() > Self::MAX_BYTES {
            return Err(Error::usage(format!(
                "volume name '{}...' is longer than {} bytes",
                shown(),
                Self::MAX_BYTES
            )));
        }
        if text.bytes().any(|b| b == 0 || b == b'\n' || b == b'\r') {
            return Err(Error::usage(format!(
                "volume name '{}' contains a control character",
                shown()
            )));
        }
        Ok(VolumeName(text.to_owned()))
    }
}

impl SnapshotName {
    pub fn parse(text: &str) -> Result<Self> {
        if matches!(text, "current" | "pending") {
            return Err(Error::usage(format!("snapshot name '{text}' is reserved"))
                .hint("choose another name, for example 'before-upgrade'"));
        }
        let bytes = text.as_bytes();
        let valid = (2..=40).contains(&bytes.len())
            && bytes[0].is_ascii_alphabetic()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-');
        if !valid {
            return Err(Error::usage(format!(
                "invalid snapshot name '{}'",
                text.chars().take(60).collect::<String>().escape_debug()
            ))
            .hint("use a letter followed by 1 to 39 letters, digits, '_' or '-'"));
        }
        Ok(SnapshotName(text.to_owned()))
    }
}

impl OpId {
    pub fn parse(text: &str) -> Result<Self> {
        let valid = !text.is_empty()
            && text.len() <= 64
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !valid {
            return Err(Error::usage(format!(
                "invalid operation id '{}'",
                text.escape_debug()
            )));
        }
        Ok(OpId(text.to_owned()))
    }
}

/// A machine's number, 100..=999_999_999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VmId(u32);

impl VmId {
    pub fn new(number: u32) -> Result<Self> {
        if !(100..=999_999_999).contains(&number) {
            return Err(Error::usage(format!("invalid VM ID '{number}'"))
                .hint("use a number from 100 to 999999999"));
        }
        Ok(VmId(number))
    }
    /// Decimal without sign or leading zero.
    pub fn parse(text: &str) -> Result<Self> {
        let digits =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        match text.parse::<u32>() {
            Ok(number) if digits => Self::new(number),
            _ => Err(
                Error::usage(format!("invalid VM ID '{}'", text.escape_debug()))
                    .hint("use a number from 100 to 999999999"),
            ),
        }
    }
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for VmId {
    type Error = Error;
    fn try_from(number: u32) -> Result<Self> {
        VmId::new(number)
    }
}
impl From<VmId> for u32 {
    fn from(id: VmId) -> u32 {
        id.0
    }
}
impl std::str::FromStr for VmId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        VmId::parse(text)
    }
}
impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `storage:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId {
    pub storage: StorageId,
    pub name: VolumeName,
}

impl VolumeId {
    pub fn new(storage: StorageId, name: VolumeName) -> Self {
        VolumeId { storage, name }
    }
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            let shown: String = text.chars().take(80).collect();
            Error::usage(format!(
                "unable to parse volume ID '{}'",
                shown.escape_debug()
            ))
        };
        let (storage, name) = text.split_once(':').ok_or_else(bad)?;
        Ok(VolumeId {
            storage: StorageId::parse(storage).map_err(|e| bad().with_source(e))?,
            name: VolumeName::parse(name).map_err(|e| bad().with_source(e))?,
        })
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.storage, self.name)
    }
}
impl TryFrom<String> for VolumeId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        VolumeId::parse(&text)
    }
}
impl From<VolumeId> for String {
    fn from(id: VolumeId) -> String {
        id.to_string()
    }
}
impl std::str::FromStr for VolumeId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        VolumeId::parse(text)
    }
}
