//! A config cut into its sections, each a document of its own, so that work on thousands of snapshots stays linear; never reorders.

use crate::format::drive::Drive;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Slot, SnapshotName};
use std::collections::HashMap;

struct Piece {
    /// `None`: not a snapshot (main, pending, special, unknown), or a snapshot section that a later one replaces.
    name: Option<SnapshotName>,
    /// The section as the original would know it; `None` for pieces without a readable header.
    section: Option<Section>,
    document: VmConfig,
    dropped: bool,
}

/// Snapshot sections by name, the main section apart, everything else kept as it is.
pub(super) struct Sections {
    pub main: VmConfig,
    pieces: Vec<Piece>,
    by_name: HashMap<SnapshotName, usize>,
    /// The text ended with an empty line.
    blank_end: bool,
}

impl Sections {
    pub fn read(bytes: &[u8]) -> Self {
        let mut cuts = vec![0];
        let mut at = 0;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            if line.first() == Some(&b'[') && at > 0 {
                cuts.push(at);
            }
            at += line.len();
        }
        cuts.push(bytes.len());
        let mut sections = Sections {
            main: VmConfig::parse(b""),
            pieces: Vec::with_capacity(cuts.len()),
            by_name: HashMap::with_capacity(cuts.len()),
            blank_end: bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n"),
        };
        for (index, pair) in cuts.windows(2).enumerate() {
            let text = &bytes[pair[0]..pair[1]];
            let document = VmConfig::parse(text);
            if index == 0 && !text.starts_with(b"[") {
                sections.main = document;
                continue;
            }
            sections.add(document);
        }
        sections
    }

    fn add(&mut self, document: VmConfig) {
        let name = document.sections().find_map(|section| match section {
            Section::Snapshot(name) => SnapshotName::parse(name).ok(),
            _ => None,
        });
        let section = match &name {
            Some(name) => Some(Section::Snapshot(name.to_string())),
            None => document
                .has_section(&Section::Pending)
                .then_some(Section::Pending),
        };
        if let Some(name) = &name
            && let Some(earlier) = self.by_name.insert(name.clone(), self.pieces.len())
        {
            self.pieces[earlier].name = None;
            self.pieces[earlier].section = None;
        }
        self.pieces.push(Piece {
            name,
            section,
            document,
            dropped: false,
        });
    }

    /// In file order.
    pub fn names(&self) -> impl Iterator<Item = &SnapshotName> {
        self.pieces
            .iter()
            .filter(|p| !p.dropped)
            .filter_map(|p| p.name.as_ref())
    }

    /// The document that holds the snapshot's section and nothing else.
    pub fn document(&self, name: &SnapshotName) -> Option<(&VmConfig, &Section)> {
        let piece = self.pieces.get(*self.by_name.get(name)?)?;
        Some((&piece.document, piece.section.as_ref()?))
    }

    pub fn get(&self, name: &SnapshotName, key: &str) -> Option<String> {
        let (document, section) = self.document(name)?;
        document.get(section, key)
    }

    pub fn set(&mut self, name: &SnapshotName, key: &str, value: Option<&str>) {
        let Some(piece) = self
            .by_name
            .get(name)
            .and_then(|at| self.pieces.get_mut(*at))
        else {
            return;
        };
        let Some(section) = &piece.section else {
            return;
        };
        match value {
            Some(value) => piece.document.set(section, key, value),
            None => {
                piece.document.remove(section, key);
            }
        }
    }

    /// Every section that says something about the machine: main, pending, each snapshot.
    pub fn all(&self) -> impl Iterator<Item = (&Section, &VmConfig)> {
        std::iter::once((&Section::Main, &self.main)).chain(
            self.pieces
                .iter()
                .filter(|p| !p.dropped)
                .filter_map(|p| Some((p.section.as_ref()?, &p.document))),
        )
    }

    /// Drives of every section of `all`.
    pub fn drives(&self) -> impl Iterator<Item = (&Section, Slot, Drive)> {
        self.all().flat_map(|(section, document)| {
            document
                .drives(section)
                .into_iter()
                .map(move |(slot, drive)| (section, slot, drive))
        })
    }

    /// Removes the snapshot's section.
    pub fn drop_snapshot(&mut self, name: &SnapshotName) {
        if let Some(piece) = self
            .by_name
            .get(name)
            .and_then(|at| self.pieces.get_mut(*at))
        {
            piece.dropped = true;
        }
    }

    /// The whole text. The empty line before a section that was last goes with it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.main.to_bytes();
        for piece in self.pieces.iter().filter(|p| !p.dropped) {
            if !bytes.is_empty() && !bytes.ends_with(b"\n") {
                bytes.push(b'\n');
            }
            bytes.extend_from_slice(&piece.document.to_bytes());
        }
        if self.pieces.iter().any(|p| p.dropped) && !self.blank_end {
            while bytes.ends_with(b"\n\n") || bytes.ends_with(b"\r\n\r\n") {
                let end = if bytes.ends_with(b"\r\n") { 2 } else { 1 };
                bytes.truncate(bytes.len() - end);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"memory: 1\nparent: s2\n\n[PENDING]\nmemory: 2\n\n[broken section\nx\n\n[s1]\nmemory: 1\n\n[s2]\nparent: s1\nscsi0: aa:vm-100-disk-0\n";

    fn name(text: &str) -> SnapshotName {
        SnapshotName::parse(text).unwrap()
    }

    #[test]
    fn cutting_and_joining_changes_no_byte() {
        for text in [
            TEXT,
            b"",
            b"memory: 1",
            b"[s1]\nmemory: 1",
            b"a: 1\r\n\r\n[s1]\r\nb: 2\r\n",
        ] {
            assert_eq!(Sections::read(text).to_bytes(), text);
        }
    }

    #[test]
    fn a_dropped_section_takes_its_lines_only() {
        let mut sections = Sections::read(TEXT);
        assert_eq!(sections.get(&name("s2"), "parent").as_deref(), Some("s1"));
        sections.drop_snapshot(&name("s2"));
        sections.set(&name("s1"), "snapstate", Some("delete"));
        let text = String::from_utf8(sections.to_bytes()).unwrap();
        assert!(
            text.ends_with("[s1]\nmemory: 1\nsnapstate: delete\n"),
            "{text}"
        );
        assert!(text.contains("[broken section\nx\n"), "{text}");
        assert_eq!(sections.names().count(), 1);
    }

    #[test]
    fn of_two_sections_of_one_name_the_later_counts() {
        let sections = Sections::read(b"a: 1\n\n[s1]\nmemory: 1\n\n[s1]\nmemory: 2\n");
        assert_eq!(sections.get(&name("s1"), "memory").as_deref(), Some("2"));
        assert_eq!(sections.names().count(), 1);
    }
}
