//! Lines of storage.cfg to sections, exactly as Proxmox reads them (pve-storage 1.1, 1.2); total, one pass, keeps no text.

use super::Problem;
use super::check::{Purpose, Settings, check_section};
use crate::format::storage_kind::table;
use crate::format::value::{self, PropertyType};
use crate::model::{StorageId, StorageKind};
use std::collections::BTreeSet;

/// A value Proxmox dropped; the text ends with its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblem {
    pub section: String,
    pub key: String,
    pub text: String,
}

/// One `key value` line of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Index of its line.
    pub line: usize,
    pub key: String,
    /// The text that counts; `None` when it was dropped.
    pub text: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawSection {
    /// Index of the header line.
    pub header: usize,
    /// Index behind the last line that belongs to the section (the empty line that ends it does not).
    pub end: usize,
    pub id: String,
    pub type_word: String,
    pub kind: Option<StorageKind>,
    pub entries: Vec<Entry>,
    /// First header inside the section that does not count because no empty line stands before it.
    pub swallowed: Option<usize>,
    /// `Err`: why the section cannot be used.
    pub settings: Result<Settings, String>,
    /// Not a section for Proxmox at all: bad ID or unknown type.
    pub skipped: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub sections: Vec<RawSection>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
    pub value_problems: Vec<ValueProblem>,
}

/// Perl's `\s` on bytes.
pub(super) fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let Some((last, rest)) = bytes.split_last()
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

fn leading_blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| is_blank(**b)).count()
}

