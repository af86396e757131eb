//! A VM config as a lossless document (pve-vm 1.1-1.4): keys, sections and lines we do not understand stay in place; changing
//! one key changes one line. It never checks whether a change makes sense.

pub mod merge;
pub mod original;

use super::drive::Drive;
pub use super::storage_cfg::{Problem, digest};
use super::vm_key;
use crate::model::{Slot, SnapshotName};

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    Main,
    Pending,
    /// `[special:cloudinit]`, `[special:fleecing]`.
    Special(String),
    Snapshot(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Blank,
    /// `#text`: a line of the description.
    Description,
    Key {
        key: String,
        value: String,
    },
    /// Kept, not understood.
    Odd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// With its line end, exactly as in the file.
    raw: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// `None` for an unknown section: skipped by readers, kept in the file.
    section: Option<Section>,
    /// The `[name]` line; empty for the main part.
    header: Vec<u8>,
    lines: Vec<Line>,
}

/// The document: `to_bytes` gives back what was parsed until an edit is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    parts: Vec<Part>,
    problems: Vec<Problem>,
}

fn trimmed(raw: &[u8]) -> &[u8] {
    let end = raw
        .iter()
        .rposition(|b| !matches!(b, b'\n' | b'\r' | b' ' | b'\t'))
        .map_or(0, |at| at + 1);
    &raw[..end]
}

fn header_of(text: &str) -> Option<Option<Section>> {
    let inner = text.strip_prefix('[')?;
    let known = inner.strip_suffix(']').and_then(|name| {
        let word = |s: &str| {
            let bytes = s.as_bytes();
            bytes.len() >= 2
                && bytes[0].is_ascii_alphabetic()
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        };
        if name.eq_ignore_ascii_case("pending") {
            Some(Section::Pending)
        } else if let Some(kind) = name.strip_prefix("special:") {
            matches!(kind, "cloudinit" | "fleecing").then(|| Section::Special(kind.to_owned()))
        } else {
            word(name).then(|| Section::Snapshot(name.to_owned()))
        }
    });
    Some(known)
}

fn is_key(key: &str) -> bool {
    let digits_at = key.find(|c: char| c.is_ascii_digit()).unwrap_or(key.len());
    let (letters, digits) = key.split_at(digits_at);
    letters.starts_with(|c: char| c.is_ascii_lowercase())
        && letters
            .bytes()
            .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'-'))
        && digits.bytes().all(|b| b.is_ascii_digit())
}

fn line_kind(raw: &[u8]) -> Kind {
    let body = trimmed(raw);
    if body.is_empty() {
        return Kind::Blank;
    }
    if body[0] == b'#' {
        return Kind::Description;
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Kind::Odd;
    };
    match text.split_once(':') {
        Some((key, value)) if is_key(key) && !value.trim().is_empty() => Kind::Key {
            key: key.to_owned(),
            value: value.trim().to_owned(),
        },
        _ => Kind::Odd,
    }
}

