//! What a read file means: the last section of a name counts, `local` is put right, `content` has its default; edits nothing.

use super::check::Settings;
use super::read::{RawSection, Reading};
use super::{Setting, StorageSection};
use crate::format::storage_kind::table;
use crate::model::{StorageId, StorageKind};
use std::collections::{BTreeMap, BTreeSet};

/// A section as Proxmox holds it after reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSection {
    pub id: String,
    /// Place among the sections of the file from 1; `None` for the implied `local`.
    pub order: Option<usize>,
    /// `None`: the section is broken and cannot be used.
    pub usable: Option<(StorageKind, Vec<(String, Setting)>)>,
    /// `local` was put in the place of what the file says or does not say.
    pub implied: bool,
}

pub(super) const LOCAL: &str = "local";
const LOCAL_PATH: &str = "/var/lib/vz";

/// The storage every node has.
pub(super) fn implied_local() -> Settings {
    let content = ["backup", "images", "iso", "rootdir", "snippets", "vztmpl"];
    let words = content.iter().map(|word| (*word).to_owned()).collect();
    vec![
        ("path".to_owned(), Setting::Text(LOCAL_PATH.to_owned())),
        ("content".to_owned(), Setting::Words(words)),
        (
            "prune-backups".to_owned(),
            Setting::Text("keep-all=1".to_owned()),
        ),
    ]
}

/// Whether a section named `local` counts as written.
pub(super) fn is_true_local(section: &RawSection) -> bool {
    let Ok(settings) = &section.settings else {
        return false;
    };
    section.kind == Some(StorageKind::Dir)
        && settings
            .iter()
            .any(|(key, value)| key == "path" && *value == Setting::Text(LOCAL_PATH.to_owned()))
}

/// Sections that count, each with its index, in file order: the last one of each name.
pub(super) fn counting(reading: &Reading) -> Vec<&RawSection> {
    let mut seen = BTreeSet::new();
    let mut list: Vec<&RawSection> = reading
        .sections
        .iter()
        .rev()
        .filter(|s| !s.skipped && seen.insert(s.id.as_str()))
        .collect();
    list.reverse();
    list
}

pub(super) fn effective(reading: &Reading) -> Vec<EffectiveSection> {
    // A place is given to every readable section, also to those that are replaced later.
    let places: BTreeMap<usize, usize> = reading
        .sections
        .iter()
        .filter(|s| !s.skipped)
        .enumerate()
        .map(|(at, s)| (s.header, at + 1))
        .collect();
    let mut list: Vec<EffectiveSection> = counting(reading)
        .into_iter()
        .map(|section| {
            let order = places.get(&section.header).copied();
            if section.id == LOCAL && !is_true_local(section) {
                return EffectiveSection {
                    id: LOCAL.to_owned(),
                    order,
                    usable: Some((StorageKind::Dir, implied_local())),
                    implied: true,
                };
            }
            EffectiveSection {
                id: section.id.clone(),
                order,
                usable: section
                    .kind
                    .zip(section.settings.as_ref().ok())
                    .map(|(kind, settings)| (kind, with_defaults(kind, &section.id, settings))),
                implied: false,
            }
        })
        .collect();
    if !list.iter().any(|s| s.id == LOCAL) {
        list.push(EffectiveSection {
            id: LOCAL.to_owned(),
            order: None,
            usable: Some((StorageKind::Dir, implied_local())),
            implied: true,
        });
    }
    list
}

fn with_defaults(kind: StorageKind, id: &str, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    if id == LOCAL {
        settings.retain(|(key, _)| key != "nodes");
    }
    if !settings.iter().any(|(key, _)| key == "content") {
        let default = Setting::content(table(kind).default_content);
        settings.push(("content".to_owned(), default));
    }
    settings
}

pub(super) fn sections(reading: &Reading) -> Vec<StorageSection> {
    let known: BTreeMap<String, EffectiveSection> = effective(reading)
        .into_iter()
        .map(|s| (s.id.clone(), s))
        .collect();
    let counts: BTreeSet<usize> = counting(reading).iter().map(|s| s.header).collect();
    let mut list: Vec<StorageSection> = reading
        .sections
        .iter()
        .filter_map(|section| {
            let id = StorageId::parse(&section.id).ok()?;
            if section.kind.is_none() {
                // A known section of the same name hides one of an unknown type.
                return (!known.contains_key(&section.id)).then(|| raw(id, section));
            }
            if !counts.contains(&section.header) {
                return None;
            }
            known.get(&section.id).map(|s| finish(id, section, s))
        })
        .collect();
    if !list.iter().any(|s| s.id.as_str() == LOCAL)
        && let Ok(id) = StorageId::parse(LOCAL)
        && let Some(EffectiveSection {
            usable: Some((kind, settings)),
            ..
        }) = known.get(LOCAL)
    {
        list.push(usable(id, *kind, settings));
    }
    list
}

pub(super) fn written_local(reading: &Reading) -> Option<StorageSection> {
    let section = counting(reading).into_iter().find(|s| s.id == LOCAL)?;
    let settings = with_defaults(section.kind?, LOCAL, section.settings.as_ref().ok()?);
    Some(usable(
        StorageId::parse(LOCAL).ok()?,
        section.kind?,
        &settings,
    ))
}

fn usable(id: StorageId, kind: StorageKind, settings: &Settings) -> StorageSection {
    let content = settings
        .iter()
        .find(|(key, _)| key == "content")
        .map(|(_, value)| value.content_types())
        .unwrap_or_default();
    StorageSection {
        id,
        kind: Some(kind),
        type_word: kind.as_str().to_owned(),
        properties: settings
            .iter()
            .map(|(key, value)| (key.clone(), value.text(key)))
            .collect(),
        content,
        broken: None,
    }
}

fn finish(id: StorageId, section: &RawSection, effective: &EffectiveSection) -> StorageSection {
    match &effective.usable {
        Some((kind, settings)) => usable(id, *kind, settings),
        None => raw(id, section),
    }
}

/// A section that cannot be used, with what its lines say.
fn raw(id: StorageId, section: &RawSection) -> StorageSection {
    StorageSection {
        id,
        kind: section.kind,
        type_word: section.type_word.clone(),
        properties: section
            .entries
            .iter()
            .filter_map(|e| Some((e.key.clone(), e.text.clone()?)))
            .collect(),
        content: Vec::new(),
        broken: section.settings.as_ref().err().cloned(),
    }
}
