//! Adding, changing and removing storages: each touches its own lines only and is read back before it counts; no I/O.

use super::check::{Purpose, Settings, check_section, is_secret, refuse_parameters, unwritable};
use super::read::{RawSection, content, ends_section, is_blank};
use super::view::{LOCAL, counting, implied_local, is_true_local};
use super::{Setting, StorageCfg, print};
use crate::format::storage_kind::table;
use crate::model::{Error, Result, StorageId, StorageKind};

type Pairs = [(String, String)];

pub(super) fn add(
    cfg: &mut StorageCfg,
    id: &StorageId,
    kind: StorageKind,
    properties: &Pairs,
) -> Result<()> {
    refuse_parameters(properties, false)?;
    let config: Vec<(String, String)> = properties
        .iter()
        .filter(|(key, text)| !(is_secret(kind, key) || key == "nodes" && text.is_empty()))
        .cloned()
        .collect();
    let settings = check_section(kind, id.as_str(), config, Purpose::Whole, &mut Vec::new())
        .map_err(Error::usage)?;
    if cfg.sections().iter().any(|s| s.id == *id) {
        return Err(Error::conflict(format!(
            "storage ID '{id}' already defined"
        )));
    }
    writable(&settings)?;
    let mut lines = cfg.lines.clone();
    append(&mut lines, &print::section(kind, id.as_str(), &settings));
    accept(cfg, lines, id, &settings, &[])
}

/// Puts a section behind the last line, with an empty line between.
fn append(lines: &mut Vec<Vec<u8>>, text: &str) {
    if let Some(last) = lines.last_mut() {
        if !last.ends_with(b"\n") {
            last.push(b'\n');
        }
        if !ends_section(last) {
            lines.push(b"\n".to_vec());
        }
    }
    lines.extend(text.split_inclusive('\n').map(|l| l.as_bytes().to_vec()));
}

fn writable(settings: &Settings) -> Result<()> {
    settings
        .iter()
        .find_map(|(key, value)| unwritable(key, &value.text(key)))
        .map_or(Ok(()), Err)
}

/// The section of this name that counts, if it can be edited.
fn editable<'a>(cfg: &'a StorageCfg, id: &StorageId) -> Result<&'a RawSection> {
    let sections = &cfg.reading.sections;
    let found = counting(&cfg.reading)
        .into_iter()
        .find(|s| s.id == id.as_str());
    let Some(section) = found else {
        let missing = Error::not_found(format!("storage '{id}' does not exist"));
        return Err(match sections.iter().find(|s| s.id == id.as_str()) {
            Some(unknown) => missing.hint(format!(
                "line {} has a section of that name with the unknown type '{}'; it is kept as it is",
                unknown.header + 1,
                unknown.type_word
            )),
            None => missing,
        });
    };
    whole(section)?;
    Ok(section)
}

/// Refuses a section that holds the lines of another one: an edit would hit both.
fn whole(section: &RawSection) -> Result<()> {
    match section.swallowed {
        None => Ok(()),
        Some(line) => Err(Error::conflict(format!(
            "section '{}' of storage.cfg also holds line {}, a header without an empty line before it",
            section.id,
            line + 1
        ))
        .hint(format!(
            "put an empty line (no blanks, no carriage return) before line {}",
            line + 1
        ))),
    }
}

pub(super) fn set(
    cfg: &mut StorageCfg,
    id: &StorageId,
    properties: &Pairs,
    delete: &[String],
) -> Result<()> {
    refuse_parameters(properties, true)?;
    let mut work = cfg.clone();
    let in_file = counting(&cfg.reading)
        .into_iter()
        .find(|s| s.id == id.as_str());
    if id.as_str() == LOCAL {
        match in_file {
            None => {
                let mut lines = work.lines.clone();
                let text = print::section(StorageKind::Dir, LOCAL, &implied_local());
                append(&mut lines, &text);
                work = StorageCfg::from_lines(lines);
            }
            Some(section) if !is_true_local(section) => {
                return Err(Error::conflict(
                    "section 'local' of storage.cfg is not 'dir' with path /var/lib/vz, so it does not count",
                )
                .hint(format!(
                    "rename the section at line {} or give it the path /var/lib/vz",
                    section.header + 1
                )));
            }
            Some(_) => {}
        }
    }
    let section = editable(&work, id)?;
    let kind = section
        .kind
        .ok_or_else(|| Error::not_found(format!("storage '{id}' does not exist")))?;
    let (changes, gone) = changes(kind, id, properties, delete)?;
    let mut lines = work.lines.clone();
    let plan = plan_lines(&lines, section, kind, &changes, &gone);
    apply(&mut lines, plan);
    accept(cfg, lines, id, &changes, &gone)
}

