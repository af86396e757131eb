//! A VM config as a lossless document (pve-vm 1.1-1.4): keys, sections and lines we do not understand stay in place; changing
//! one key changes one line. It never checks whether a change makes sense.

pub mod original;

use super::drive::Drive;
pub use super::storage_cfg::{Problem, digest};
use super::vm_key;
use crate::model::{Slot, SnapshotName};
use std::collections::HashSet;
use std::sync::Arc;

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    Main,
    Pending,
    /// `[special:cloudinit]`, `[special:fleecing]`.
    Special(String),
    Snapshot(String),
}

/// What a line is; places count from the line's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    /// `#text`: a line of the description.
    Description,
    Key {
        key_end: u32,
        value_start: u32,
        value_end: u32,
    },
    /// Kept, not understood.
    Odd,
}

/// A line with its end, exactly as in the file: a range of a shared text, so that reading and copying a config allocates little.
#[derive(Debug, Clone)]
struct Line {
    text: Arc<[u8]>,
    start: u32,
    end: u32,
    kind: Kind,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}
impl Eq for Line {}

impl Line {
    fn new(raw: Vec<u8>) -> Self {
        let (end, kind) = (raw.len() as u32, line_kind(&raw));
        Line {
            text: raw.into(),
            start: 0,
            end,
            kind,
        }
    }
    fn raw(&self) -> &[u8] {
        &self.text[self.start as usize..self.end as usize]
    }
    /// Key and value, where the line is one.
    fn pair(&self) -> Option<(&str, &str)> {
        let Kind::Key {
            key_end,
            value_start,
            value_end,
        } = self.kind
        else {
            return None;
        };
        let part =
            |from: u32, to: u32| std::str::from_utf8(&self.raw()[from as usize..to as usize]).ok();
        Some((part(0, key_end)?, part(value_start, value_end)?))
    }
    fn is_key(&self, key: &str) -> bool {
        self.pair().is_some_and(|(k, _)| k == key)
    }
    fn ends(&self) -> bool {
        self.raw().ends_with(b"\n")
    }
    /// The same line with an end.
    fn ended(&self) -> Line {
        Line::new([self.raw(), b"\n"].concat())
    }
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
        Some((key, rest)) if is_key(key) && !rest.trim().is_empty() => {
            let value_start = key.len() + 1 + (rest.len() - rest.trim_start().len());
            Kind::Key {
                key_end: key.len() as u32,
                value_start: value_start as u32,
                value_end: (value_start + rest.trim().len()) as u32,
            }
        }
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
        let text: Arc<[u8]> = bytes.into();
        let mut start = 0;
        for (index, raw) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let end = start + raw.len() as u32;
            let from = std::mem::replace(&mut start, end);
            let body = trimmed(raw);
            if body.first() == Some(&b'[') {
                let section = std::str::from_utf8(body).ok().and_then(header_of).flatten();
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
            let line = Line {
                text: Arc::clone(&text),
                start: from,
                end,
                kind: line_kind(raw),
            };
            if let Some(part) = parts.last_mut() {
                problems.extend(line_problem(index, &line, part.section.as_ref()));
                part.lines.push(line);
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
                bytes.extend_from_slice(line.raw());
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
        self.part(section)?.lines.iter().rev().find_map(|line| {
            line.pair()
                .filter(|(k, _)| *k == key)
                .map(|(_, value)| value.to_owned())
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
            if let Some((key, value)) = line.pair().filter(|(key, _)| *key != "description") {
                map.insert(key.to_owned(), value.to_owned());
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
        let found = part.lines.iter().rposition(|l| l.is_key(key));
        match found {
            Some(at) => {
                let line = key_line(key, &value, line_end(part.lines[at].raw()));
                part.lines[at] = line;
            }
            None => {
                let after = part.lines.iter().rposition(|l| {
                    l.kind == Kind::Description || l.pair().is_some_and(|(k, _)| k < key)
                });
                let at = after.map_or(0, |at| at + 1);
                if at > 0
                    && let Some(line) = part.lines.get_mut(at - 1)
                    && !line.ends()
                {
                    *line = line.ended();
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
            let text = before
                .lines
                .last()
                .map_or(before.header.as_slice(), Line::raw);
            let (ends, empty) = (
                text.is_empty() || text.ends_with(b"\n"),
                before.lines.is_empty() && before.header.is_empty(),
            );
            if !ends {
                match before.lines.last_mut() {
                    Some(line) => *line = line.ended(),
                    None => before.header.push(b'\n'),
                }
            }
            if !empty && before.lines.last().is_none_or(|l| l.kind != Kind::Blank) {
                before.lines.push(Line::new(b"\n".to_vec()));
            }
        }
        let last = at == self.parts.len();
        let mut lines = Vec::new();
        if !last {
            lines.push(Line::new(b"\n".to_vec()));
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
        part.lines.retain(|l| !l.is_key(key));
        part.lines.len() != before
    }

    pub fn description(&self, section: &Section) -> Option<String> {
        let part = self.part(section)?;
        let mut text = String::new();
        for line in &part.lines {
            let encoded = match line.pair() {
                Some(("description", value)) => value.as_bytes(),
                _ if line.kind == Kind::Description => &trimmed(line.raw())[1..],
                _ => continue,
            };
            text.push_str(&decode_description(encoded));
            text.push('\n');
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
        part.lines
            .retain(|l| l.kind != Kind::Description && !l.is_key("description"));
        let lines = text
            .filter(|t| !t.is_empty())
            .map(|t| t.trim_end_matches('\n').split('\n').collect::<Vec<_>>());
        for (at, line) in lines.unwrap_or_default().into_iter().enumerate() {
            let raw = format!("#{}\n", encode_description(line)).into_bytes();
            part.lines.insert(at, Line::new(raw));
        }
    }

    pub fn has_section(&self, section: &Section) -> bool {
        self.part(section).is_some()
    }

    pub fn remove_section(&mut self, section: &Section) -> bool {
        let before = self.parts.len();
        let was_last = self.parts.last().and_then(|p| p.section.as_ref()) == Some(section);
        self.parts
            .retain(|p| p.section.as_ref() != Some(section) || *section == Section::Main);
        if self.parts.len() == before {
            return false;
        }
        // The blank line that separated the last section goes with it.
        if let Some(part) = self.parts.last_mut().filter(|_| was_last) {
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
        let mut seen = HashSet::new();
        names.filter(|name| seen.insert(name.clone())).collect()
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
fn line_problem(index: usize, line: &Line, section: Option<&Section>) -> Option<Problem> {
    let section = section?;
    if line.kind == Kind::Odd {
        return Some(problem(index, 1, "unable to parse line"));
    }
    let (key, value) = line.pair()?;
    let is_delete = key == "delete" && *section == Section::Pending;
    if is_delete
        || matches!(key, "cdrom" | "smp")
        || !matches!(section, Section::Main | Section::Pending)
    {
        return None;
    }
    let error = match vm_key::check_value(key, value) {
        Err(error) => error,
        Ok(_) => Drive::parse(Slot::parse(key).ok()?, value).err()?,
    };
    Some(problem(index, key.len() + 3, error.message()))
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
    Line::new([format!("{key}: {value}").as_bytes(), end].concat())
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