impl VmConfig {
    /// Never fails: see `problems` for what was not understood (kept all the same).
    pub fn parse(bytes: &[u8]) -> Self {
        let mut parts = vec![Part {
            section: Some(Section::Main),
            header: Vec::new(),
            lines: Vec::new(),
        }];
        let mut problems = Vec::new();
        for (index, raw) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let body = trimmed(raw);
            let header = std::str::from_utf8(body).ok().and_then(header_of);
            if body.first() == Some(&b'[') {
                let section = header.flatten();
                if section.is_none() {
                    problems.push(problem(index, 1, "unknown section"));
                }
                parts.push(Part {
                    section,
                    header: raw.to_vec(),
                    lines: Vec::new(),
                });
                continue;
            }
            let kind = line_kind(raw);
            problems.extend(line_problem(
                index,
                &kind,
                parts.last().and_then(|p| p.section.as_ref()),
            ));
            if let Some(part) = parts.last_mut() {
                part.lines.push(Line {
                    raw: raw.to_vec(),
                    kind,
                });
            }
        }
        VmConfig { parts, problems }
    }

    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in &self.parts {
            bytes.extend_from_slice(&part.header);
            for line in &part.lines {
                bytes.extend_from_slice(&line.raw);
            }
        }
        bytes
    }

    /// The last section of that name wins, as in the original.
    fn part(&self, section: &Section) -> Option<&Part> {
        self.parts
            .iter()
            .rev()
            .find(|p| p.section.as_ref() == Some(section))
    }

    fn part_mut(&mut self, section: &Section) -> Option<&mut Part> {
        self.parts
            .iter_mut()
            .rev()
            .find(|p| p.section.as_ref() == Some(section))
    }

    /// Effective value (last duplicate wins).
    pub fn get(&self, section: &Section, key: &str) -> Option<String> {
        self.part(section)?
            .lines
            .iter()
            .rev()
            .find_map(|line| match &line.kind {
                Kind::Key { key: k, value } if k == key => Some(value.clone()),
                _ => None,
            })
    }

    /// Effective keys, sorted bytewise, without `description`.
    pub fn entries(&self, section: &Section) -> Vec<(String, String)> {
        let mut map = std::collections::BTreeMap::new();
        for line in self
            .part(section)
            .map(|p| p.lines.as_slice())
            .unwrap_or_default()
        {
            if let Kind::Key { key, value } = &line.kind
                && key != "description"
            {
                map.insert(key.clone(), value.clone());
            }
        }
        map.into_iter().collect()
    }

    /// Replaces the line of `key` or inserts it where the writer would put it; creates the section when missing.
    /// `value` must not hold a newline.
    pub fn set(&mut self, section: &Section, key: &str, value: &str) {
        let value: String = value.chars().filter(|c| *c != '\n' && *c != '\r').collect();
        if self.part(section).is_none() {
            self.add_part(section);
        }
        let Some(part) = self.part_mut(section) else {
            return;
        };
        let found = part
            .lines
            .iter()
            .rposition(|l| matches!(&l.kind, Kind::Key { key: k, .. } if k == key));
        match found {
            Some(at) => {
                let end = line_end(&part.lines[at].raw);
                part.lines[at] = key_line(key, &value, end);
            }
            None => {
                let after = part.lines.iter().rposition(|l| match &l.kind {
                    Kind::Key { key: k, .. } => k.as_str() < key,
                    Kind::Description => true,
                    _ => false,
                });
                let at = after.map_or(0, |at| at + 1);
                if at > 0
                    && let Some(line) = part.lines.get_mut(at - 1)
                    && !line.raw.ends_with(b"\n")
                {
                    line.raw.push(b'\n');
                }
                part.lines.insert(at, key_line(key, &value, b"\n"));
            }
        }
    }

    fn add_part(&mut self, section: &Section) {
        let name = match section {
            Section::Main => return,
            Section::Pending => "PENDING".to_owned(),
            Section::Special(kind) => format!("special:{kind}"),
            Section::Snapshot(name) => name.clone(),
        };
        let at = self
            .parts
            .iter()
            .position(|p| p.section.as_ref().is_some_and(|s| s > section))
            .unwrap_or(self.parts.len());
        if let Some(before) = self.parts.get_mut(at - 1) {
            let text = before.lines.last().map_or(&before.header, |l| &l.raw);
            let (ends, empty) = (
                text.is_empty() || text.ends_with(b"\n"),
                before.lines.is_empty() && before.header.is_empty(),
            );
            if !ends {
                match before.lines.last_mut() {
                    Some(line) => line.raw.push(b'\n'),
                    None => before.header.push(b'\n'),
                }
            }
            if !empty && before.lines.last().is_none_or(|l| l.kind != Kind::Blank) {
                before.lines.push(Line {
                    raw: b"\n".to_vec(),
                    kind: Kind::Blank,
                });
            }
        }
        let last = at == self.parts.len();
        let mut lines = Vec::new();
        if !last {
            lines.push(Line {
                raw: b"\n".to_vec(),
                kind: Kind::Blank,
            });
        }
        self.parts.insert(
            at,
            Part {
                section: Some(section.clone()),
                header: format!("[{name}]\n").into_bytes(),
                lines,
            },
        );
    }

    /// True when there was such a key.
    pub fn remove(&mut self, section: &Section, key: &str) -> bool {
        let Some(part) = self.part_mut(section) else {
            return false;
        };
        let before = part.lines.len();
        part.lines
            .retain(|l| !matches!(&l.kind, Kind::Key { key: k, .. } if k == key));
        part.lines.len() != before
    }

    pub fn description(&self, section: &Section) -> Option<String> {
        let part = self.part(section)?;
        let mut text = String::new();
        for line in &part.lines {
            match &line.kind {
                Kind::Description => {
                    text.push_str(&decode_description(&trimmed(&line.raw)[1..]));
                    text.push('\n');
                }
                Kind::Key { key, value } if key == "description" => {
                    text.push_str(&decode_description(value.as_bytes()));
                    text.push('\n');
                }
                _ => {}
            }
        }
        let kept = text.trim_end_matches('\n');
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    pub fn set_description(&mut self, section: &Section, text: Option<&str>) {
        if self.part(section).is_none() {
            self.add_part(section);
        }
        let Some(part) = self.part_mut(section) else {
            return;
        };
        part.lines.retain(|l| {
            l.kind != Kind::Description
                && !matches!(&l.kind, Kind::Key { key, .. } if key == "description")
        });
        let lines = text
            .filter(|t| !t.is_empty())
            .map(|t| t.trim_end_matches('\n').split('\n').collect::<Vec<_>>());
        for (at, line) in lines.unwrap_or_default().into_iter().enumerate() {
            let raw = format!("#{}\n", encode_description(line)).into_bytes();
            part.lines.insert(
                at,
                Line {
                    raw,
                    kind: Kind::Description,
                },
            );
        }
    }

    pub fn has_section(&self, section: &Section) -> bool {
        self.part(section).is_some()
    }

    pub fn remove_section(&mut self, section: &Section) -> bool {
        let before = self.parts.len();
        self.parts
            .retain(|p| p.section.as_ref() != Some(section) || *section == Section::Main);
        if self.parts.len() == before {
            return false;
        }
        // The blank line that separated the last section goes with it.
        if let Some(part) = self.parts.last_mut() {
            while part.lines.last().is_some_and(|l| l.kind == Kind::Blank) {
                part.lines.pop();
            }
        }
        true
    }

    /// Valid snapshot names in file order; names that are no `SnapshotName` are in `problems` and stay in the file.
    pub fn snapshots(&self) -> Vec<SnapshotName> {
        let names = self.parts.iter().filter_map(|p| match &p.section {
            Some(Section::Snapshot(name)) => SnapshotName::parse(name).ok(),
            _ => None,
        });
        let mut seen = Vec::new();
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen
    }

    /// Drives that parse, in iteration order (ide, scsi, virtio, sata, efidisk, tpmstate, unused).
    pub fn drives(&self, section: &Section) -> Vec<(Slot, Drive)> {
        let mut drives: Vec<(Slot, Drive)> = self
            .entries(section)
            .into_iter()
            .filter_map(|(key, value)| {
                let slot = Slot::parse(&key).ok()?;
                Some((slot, Drive::parse(slot, &value).ok()?))
            })
            .collect();
        drives.sort_by_key(|(slot, _)| *slot);
        drives
    }

    /// What Proxmox itself would write for this content (used to compare with the observed cases).
    pub fn canonical(&self) -> Vec<u8> {
        original::read(&self.to_bytes(), "").write().into_bytes()
    }
}