/// Checked new values, and the keys whose lines go.
fn changes(
    kind: StorageKind,
    id: &StorageId,
    properties: &Pairs,
    delete: &[String],
) -> Result<(Settings, Vec<String>)> {
    let config: Vec<(String, String)> = properties
        .iter()
        .filter(|(key, _)| !is_secret(kind, key))
        .cloned()
        .collect();
    let mut settings = check_section(kind, id.as_str(), config, Purpose::Change, &mut Vec::new())
        .map_err(Error::usage)?;
    let mut gone = Vec::new();
    for key in delete {
        let property = table(kind)
            .property(key)
            .ok_or_else(|| Error::usage(format!("no such option '{}'", key.escape_debug())))?;
        if property.required {
            return Err(Error::usage(format!(
                "unable to delete required option '{key}'"
            )));
        }
        if property.fixed {
            return Err(Error::usage(format!(
                "unable to delete fixed option '{key}'"
            )));
        }
        if settings.iter().any(|(k, _)| k == key) {
            return Err(Error::usage(format!(
                "cannot set and delete property '{key}' at the same time!"
            )));
        }
        gone.push(key.clone());
    }
    // No line at all says the same: not disabled, all nodes.
    settings.retain(|(key, value)| {
        let no_line = (key == "disable" && *value == Setting::Flag(false))
            || (key == "nodes" && value.text(key).is_empty());
        if no_line {
            gone.push(key.clone());
        }
        !no_line
    });
    writable(&settings)?;
    Ok((settings, gone))
}

/// What happens to single lines, by index in the old file.
enum LineChange {
    Replace(usize, Vec<u8>),
    InsertBefore(usize, Vec<u8>),
    Remove(usize),
}

fn plan_lines(
    lines: &[Vec<u8>],
    section: &RawSection,
    kind: StorageKind,
    changes: &Settings,
    gone: &[String],
) -> Vec<LineChange> {
    let mut plan: Vec<LineChange> = section
        .entries
        .iter()
        .filter(|e| gone.contains(&e.key))
        .map(|e| LineChange::Remove(e.line))
        .collect();
    let current = |key: &str| {
        let settings = section.settings.as_ref().ok()?;
        settings.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    };
    let mut ordered: Vec<&(String, Setting)> = changes.iter().collect();
    ordered.sort_by(|a, b| print::rank(kind, &a.0).cmp(&print::rank(kind, &b.0)));
    for (key, value) in ordered {
        let Some(text) = print::line(key, value) else {
            continue;
        };
        let counts = section
            .entries
            .iter()
            .find(|e| e.key == *key && e.text.is_some());
        let entry = counts.or_else(|| section.entries.iter().rev().find(|e| e.key == *key));
        match entry {
            // The line says so already, perhaps in other words.
            Some(_) if counts.is_some() && current(key) == Some(value) => {}
            Some(entry) => plan.push(LineChange::Replace(
                entry.line,
                in_place_of(&lines[entry.line], &text),
            )),
            None => {
                let end = terminator(&lines[section.header]);
                let line = [b"\t", text.as_bytes(), end].concat();
                plan.push(LineChange::InsertBefore(place(section, kind, key), line));
            }
        }
    }
    plan
}

/// Where a new property's line goes: in order when the section is in order, else behind its last property.
fn place(section: &RawSection, kind: StorageKind, key: &str) -> usize {
    let ranks: Vec<_> = section
        .entries
        .iter()
        .map(|e| print::rank(kind, &e.key))
        .collect();
    let wanted = print::rank(kind, key);
    if key == "disable" {
        return section.header + 1;
    }
    let later = section
        .entries
        .iter()
        .zip(&ranks)
        .find(|(_, rank)| **rank > wanted);
    match later {
        Some((entry, _)) if ranks.is_sorted() => entry.line,
        _ => section
            .entries
            .last()
            .map_or(section.header + 1, |e| e.line + 1),
    }
}

