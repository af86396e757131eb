//! How Proxmox VE itself reads a VM config and would write it back (pve-vm 1.2-1.4): what it warns about is what it drops. Used to
//! show people what another program would make of their file; it never changes the document.
//!
//! One difference is on purpose: `snapstate:` counts only at the start of a line, so a value that contains those words stays.

use super::{SectionLine, decode_description, encode_description, is_key, section_line, trim_end};
use crate::format::drive::{Drive, DriveFile};
use crate::format::property::{is_space, scalar};
use crate::format::vm_key::{self, KeyKind};
use crate::model::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// Keys and stored values of one section.
pub type Keys = BTreeMap<String, String>;

/// A config as the original holds it in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    pub main: Keys,
    pub pending: Keys,
    pub special: BTreeMap<String, Keys>,
    pub snapshots: BTreeMap<String, Keys>,
    /// With 1-based line numbers; each is also the strict mode's error.
    pub warnings: Vec<(usize, String)>,
}

/// Where the reader stands.
#[derive(Clone, PartialEq, Eq)]
enum At {
    Main,
    Pending,
    Special(String),
    Snapshot(String),
    Skipped,
}

/// Total: any bytes give a reading.
pub fn read(bytes: &[u8], vmid: &str) -> Reading {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader {
        reading: Reading::default(),
        at: At::Main,
        has_pending: false,
        description: None,
    };
    for (index, line) in text.split('\n').enumerate() {
        if let Err(what) = reader.line(line) {
            let warning = format!("vm {vmid} - {what}");
            reader.reading.warnings.push((index + 1, warning));
        }
    }
    reader.finish_description();
    reader.reading.main.remove("snapstate");
    reader.reading
}

struct Reader {
    reading: Reading,
    at: At,
    has_pending: bool,
    /// Of the section at hand, as far as read.
    description: Option<String>,
}

impl Reader {
    fn keys(&mut self) -> Option<&mut Keys> {
        match &self.at {
            At::Main => Some(&mut self.reading.main),
            At::Pending => Some(&mut self.reading.pending),
            At::Special(kind) => self.reading.special.get_mut(kind),
            At::Snapshot(name) => self.reading.snapshots.get_mut(name),
            At::Skipped => None,
        }
    }

    fn finish_description(&mut self) {
        let Some(text) = self.description.take() else {
            return;
        };
        let text = trim_end(&text).to_owned();
        if let Some(keys) = self.keys() {
            keys.insert("description".to_owned(), text);
        }
    }

    /// `Err`: the warning without its prefix; the line is dropped by the original.
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.bytes().all(is_space) {
            return Ok(());
        }
        if let Some(section) = section_line(line.as_bytes()) {
            self.finish_description();
            return self.enter(section);
        }
        if self.at == At::Skipped {
            return Ok(());
        }
        if let Some(text) = line.strip_prefix('#') {
            let description = self.description.get_or_insert_default();
            description.push_str(&decode_description(text.as_bytes()));
            description.push('\n');
            return Ok(());
        }
        match key_value(line) {
            Some((key, value)) => self.key(key, value),
            None => Err(format!("unable to parse config: {line}\n")),
        }
    }

    /// A section that was there before starts anew.
    fn enter(&mut self, section: SectionLine) -> Result<(), String> {
        let (at, seen) = match section {
            SectionLine::Pending => {
                self.reading.pending.clear();
                let seen = std::mem::replace(&mut self.has_pending, true);
                (
                    At::Pending,
                    seen.then(|| "duplicate section: pending\n".to_owned()),
                )
            }
            SectionLine::Special(kind) => {
                let old = self.reading.special.insert(kind.clone(), Keys::new());
                let warning = old.map(|_| format!("duplicate special section: {kind}\n"));
                (At::Special(kind), warning)
            }
            SectionLine::Snapshot(name) => {
                let old = self.reading.snapshots.insert(name.clone(), Keys::new());
                let warning = old.map(|_| format!("duplicate snapshot section: {name}\n"));
                (At::Snapshot(name), warning)
            }
            SectionLine::Unknown(name) => (
                At::Skipped,
                Some(format!("skipping unknown section: '{name}'\n")),
            ),
        };
        self.at = at;
        seen.map_or(Ok(()), Err)
    }

    fn key(&mut self, key: &str, value: &str) -> Result<(), String> {
        let blank = value.bytes().all(is_space);
        let stored = match key {
            "description" if !blank => {
                // No line end here: what follows continues the line.
                let text = decode_description(value.as_bytes());
                self.description.get_or_insert_default().push_str(&text);
                return Ok(());
            }
            "snapstate" if matches!(value, "prepare" | "delete") => value.to_owned(),
            "args" if !blank => value.to_owned(),
            "delete" if !blank && self.at == At::Pending => value.to_owned(),
            "delete" if !blank => {
                return Err("property 'delete' is only allowed in [PENDING]\n".to_owned());
            }
            _ => self
                .checked(key, value)
                .map_err(|why| format!("unable to parse value of '{key}' - {why}"))?,
        };
        let key = if key == "cdrom" && !matches!(self.at, At::Special(_)) {
            "ide2"
        } else {
            key
        };
        if let Some(keys) = self.keys() {
            keys.insert(key.to_owned(), stored);
        }
        Ok(())
    }

    fn checked(&self, key: &str, value: &str) -> Result<String, String> {
        match &self.at {
            At::Special(kind) if kind == "cloudinit" => Ok(value.to_owned()),
            At::Special(_) if key == "fleecing-images" => {
                scalar::check_bare("pve-volume-id-list", value).map(|()| value.to_owned())
            }
            At::Special(_) => Err(format!("unknown setting '{key}'\n")),
            _ => {
                let kind = vm_key::kind(key).ok_or_else(|| format!("unknown setting '{key}'\n"))?;
                vm_key::check(kind, key, value)
            }
        }
    }
}