/// Values are checked in the sections that say what the machine is now; those of a snapshot when it is used.
fn line_problem(index: usize, kind: &Kind, section: Option<&Section>) -> Option<Problem> {
    let section = section?;
    match kind {
        Kind::Odd => Some(problem(index, 1, "unable to parse line")),
        Kind::Key { key, .. } if key == "delete" && *section == Section::Pending => None,
        Kind::Key { key, value } if matches!(section, Section::Main | Section::Pending) => {
            let error = match key.as_str() {
                "cdrom" | "smp" => return None,
                _ => match vm_key::check_value(key, value) {
                    Err(error) => error,
                    Ok(_) => Drive::parse(Slot::parse(key).ok()?, value).err()?,
                },
            };
            Some(problem(index, key.len() + 3, error.message()))
        }
        _ => None,
    }
}

fn problem(index: usize, column: usize, message: &str) -> Problem {
    Problem {
        line: index + 1,
        column,
        message: message.to_owned(),
    }
}

fn line_end(raw: &[u8]) -> &[u8] {
    if raw.ends_with(b"\r\n") {
        b"\r\n"
    } else if raw.ends_with(b"\n") {
        b"\n"
    } else {
        b""
    }
}

fn key_line(key: &str, value: &str, end: &[u8]) -> Line {
    let mut raw = format!("{key}: {value}").into_bytes();
    raw.extend_from_slice(end);
    Line {
        raw,
        kind: Kind::Key {
            key: key.to_owned(),
            value: value.trim().to_owned(),
        },
    }
}

/// Undoes `encode_description`; what is no escape stays.
pub fn decode_description(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let pair = text
            .get(at + 1..at + 3)
            .and_then(|p| std::str::from_utf8(p).ok())
            .and_then(|p| u8::from_str_radix(p, 16).ok());
        match (text[at], pair) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                at += 3;
            }
            (byte, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes everything but printable ASCII without `%` and `:` (also newlines).
pub fn encode_description(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            0x20..=0x24 | 0x26..=0x39 | 0x3b..=0x7e => encoded.push(byte as char),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
