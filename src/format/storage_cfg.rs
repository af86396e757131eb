//! storage.cfg as a lossless document: sections are read as Proxmox reads them, edits change only their own lines.

use crate::model::{ContentType, Result, StorageId, StorageKind};

/// One thing wrong in a file. Line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// One configured storage as read (defaults not filled in, except `content`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSection {
    pub id: StorageId,
    /// `None`: a type this program does not know; the section is kept byte for byte.
    pub kind: Option<StorageKind>,
    /// The type word as written (lower-cased).
    pub type_word: String,
    /// Effective properties in file order.
    pub properties: Vec<(String, String)>,
    /// Effective content (type default when not given).
    pub content: Vec<ContentType>,
    /// Why the section cannot be used (missing path, bad value), if it cannot.
    pub broken: Option<String>,
}

impl StorageSection {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.properties
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
    pub fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }
    pub fn enabled(&self) -> bool {
        !self.flag("disable")
    }
}

/// The whole file. `to_bytes` gives back exactly what was parsed until an edit is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageCfg {
    bytes: Vec<u8>,
}

impl StorageCfg {
    /// Never fails: what cannot be read stays as it is and is listed in `problems`.
    pub fn parse(bytes: &[u8]) -> Self {
        StorageCfg {
            bytes: bytes.to_vec(),
        }
    }
    pub fn problems(&self) -> &[Problem] {
        &[]
    }
    /// Usable and broken sections in file order, with the implied `local` where the file has none.
    pub fn sections(&self) -> Vec<StorageSection> {
        Vec::new()
    }
    pub fn find(&self, id: &StorageId) -> Option<StorageSection> {
        self.sections().into_iter().find(|s| s.id == *id)
    }
    /// `pvesm add`: checks as section 1.6 of the storage reference, then appends the section.
    pub fn add(
        &mut self,
        _id: &StorageId,
        _kind: StorageKind,
        _properties: &[(String, String)],
    ) -> Result<()> {
        Ok(())
    }
    /// `pvesm set`: changes or deletes properties; untouched lines stay.
    pub fn set(
        &mut self,
        _id: &StorageId,
        _properties: &[(String, String)],
        _delete: &[String],
    ) -> Result<()> {
        Ok(())
    }
    pub fn remove(&mut self, _id: &StorageId) -> Result<()> {
        Ok(())
    }
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

/// SHA-1 hex of the raw text: Proxmox's digest.
pub fn digest(bytes: &[u8]) -> String {
    use sha1::{Digest, Sha1};
    Sha1::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}