/// The line without its newline (a carriage return stays).
pub(super) fn content(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Empty for Proxmox: also a line that is just `0`.
pub(super) fn ends_section(line: &[u8]) -> bool {
    matches!(content(line), b"" | b"0")
}

/// `TYPE: ID`, nothing before and nothing behind.
fn header(line: &[u8]) -> Option<(String, String)> {
    let line = trim_end(line);
    if line.is_empty() || is_blank(line[0]) {
        return None;
    }
    let (kind, id) = match line.iter().position(|b| is_blank(*b)) {
        Some(at) => {
            let id = &line[at + leading_blanks(&line[at..])..];
            let kind = line[..at].strip_suffix(b":")?;
            (kind, id)
        }
        // One word: the last colon that leaves something on its right.
        None => {
            let at = line[..line.len() - 1].iter().rposition(|b| *b == b':')?;
            (&line[..at], &line[at + 1..])
        }
    };
    if kind.is_empty() || id.iter().any(|b| is_blank(*b)) {
        return None;
    }
    Some((
        String::from_utf8_lossy(kind).to_ascii_lowercase(),
        String::from_utf8_lossy(id).into_owned(),
    ))
}

/// An indented `key` or `key value`.
fn body(line: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let start = leading_blanks(line);
    let rest = trim_end(&line[start..]);
    if start == 0 || rest.is_empty() {
        return None;
    }
    match rest.iter().position(|b| is_blank(*b)) {
        None => Some((rest, None)),
        Some(at) => Some((&rest[..at], Some(&rest[at + leading_blanks(&rest[at..])..]))),
    }
}

/// Where the value (or the key without one) begins, counted in characters from 1.
fn column_of(line: &[u8], part: &[u8]) -> usize {
    let at = part.as_ptr() as usize - line.as_ptr() as usize;
    String::from_utf8_lossy(&line[..at.min(line.len())])
        .chars()
        .count()
        + 1
}

struct Reader {
    out: Reading,
    open: Option<RawSection>,
    /// Line Proxmox names when the section ends.
    last_line: usize,
    /// Keys of the open section that have a value.
    taken: BTreeSet<String>,
    /// Names of the sections read so far.
    names: BTreeSet<String>,
}

pub(super) fn read(lines: &[Vec<u8>]) -> Reading {
    let mut reader = Reader {
        out: Reading::default(),
        open: None,
        last_line: 0,
        taken: BTreeSet::new(),
        names: BTreeSet::new(),
    };
    for (index, line) in lines.iter().enumerate() {
        reader.line(index, content(line));
    }
    reader.close();
    reader.out.problems.sort_by_key(|p| (p.line, p.column));
    reader.out
}

impl Reader {
    fn problem(&mut self, index: usize, column: usize, message: impl Into<String>) {
        self.out.problems.push(Problem {
            line: index + 1,
            column,
            message: message.into(),
        });
    }
    fn warn(&mut self, text: impl std::fmt::Display) {
        self.out.warnings.push(format!("{text}\n"));
    }

    fn line(&mut self, index: usize, line: &[u8]) {
        let first = line.get(leading_blanks(line));
        if first == Some(&b'#') {
            self.extend(index);
        } else if ends_section(line) {
            self.close();
        } else if self.open.is_some() {
            self.extend(index);
            self.inside(index, line);
        } else if let Some((type_word, id)) = header(line) {
            self.begin(index, type_word, id);
        } else {
            let shown = String::from_utf8_lossy(line);
            self.warn(format!(
                "file storage.cfg line {} - ignore config line: {shown}",
                index + 1
            ));
            let message = if first.is_none() {
                "blanks on a line between sections"
            } else {
                "line belongs to no section"
            };
            self.problem(index, leading_blanks(line).min(line.len()) + 1, message);
        }
    }

    fn extend(&mut self, index: usize) {
        if let Some(section) = &mut self.open {
            section.end = index + 1;
        }
    }

    fn begin(&mut self, index: usize, type_word: String, id: String) {
        self.last_line = index;
        self.taken.clear();
        let kind = StorageKind::parse(&type_word);
        let refusal = match StorageId::parse(&id) {
            Err(error) => Some(error.message().to_owned()),
            Ok(_) if kind.is_none() => Some(format!("unsupported type '{type_word}'")),
            Ok(_) => None,
        };
        if let Some(refusal) = &refusal {
            self.warn(format!(
                "file storage.cfg line {} (skip section '{id}'): {refusal}",
                index + 1
            ));
            self.problem(index, 1, format!("section '{id}' is not used: {refusal}"));
        }
        self.open = Some(RawSection {
            header: index,
            end: index + 1,
            id,
            type_word,
            kind,
            entries: Vec::new(),
            swallowed: None,
            skipped: refusal.is_some(),
            settings: refusal.map_or_else(|| Ok(Settings::new()), Err),
        });
    }

    /// A line of the open section.
    fn inside(&mut self, index: usize, line: &[u8]) {
        let Some(mut section) = self.open.take() else {
            return;
        };
        if header(line).is_some() && section.swallowed.is_none() {
            section.swallowed = Some(index);
        }
        match body(line) {
            Some((key, value)) if section.skipped => section.entries.push(Entry {
                line: index,
                key: String::from_utf8_lossy(key).into_owned(),
                text: Some(String::from_utf8_lossy(value.unwrap_or(b"")).into_owned()),
            }),
            _ if section.skipped => {}
            Some((key, value)) => {
                self.last_line = index;
                self.entry(&mut section, index, line, (key, value));
            }
            None => {
                self.last_line = index;
                self.warn(format!(
                    "file storage.cfg line {} (section '{}') - ignore config line: {}",
                    index + 1,
                    section.id,
                    String::from_utf8_lossy(line)
                ));
                let message = if header(line).is_some() {
                    format!(
                        "header is ignored: no empty line before it, so its lines count for section '{}'",
                        section.id
                    )
                } else if trim_end(line).is_empty() {
                    format!(
                        "blanks on the line: section '{}' does not end here",
                        section.id
                    )
                } else {
                    format!(
                        "line is ignored: lines of section '{}' must be indented",
                        section.id
                    )
                };
                self.problem(index, 1, message);
            }
        }
        self.open = Some(section);
    }

    fn entry(
        &mut self,
        section: &mut RawSection,
        index: usize,
        line: &[u8],
        (key_bytes, value_bytes): (&[u8], Option<&[u8]>),
    ) {
        let key = String::from_utf8_lossy(key_bytes).into_owned();
        let value = value_bytes.map(|v| String::from_utf8_lossy(v).into_owned());
        let duplicate = self.taken.contains(&key);
        // `type dir` inside a dir section is allowed and says nothing.
        let repeats_type = key == "type" && value.as_deref() == Some(section.type_word.as_str());
        let checked = if duplicate {
            Err("duplicate attribute".to_owned())
        } else if repeats_type {
            Ok(None)
        } else {
            section
                .kind
                .map_or(Ok(None), |kind| value_of(kind, &key, value).map(Some))
        };
        let text = match checked {
            Ok(text) => text,
            Err(text) => {
                self.warn(format!(
                    "file storage.cfg line {} (section '{}') - unable to parse value of '{key}': {text}",
                    index + 1,
                    section.id
                ));
                self.out.value_problems.push(ValueProblem {
                    section: section.id.clone(),
                    key: key.clone(),
                    text: format!("{text}\n"),
                });
                let column = column_of(line, value_bytes.unwrap_or(key_bytes));
                let shown = text.trim_end().replace('\n', ": ");
                self.problem(index, column, format!("'{key}' is ignored: {shown}"));
                None
            }
        };
        if text.is_some() {
            self.taken.insert(key.clone());
        }
        section.entries.push(Entry {
            line: index,
            key,
            text,
        });
    }

    fn close(&mut self) {
        let Some(mut section) = self.open.take() else {
            return;
        };
        if let (Some(kind), false) = (section.kind, section.skipped) {
            let config = section
                .entries
                .iter()
                .filter_map(|e| Some((e.key.clone(), e.text.clone()?)))
                .collect();
            let mut warnings = Vec::new();
            section.settings =
                check_section(kind, &section.id, config, Purpose::Whole, &mut warnings);
            for warning in warnings {
                self.problem(
                    section.header,
                    1,
                    format!("section '{}': {warning}", section.id),
                );
                self.warn(warning);
            }
            if let Err(reason) = &section.settings {
                self.warn(format!(
                    "file storage.cfg line {} (skip section '{}'): {reason}",
                    self.last_line + 1,
                    section.id
                ));
                self.problem(
                    section.header,
                    1,
                    format!("section '{}' cannot be used: {reason}", section.id),
                );
            }
        }
        if !section.skipped && !self.names.insert(section.id.clone()) {
            self.problem(
                section.header,
                1,
                format!(
                    "section '{}' replaces an earlier one of the same name",
                    section.id
                ),
            );
        }
        self.out.sections.push(section);
    }
}

/// The text of a property as it counts for this kind.
fn value_of(kind: StorageKind, key: &str, value: Option<String>) -> Result<String, String> {
    let Some(rule) = value::property_type(key) else {
        return Err("unknown property type".to_owned());
    };
    if table(kind).property(key).is_none() {
        return Err(format!("unexpected property '{key}'"));
    }
    let text = match value {
        Some(text) => text,
        None if rule == PropertyType::Boolean => "1".to_owned(),
        None => return Err("got undefined value".to_owned()),
    };
    if text.contains(['\n', '\r']) {
        return Err("property contains a line feed".to_owned());
    }
    value::check(rule, &text, "").map(|()| text)
}
