//! What of a config is in force and what waits for the next cold start, as `qm pending` lists it; changes nothing.

use crate::format::property::scalar::split_list;
use crate::format::vm_config::{Section, VmConfig, encode_description};
use crate::format::vm_key;
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
    read_deletions(&config.get(&Section::Pending, "delete").unwrap_or_default())
}

/// `memory,!scsi1` taken apart; the last of equal keys counts.
pub fn read_deletions(text: &str) -> Vec<(String, bool)> {
    let mut list: BTreeMap<String, bool> = BTreeMap::new();
    for word in split_list(text) {
        match word.strip_prefix('!') {
            Some(key) => list.insert(key.to_owned(), true),
            None => list.insert(word.to_owned(), false),
        };
    }
    list.into_iter().collect()
}

/// The values of one section as the file level stores them, with the description.
fn stored(config: &VmConfig, section: &Section) -> Vec<(String, String)> {
    let mut values = config.entries(section);
    for (key, value) in &mut values {
        if let Ok(checked) = vm_key::check_value(key, value) {
            *value = checked;
        }
    }
    values.extend(
        config
            .description(section)
            .map(|text| ("description".to_owned(), text)),
    );
    values
}

/// Sorted by key.
pub fn items(config: &VmConfig) -> Vec<Item> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    for (key, value) in stored(config, &Section::Main) {
        item(&mut items, key).value = Some(value);
    }
    for (key, value) in stored(config, &Section::Pending) {
        if key != "delete" {
            item(&mut items, key).pending = Some(value);
        }
    }
    for (key, force) in deletions(config) {
        item(&mut items, key).delete = 1 + u8::from(force);
    }
    items.into_values().collect()
}

fn item(items: &mut BTreeMap<String, Item>, key: String) -> &mut Item {
    items.entry(key.clone()).or_insert_with(|| Item {
        key,
        ..Item::default()
    })
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
            let word = if item.delete > 0 { "del" } else { "cur" };
            put(word, &item.key, value);
        }
        // What is deleted gets no new value: the deletion wins.
        let is_deleted = item.delete > 0 && item.value.is_some();
        if let Some(pending) = item.pending.as_ref().filter(|_| !is_deleted) {
            put("new", &item.key, pending);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        render(&items(&VmConfig::parse(text.as_bytes())))
    }

    #[test]
    fn a_deletion_wins_over_a_new_value_and_nothing_is_made_up() {
        assert_eq!(
            shown("cores: 1\nonboot: yes\n\n[PENDING]\ncores: 2\ndelete: cores,memory\n"),
            "del cores: 1\ncur onboot: 1\n"
        );
    }

    #[test]
    fn what_nobody_understands_is_shown_as_it_stands() {
        assert_eq!(shown("future: a b\n"), "cur future: a b\n");
    }
}
