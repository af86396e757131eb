//! A VM config as a lossless document (pve-vm 1.1-1.4): keys, sections and lines we do not understand stay in place; changing
//! one key changes one line. It never checks whether a change makes sense.

pub mod description;
mod line;
pub mod merge;
pub mod original;

pub use description::{decode_description, encode_description};

use super::drive::Drive;
use super::property::is_space;
pub use super::storage_cfg::{Problem, digest};
use super::vm_key;
use crate::model::{Error, Result, Slot, SnapshotName, VmId};
use line::{Kind, Line};
use std::collections::{BTreeMap, HashSet};
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
        .rposition(|b| !is_space(*b))
        .map_or(0, |at| at + 1);
    &raw[..end]
}

/// Without white space at the end, as the original sees it (no Unicode blanks).
pub(crate) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(|c: char| u8::try_from(c).is_ok_and(is_space))
}

fn trim(text: &str) -> &str {
    trim_end(text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space)))
}

/// A line that starts a section (pve-vm 1.2, rules 2 to 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SectionLine {
    Pending,
    Special(String),
    Snapshot(String),
    Unknown(String),
}

/// `None`: an ordinary line, also when it starts with `[` but is no `[name]`.
pub(crate) fn section_line(raw: &[u8]) -> Option<SectionLine> {
    let inner = trimmed(raw).strip_prefix(b"[")?.strip_suffix(b"]")?;
    if inner.contains(&b']') {
        return None;
    }
    let name = String::from_utf8_lossy(inner).into_owned();
    let is_id = inner.len() >= 2
        && inner[0].is_ascii_alphabetic()
        && inner
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    Some(if name.eq_ignore_ascii_case("pending") {
        SectionLine::Pending
    } else if let Some(kind @ ("cloudinit" | "fleecing")) = name.strip_prefix("special:") {
        SectionLine::Special(kind.to_owned())
    } else if is_id {
        SectionLine::Snapshot(name)
    } else {
        SectionLine::Unknown(name)
    })
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

impl VmConfig {
    /// Never fails: see `problems` for what was not understood (kept all the same).
    pub fn parse(bytes: &[u8]) -> Self {
        let mut parts = vec![Part {
            section: Some(Section::Main),
            header: Vec::new(),
            lines: Vec::new(),
        }];
        let mut problems = Vec::new();
        let mut seen = HashSet::new();
        let text: Arc<[u8]> = bytes.into();
        let mut next = 0;
        for (index, raw) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            let start = next;
            next += raw.len() as u32;
            if let Some(line) = section_line(raw) {
                let (section, message) = place(line);
                let again = section.clone().is_some_and(|s| !seen.insert(s));
                let message = match again {
                    true => {
                        Some("a second section of this name; the first one does not count".into())
                    }
                    false => message,
                };
                problems.extend(message.map(|m| problem(index, 1, &m)));
                parts.push(Part {
                    section,
                    header: raw.to_vec(),
                    lines: Vec::new(),
                });
                continue;
            }
            if let Some(part) = parts.last_mut() {
                let line = Line::within(&text, start, next);
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
        self.part(section)?
            .lines
            .iter()
            .rev()
            .find_map(|line| line.pair().filter(|(k, _)| *k == key))
            .map(|(_, value)| value.to_owned())
    }

    /// Keys and values of a section as they stand, in file order, duplicates included.
    pub fn pairs(&self, section: &Section) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.part(section).map(|p| p.lines.as_slice());
        lines.unwrap_or_default().iter().filter_map(Line::pair)
    }

    /// Every section with a readable name, in file order; the main one first.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.parts.iter().filter_map(|p| p.section.as_ref())
    }

    /// Effective keys, sorted bytewise, without `description`.
    pub fn entries(&self, section: &Section) -> Vec<(String, String)> {
        let kept = self.pairs(section).filter(|(key, _)| *key != "description");
        let map: BTreeMap<&str, &str> = kept.collect();
        map.into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The line end that new lines of the file get: that of its first line.
    fn new_line_end(&self) -> &'static [u8] {
        let first = self
            .parts
            .iter()
            .flat_map(|p| std::iter::once(p.header.as_slice()).chain(p.lines.iter().map(Line::raw)))
            .find(|raw| !raw.is_empty());
        match first {
            Some(raw) if raw.ends_with(b"\r\n") => b"\r\n",
            _ => b"\n",
        }
    }

    /// Replaces the line of `key` or inserts it where the writer would put it; creates the section when missing.
    /// `value` must not hold a newline.
    pub fn set(&mut self, section: &Section, key: &str, value: &str) {
        let value: String = value.chars().filter(|c| *c != '\n' && *c != '\r').collect();
        if self.part(section).is_none() {
            self.add_part(section);
        }
        let new_end = self.new_line_end();
        let Some(part) = self.part_mut(section) else {
            return;
        };
        let found = part.lines.iter().rposition(|l| l.is_key(key));
        if let Some(at) = found {
            let line = key_line(key, &value, line_end(part.lines[at].raw()));
            part.lines[at] = line;
            return;
        }
        let after = part
            .lines
            .iter()
            .rposition(|l| l.kind == Kind::Description || l.pair().is_some_and(|(k, _)| k < key));
        let at = after.map_or(0, |at| at + 1);
        match at.checked_sub(1) {
            Some(last) => part.lines[last].finish(new_end),
            None => finish_line(&mut part.header, new_end),
        }
        part.lines.insert(at, key_line(key, &value, new_end));
    }

    /// Behind main, special sections behind pending, snapshots by name; a blank line apart from what is before.
    fn add_part(&mut self, section: &Section) {
        let name = match section {
            Section::Main => return,
            Section::Pending => "PENDING".to_owned(),
            Section::Special(kind) => format!("special:{kind}"),
            Section::Snapshot(name) => name.clone(),
        };
        let end = self.new_line_end();
        let at = self
            .parts
            .iter()
            .position(|p| p.section.as_ref().is_some_and(|s| s > section))
            .unwrap_or(self.parts.len());
        let blank = || Line::new(end.to_vec());
        if let Some(before) = at.checked_sub(1).and_then(|i| self.parts.get_mut(i)) {
            match before.lines.last_mut() {
                Some(line) => line.finish(end),
                None => finish_line(&mut before.header, end),
            }
            // The original writes this blank line even when nothing is before it.
            if before.lines.last().is_none_or(|l| l.kind != Kind::Blank) {
                before.lines.push(blank());
            }
        }
        let lines = if at == self.parts.len() {
            Vec::new()
        } else {
            vec![blank()]
        };
        let mut header = format!("[{name}]").into_bytes();
        header.extend_from_slice(end);
        self.parts.insert(
            at,
            Part {
                section: Some(section.clone()),
                header,
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

    /// Lines joined with newlines, white space at the end trimmed; `None` when there is none or it is empty.
    pub fn description(&self, section: &Section) -> Option<String> {
        let part = self.part(section)?;
        let mut text = String::new();
        for line in &part.lines {
            if line.kind == Kind::Description {
                let raw = line.raw().strip_suffix(b"\n").unwrap_or(line.raw());
                let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
                text.push_str(&decode_description(&raw[1..]));
                text.push('\n');
            } else if let Some(("description", value)) = line.pair() {
                text.push_str(&decode_description(value.as_bytes()));
            }
        }
        let kept = trim_end(&text);
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    /// `None` or an empty text removes it.
    pub fn set_description(&mut self, section: &Section, text: Option<&str>) {
        let text = text.map(trim_end).filter(|t| !t.is_empty());
        if self.part(section).is_none() {
            if text.is_none() {
                return;
            }
            self.add_part(section);
        }
        let end = self.new_line_end();
        let Some(part) = self.part_mut(section) else {
            return;
        };
        part.lines
            .retain(|l| l.kind != Kind::Description && !l.is_key("description"));
        if text.is_some() {
            finish_line(&mut part.header, end);
        }
        let new = text.into_iter().flat_map(|t| t.split('\n')).map(|line| {
            let mut raw = format!("#{}", encode_description(line)).into_bytes();
            raw.extend_from_slice(end);
            Line::new(raw)
        });
        part.lines.splice(0..0, new);
    }

    pub fn has_section(&self, section: &Section) -> bool {
        self.part(section).is_some()
    }

    /// Every section of that name; the main part stays.
    pub fn remove_section(&mut self, section: &Section) -> bool {
        let before = self.parts.len();
        let is_it = |p: &Part| p.section.as_ref() == Some(section) && *section != Section::Main;
        let was_last = self.parts.last().is_some_and(is_it);
        self.parts.retain(|p| !is_it(p));
        if self.parts.len() == before {
            return false;
        }
        // The blank line that set the last section apart goes with it.
        if let Some(part) = self.parts.last_mut().filter(|_| was_last)
            && part.lines.last().is_some_and(|l| l.kind == Kind::Blank)
        {
            part.lines.pop();
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
                let slot = Slot::from_key(&key)?;
                Some((slot, Drive::parse(slot, &value).ok()?))
            })
            .collect();
        drives.sort_by_key(|(slot, _)| *slot);
        drives
    }

    /// What Proxmox itself would write for this content; what it does not understand is missing there.
    pub fn canonical(&self) -> Vec<u8> {
        original::read(&self.to_bytes(), "").write().into_bytes()
    }

    /// What Proxmox's strict mode (remote migration) writes, or the sentence it stops with.
    pub fn strict(&self, vmid: VmId) -> Result<Vec<u8>> {
        let reading = original::read(&self.to_bytes(), &vmid.to_string());
        match reading.warnings.first() {
            Some((_, warning)) => Err(Error::usage(trim_end(warning))),
            None => Ok(reading.write().into_bytes()),
        }
    }
}

/// The section a line starts (`None`: one that readers skip), and what is wrong with it.
fn place(line: SectionLine) -> (Option<Section>, Option<String>) {
    match line {
        SectionLine::Pending => (Some(Section::Pending), None),
        SectionLine::Special(kind) => (Some(Section::Special(kind)), None),
        SectionLine::Snapshot(name) => {
            let message = SnapshotName::parse(&name)
                .err()
                .map(|e| e.message().to_owned());
            (Some(Section::Snapshot(name)), message)
        }
        SectionLine::Unknown(_) => (None, Some("unknown section".to_owned())),
    }
}

/// Values are checked in the sections that say what the machine is now; those of a snapshot when it is used.
fn line_problem(index: usize, line: &Line, section: Option<&Section>) -> Option<Problem> {
    let section = section?;
    if line.kind == Kind::Odd {
        return Some(problem(index, 1, "unable to parse line"));
    }
    let (key, value) = line.pair()?;
    let is_now = matches!(section, Section::Main | Section::Pending);
    if !is_now || (key == "delete" && *section == Section::Pending) {
        return None;
    }
    let error = match Slot::parse(key) {
        Ok(slot) => Drive::parse(slot, value).err()?,
        Err(_) => vm_key::check_value(key, value).err()?,
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

/// Ends the last line of a file that has no line end there; of a cut `\r\n` only the missing half is added.
fn finish_line(raw: &mut Vec<u8>, end: &[u8]) {
    match raw.last() {
        None | Some(b'\n') => {}
        Some(b'\r') => raw.push(b'\n'),
        Some(_) => raw.extend_from_slice(end),
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

#[cfg(test)]
mod tests;