fn terminator(line: &[u8]) -> &'static [u8] {
    if line.ends_with(b"\r\n") {
        b"\r\n"
    } else {
        b"\n"
    }
}

/// The new text with the old line's indent and end.
fn in_place_of(old: &[u8], text: &str) -> Vec<u8> {
    let indent = content(old).iter().take_while(|b| is_blank(**b)).count();
    let mut line = old[..indent].to_vec();
    line.extend_from_slice(text.as_bytes());
    if old.ends_with(b"\n") {
        line.extend_from_slice(terminator(old));
    }
    line
}

fn apply(lines: &mut Vec<Vec<u8>>, plan: Vec<LineChange>) {
    let mut replaced = std::collections::BTreeMap::new();
    let mut inserted: std::collections::BTreeMap<usize, Vec<Vec<u8>>> = Default::default();
    let mut removed = std::collections::BTreeSet::new();
    for change in plan {
        match change {
            LineChange::Replace(at, line) => drop(replaced.insert(at, line)),
            LineChange::InsertBefore(at, line) => inserted.entry(at).or_default().push(line),
            LineChange::Remove(at) => drop(removed.insert(at)),
        }
    }
    let old = std::mem::take(lines);
    let count = old.len();
    for (at, line) in old.into_iter().enumerate() {
        lines.extend(inserted.remove(&at).unwrap_or_default());
        if !removed.contains(&at) {
            lines.push(replaced.remove(&at).unwrap_or(line));
        }
    }
    // Behind a last line without newline: that one gets it now.
    if let Some(tail) = inserted.remove(&count) {
        if let Some(last) = lines.last_mut()
            && !last.ends_with(b"\n")
        {
            last.push(b'\n');
        }
        lines.extend(tail);
    }
}

/// Takes the new lines when they read back as meant.
fn accept(
    cfg: &mut StorageCfg,
    lines: Vec<Vec<u8>>,
    id: &StorageId,
    want: &Settings,
    gone: &[String],
) -> Result<()> {
    let next = StorageCfg::from_lines(lines);
    let section = counting(&next.reading)
        .into_iter()
        .find(|s| s.id == id.as_str());
    // A section that stays broken for another reason is compared by its lines.
    let reads_back = section.is_some_and(|section| match &section.settings {
        Ok(settings) => {
            want.iter().all(|pair| settings.contains(pair))
                && !settings.iter().any(|(key, _)| gone.contains(key))
        }
        Err(_) => want.iter().all(|(key, _)| {
            section
                .entries
                .iter()
                .any(|e| e.key == *key && e.text.is_some())
        }),
    });
    if !reads_back {
        return Err(Error::failed(format!(
            "the change of storage '{id}' would not be read back from storage.cfg as meant"
        ))
        .hint("see what is wrong in the file: volvisor explain storage-cfg"));
    }
    *cfg = next;
    Ok(())
}

pub(super) fn remove(cfg: &mut StorageCfg, id: &StorageId) -> Result<()> {
    let in_file = cfg
        .reading
        .sections
        .iter()
        .any(|s| s.id == id.as_str() && !s.skipped);
    if id.as_str() == LOCAL && !in_file {
        return Ok(());
    }
    editable(cfg, id)?;
    let prefix = format!("{id}:");
    let used = cfg
        .sections()
        .iter()
        .any(|s| s.id != *id && s.get("base").is_some_and(|base| base.starts_with(&prefix)));
    if used {
        return Err(Error::conflict(
            "can't remove storage - storage is used as base of another storage",
        ));
    }
    // Every section of the name goes, or an older one would come back.
    let mut gone = vec![false; cfg.lines.len()];
    for section in &cfg.reading.sections {
        if section.id != id.as_str() || section.skipped {
            continue;
        }
        whole(section)?;
        gone[section.header..section.end].fill(true);
        if cfg
            .lines
            .get(section.end)
            .is_some_and(|l| content(l).is_empty())
        {
            gone[section.end] = true;
        }
    }
    let kept = cfg
        .lines
        .iter()
        .zip(&gone)
        .filter(|(_, gone)| !**gone)
        .map(|(line, _)| line.clone())
        .collect();
    *cfg = StorageCfg::from_lines(kept);
    Ok(())
}
