//! How Proxmox VE itself reads a VM config and would write it back (pve-vm 1.2-1.4): what it warns about is what it drops. Used to
//! show people what another program would make of their file; it never changes the document.

use super::{decode_description, encode_description};
use crate::format::drive::Drive;
use crate::format::property::scalar::boolean;
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
    let mut reading = Reading::default();
    let mut at = At::Main;
    for (index, line) in text.split('\n').enumerate() {
        let mut warn = |reading: &mut Reading, what: String| {
            reading
                .warnings
                .push((index + 1, format!("vm {vmid} - {what}")))
        };
        let body = line.trim_end();
        if body.trim().is_empty() {
            continue;
        }
        if let Some(name) = body.strip_prefix('[').and_then(|b| b.strip_suffix(']')) {
            at = enter(&mut reading, name, &mut warn);
            continue;
        }
        let (keys, is_pending, in_snapshot) = match &at {
            At::Main => (&mut reading.main, false, false),
            At::Pending => (&mut reading.pending, true, false),
            At::Special(kind) => (
                reading.special.entry(kind.clone()).or_default(),
                false,
                false,
            ),
            At::Snapshot(name) => (
                reading.snapshots.entry(name.clone()).or_default(),
                false,
                true,
            ),
            At::Skipped => continue,
        };
        let is_special = matches!(at, At::Special(_));
        if let Err(what) = take_line(keys, body, line, is_pending, in_snapshot, is_special) {
            warn(&mut reading, what);
        }
    }
    let all = std::iter::once(&mut reading.main)
        .chain([&mut reading.pending])
        .chain(reading.special.values_mut())
        .chain(reading.snapshots.values_mut());
    for keys in all {
        if let Some(text) = keys.get_mut("description") {
            *text = text.trim_end_matches('\n').to_owned();
            if text.is_empty() {
                keys.remove("description");
            }
        }
    }
    reading
}

fn enter(reading: &mut Reading, name: &str, warn: &mut dyn FnMut(&mut Reading, String)) -> At {
    let is_id = {
        let bytes = name.as_bytes();
        bytes.len() >= 2
            && bytes[0].is_ascii_alphabetic()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    if name.eq_ignore_ascii_case("pending") {
        if !std::mem::take(&mut reading.pending).is_empty() {
            warn(reading, "duplicate section: pending\n".to_owned());
        }
        return At::Pending;
    }
    if let Some(kind @ ("cloudinit" | "fleecing")) = name.strip_prefix("special:") {
        if reading
            .special
            .insert(kind.to_owned(), Keys::new())
            .is_some()
        {
            warn(reading, format!("duplicate special section: {kind}\n"));
        }
        return At::Special(kind.to_owned());
    }
    if is_id {
        if reading
            .snapshots
            .insert(name.to_owned(), Keys::new())
            .is_some()
        {
            warn(reading, format!("duplicate snapshot section: {name}\n"));
        }
        return At::Snapshot(name.to_owned());
    }
    warn(reading, format!("skipping unknown section: '{name}'\n"));
    At::Skipped
}

/// `Err`: the warning without its prefix; the line is dropped by the original.
fn take_line(
    keys: &mut Keys,
    body: &str,
    line: &str,
    is_pending: bool,
    in_snapshot: bool,
    is_special: bool,
) -> Result<(), String> {
    let unreadable = || {
        Err(format!(
            "unable to parse config: {}\n",
            line.trim_end_matches('\r')
        ))
    };
    let mut describe = |text: &str| {
        let lines = keys.entry("description".to_owned()).or_default();
        lines.push_str(&decode_description(text.as_bytes()));
        lines.push('\n');
    };
    if let Some(text) = body.strip_prefix('#') {
        describe(text);
        return Ok(());
    }
    let Some((key, rest)) = body
        .split_once(':')
        .filter(|(key, rest)| super::is_key(key) && !rest.trim().is_empty())
    else {
        return unreadable();
    };
    let value = rest.trim();
    match key {
        "description" => describe(value),
        "snapstate" => {
            if in_snapshot && matches!(value, "prepare" | "delete") {
                keys.insert(key.to_owned(), value.to_owned());
            }
        }
        "args" => {
            keys.insert(key.to_owned(), value.to_owned());
        }
        "delete" if is_pending => {
            keys.insert(key.to_owned(), value.to_owned());
        }
        "delete" => return Err("property 'delete' is only allowed in [PENDING]\n".to_owned()),
        _ if is_special => {
            keys.insert(key.to_owned(), value.to_owned());
        }
        "cdrom" => {
            keys.entry("ide2".to_owned())
                .or_insert_with(|| value.to_owned());
        }
        _ => {
            let kind = if key == "smp" {
                Some(KeyKind::Int)
            } else {
                vm_key::kind(key)
            };
            let Some(kind) = kind else {
                return Err(format!(
                    "unable to parse value of '{key}' - unknown setting '{key}'\n"
                ));
            };
            let stored = vm_key::check(kind, key, value)
                .map_err(|why| format!("unable to parse value of '{key}' - {why}"))?;
            keys.insert(key.to_owned(), stored);
        }
    }
    Ok(())
}

impl Reading {
    /// What the original writes for this reading.
    pub fn write(&self) -> String {
        let used: BTreeSet<String> = volumes(&self.main).chain(volumes(&self.pending)).collect();
        let mut main = self.main.clone();
        main.retain(|key, value| !key.starts_with("unused") || !used.contains(value));
        if let Some(smp) = main.remove("smp")
            && !main.contains_key("sockets")
        {
            main.insert("sockets".to_owned(), smp);
            main.remove("cores");
        }
        let mut out = section(&main);
        if !self.pending.is_empty() {
            out.push_str("\n[PENDING]\n");
            out.push_str(&section(&self.pending));
        }
        let has_cloudinit = main.iter().any(|(key, value)| {
            Slot::parse(key)
                .ok()
                .and_then(|slot| Drive::parse(slot, value).ok())
                .is_some_and(|d| d.is_cloudinit())
        });
        for (kind, keys) in &self.special {
            if !keys.is_empty() && (kind != "cloudinit" || has_cloudinit) {
                out.push_str(&format!("\n[special:{kind}]\n{}", section(keys)));
            }
        }
        for (name, keys) in &self.snapshots {
            out.push_str(&format!("\n[{name}]\n{}", section(keys)));
        }
        out
    }
}

fn section(keys: &Keys) -> String {
    let mut out = String::new();
    for line in keys
        .get("description")
        .into_iter()
        .flat_map(|text| text.split('\n'))
    {
        out.push_str(&format!("#{}\n", encode_description(line)));
    }
    for (key, value) in keys.iter().filter(|(key, _)| *key != "description") {
        out.push_str(&format!("{key}: {value}\n"));
    }
    out
}

/// Volumes of drives other than unused ones.
fn volumes(keys: &Keys) -> impl Iterator<Item = String> {
    keys.iter().filter_map(|(key, value)| {
        let slot = Slot::parse(key).ok().filter(|s| !s.is_unused())?;
        let drive = Drive::parse(slot, value).ok()?;
        drive.volume().map(ToString::to_string)
    })
}

/// Whether a key's value is a number or boolean in the original's memory.
pub fn is_numeric(key: &str, value: &str) -> bool {
    let kind = if key == "smp" {
        Some(KeyKind::Int)
    } else {
        vm_key::kind(key)
    };
    match kind {
        Some(KeyKind::Bool) => boolean(value).is_some(),
        Some(KeyKind::Int) => value.parse::<i64>().is_ok(),
        _ => false,
    }
}
