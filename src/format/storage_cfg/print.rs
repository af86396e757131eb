//! Sections to text in Proxmox's layout (pve-storage 1.3), lists sorted so that the same content is the same text.

use super::{EffectiveSection, Setting};
use crate::format::storage_kind::table;
use crate::model::{Error, Result, StorageKind};

/// Where a property stands: `disable`, then required ones, then the rest, each alphabetically.
pub(super) fn rank(kind: StorageKind, key: &str) -> (u8, &str) {
    let required = table(kind).property(key).is_some_and(|p| p.required);
    match key {
        "disable" => (0, key),
        _ if required => (1, key),
        _ => (2, key),
    }
}

/// One property line without terminator; `None` when the value means no line.
pub(super) fn line(key: &str, value: &Setting) -> Option<String> {
    match (key, value) {
        ("disable", Setting::Flag(true)) => Some("disable".to_owned()),
        ("disable", Setting::Flag(false)) => None,
        _ => Some(format!("{key} {}", value.text(key))),
    }
}

/// Header, properties in order, one empty line.
pub(super) fn section(kind: StorageKind, id: &str, settings: &[(String, Setting)]) -> String {
    let mut sorted: Vec<&(String, Setting)> = settings.iter().collect();
    sorted.sort_by(|a, b| rank(kind, &a.0).cmp(&rank(kind, &b.0)));
    let mut text = format!("{kind}: {id}\n");
    for (key, value) in sorted {
        if let Some(line) = line(key, value) {
            text.push_str(&format!("\t{line}\n"));
        }
    }
    text.push('\n');
    text
}

pub(super) fn canonical(sections: &[EffectiveSection]) -> Result<String> {
    let mut sorted: Vec<&EffectiveSection> = sections.iter().collect();
    sorted.sort_by_key(|s| s.order.unwrap_or(usize::MAX));
    let mut text = String::new();
    for s in sorted {
        let (kind, settings) = s
            .usable
            .as_ref()
            .ok_or_else(|| Error::failed("unknown section type ''"))?;
        text.push_str(&section(*kind, &s.id, settings));
    }
    Ok(text)
}

impl EffectiveSection {
    /// The section as Proxmox would write it; `None` when it is broken.
    pub fn canonical(&self) -> Option<String> {
        let (kind, settings) = self.usable.as_ref()?;
        Some(section(*kind, &self.id, settings))
    }
}
