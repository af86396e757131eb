//! storage.cfg as a lossless document: sections are read as Proxmox reads them, edits change only their own lines.

mod check;
mod edit;
pub mod merge;
mod print;
mod read;
mod setting;
mod view;

pub use check::{cli_value, parameter_errors};
pub use read::ValueProblem;
pub use setting::Setting;
pub use view::EffectiveSection;

use crate::format::storage_kind::table;
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
    /// All nodes see the same data: by its kind, or because the file says so.
    pub fn is_shared(&self) -> bool {
        self.flag("shared") || self.kind.is_some_and(|kind| table(kind).always_shared)
    }
}

/// The whole file. `to_bytes` gives back exactly what was parsed until an edit is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageCfg {
    /// Every line with its terminator; the last one may have none.
    lines: Vec<Vec<u8>>,
    reading: read::Reading,
}

impl StorageCfg {
    /// Never fails: what cannot be read stays as it is and is listed in `problems`.
    pub fn parse(bytes: &[u8]) -> Self {
        let lines: Vec<Vec<u8>> = bytes
            .split_inclusive(|b| *b == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        Self::from_lines(lines)
    }
    fn from_lines(lines: Vec<Vec<u8>>) -> Self {
        let reading = read::read(&lines);
        StorageCfg { lines, reading }
    }
    pub fn problems(&self) -> &[Problem] {
        &self.reading.problems
    }
    /// What Proxmox itself would print while reading, word for word.
    pub fn warnings(&self) -> &[String] {
        &self.reading.warnings
    }
    /// Values that were dropped, in Proxmox's words.
    pub fn value_problems(&self) -> &[ValueProblem] {
        &self.reading.value_problems
    }
    /// Usable and broken sections in file order, with the implied `local` where the file has none.
    pub fn sections(&self) -> Vec<StorageSection> {
        view::sections(&self.reading)
    }
    pub fn find(&self, id: &StorageId) -> Option<StorageSection> {
        self.sections().into_iter().find(|s| s.id == *id)
    }
    /// The section `local` as the file has it, usable, even where Proxmox would overrule it.
    pub fn written_local(&self) -> Option<StorageSection> {
        view::written_local(&self.reading)
    }
    /// What Proxmox holds after reading: settings with their types, `local` put right, kinds it does not know left out.
    pub fn effective(&self) -> Vec<EffectiveSection> {
        view::effective(&self.reading)
    }
    /// `pvesm add`: checks as section 1.6 of the storage reference, then appends the section. Booleans are `0` or `1` (see
    /// `cli_value`). Passwords and keys are checked and left out: the caller stores them elsewhere.
    pub fn add(
        &mut self,
        id: &StorageId,
        kind: StorageKind,
        properties: &[(String, String)],
    ) -> Result<()> {
        edit::add(self, id, kind, properties)
    }
    /// `pvesm set`: changes or deletes properties; untouched lines stay.
    pub fn set(
        &mut self,
        id: &StorageId,
        properties: &[(String, String)],
        delete: &[String],
    ) -> Result<()> {
        edit::set(self, id, properties, delete)
    }
    pub fn remove(&mut self, id: &StorageId) -> Result<()> {
        edit::remove(self, id)
    }
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lines.concat()
    }
    /// The text Proxmox would write for this content. It cannot write anything while one section is broken; this document can.
    pub fn canonical(&self) -> Result<String> {
        print::canonical(&self.effective())
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

#[cfg(test)]
mod tests;
