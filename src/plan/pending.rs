//! What of a config is in force and what waits for the next cold start, as `qm pending` lists it; changes nothing.

use crate::format::vm_config::{Section, VmConfig, encode_description};
use std::collections::BTreeMap;
use std::fmt::Write;

/// One key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    pub key: String,
    pub value: Option<String>,
    pub pending: Option<String>,
    /// 1: will be deleted; 2: with its volume.
    pub delete: u8,
}

/// The `delete:` list of the pending section: key and whether it is forced (`!key`).
pub fn deletions(config: &VmConfig) -> Vec<(String, bool)> {
    let list = config.get(&Section::Pending, "delete").unwrap_or_default();
    list.split([',', ';', ' ', '\t'])
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_prefix('!') {
            Some(key) => (key.to_owned(), true),
            None => (word.to_owned(), false),
        })
        .collect()
}

/// Sorted by key.
pub fn items(config: &VmConfig) -> Vec<Item> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut current = config.entries(&Section::Main);
    if let Some(text) = config.description(&Section::Main) {
        current.push(("description".to_owned(), text));
    }
    for (key, value) in current {
        items.insert(
            key.clone(),
            Item {
                key,
                value: Some(value),
                ..Item::default()
            },
        );
    }
    let mut pending = config.entries(&Section::Pending);
    if let Some(text) = config.description(&Section::Pending) {
        pending.push(("description".to_owned(), text));
    }
    for (key, value) in pending.into_iter().filter(|(key, _)| key != "delete") {
        let item = items.entry(key.clone()).or_insert_with(|| Item {
            key,
            ..Item::default()
        });
        item.pending = Some(value);
    }
    for (key, force) in deletions(config) {
        if let Some(item) = items.get_mut(&key).filter(|i| i.pending.is_none()) {
            item.delete = 1 + u8::from(force);
        }
    }
    items.into_values().collect()
}

/// The text of `qm pending`. The digest is not shown.
pub fn render(items: &[Item]) -> String {
    let mut sorted: Vec<&Item> = items.iter().filter(|i| i.key != "digest").collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut out = String::new();
    let mut put = |word: &str, key: &str, value: &str| {
        let shown = if key == "description" {
            encode_description(value)
        } else {
            value.to_owned()
        };
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{word} {key}: {shown}");
    };
    for item in sorted {
        if let Some(value) = &item.value {
            put(
                if item.delete > 0 { "del" } else { "cur" },
                &item.key,
                value,
            );
        }
        if let Some(pending) = &item.pending {
            put("new", &item.key, pending);
        }
    }
    out
}