/// `key: value`; a value of blanks alone counts as one blank.
fn key_value(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line
        .split_once(':')
        .filter(|(key, rest)| is_key(key) && !rest.is_empty())?;
    let start = rest.bytes().take_while(|b| is_space(*b)).count();
    if start == rest.len() {
        return Some((key, &rest[start - 1..]));
    }
    Some((key, trim_end(&rest[start..])))
}

impl Reading {
    /// What the original writes for this reading.
    pub fn write(&self) -> String {
        let used: BTreeSet<String> = files(&self.main).chain(files(&self.pending)).collect();
        let mut main = self.main.clone();
        main.retain(|key, value| !key.starts_with("unused") || !used.contains(value));
        if let Some(smp) = main.remove("smp")
            && main.get("sockets").is_none_or(|sockets| sockets == "0")
            && smp != "0"
        {
            main.insert("sockets".to_owned(), smp);
            main.remove("cores");
        }
        let mut out = section(&main, false);
        if !self.pending.is_empty() {
            out.push_str("\n[PENDING]\n");
            out.push_str(&section(&self.pending, true));
        }
        let has_cloudinit = files(&main).any(|file| is_cloudinit_file(&file));
        for (kind, keys) in &self.special {
            if kind != "cloudinit" || has_cloudinit {
                out.push_str(&format!("\n[special:{kind}]\n{}", section(keys, false)));
            }
        }
        for (name, keys) in &self.snapshots {
            out.push_str(&format!("\n[{name}]\n{}", section(keys, false)));
        }
        out
    }
}

/// The original takes the description `0` for none.
fn section(keys: &Keys, is_pending: bool) -> String {
    let mut out = String::new();
    match keys.get("description").map(String::as_str) {
        None => {}
        Some("" | "0") if is_pending => out.push_str("#\n"),
        Some("" | "0") => {}
        Some(text) => text
            .split('\n')
            .for_each(|line| out.push_str(&format!("#{}\n", encode_description(line)))),
    }
    for (key, value) in keys.iter().filter(|(key, _)| *key != "description") {
        out.push_str(&format!("{key}: {value}\n"));
    }
    out
}

/// What drives other than unused ones name.
fn files(keys: &Keys) -> impl Iterator<Item = String> {
    keys.iter().filter_map(|(key, value)| {
        let slot = Slot::from_key(key).filter(|s| !s.is_unused())?;
        match Drive::parse(slot, value).ok()?.file {
            DriveFile::Volume(volume) => Some(volume.to_string()),
            DriveFile::Path(path) => Some(path),
            DriveFile::Empty | DriveFile::HostCdrom => None,
        }
    })
}

/// `store:vm-100-cloudinit`, `dir:100/vm-100-cloudinit.qcow2`, `store:cloudinit`.
fn is_cloudinit_file(file: &str) -> bool {
    let leaf = file.rsplit([':', '/']).next().unwrap_or(file);
    let (stem, extension) = leaf
        .split_once('.')
        .map_or((leaf, None), |(stem, extension)| (stem, Some(extension)));
    let owned = stem
        .strip_prefix("vm-")
        .and_then(|rest| rest.strip_suffix("-cloudinit"))
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
    let formats = ["raw", "qcow", "qcow2", "qed", "vmdk", "cloop"];
    (owned || stem == "cloudinit") && extension.is_none_or(|e| formats.contains(&e))
}

/// Whether a key's value is a number or boolean in the original's memory.
pub fn is_numeric(key: &str, value: &str) -> bool {
    match vm_key::kind(key) {
        Some(KeyKind::Bool) => scalar::boolean(value).is_some(),
        Some(KeyKind::Int) => value.parse::<i64>().is_ok(),
        _ => false,
    }
}
