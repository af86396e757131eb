//! One edit of storage.cfg repeated on a text that somebody else changed meanwhile, property by property; it never overwrites
//! what both changed.

use super::{StorageCfg, StorageSection};
use crate::model::StorageId;
use std::collections::{BTreeMap, BTreeSet};

type Facts = (String, BTreeMap<String, String>);

fn facts(cfg: &StorageCfg, id: &StorageId) -> Option<Facts> {
    cfg.find(id)
        .map(|s: StorageSection| (s.type_word, s.properties.into_iter().collect()))
}

/// The text that `current` becomes when the edit `from` -> `to` is made on it, or which section stands in the way.
pub fn replay(from: &[u8], to: &[u8], current: &[u8]) -> Result<Vec<u8>, String> {
    let (from, to) = (StorageCfg::parse(from), StorageCfg::parse(to));
    let current = StorageCfg::parse(current);
    let mut result = current.clone();
    let ids: BTreeSet<StorageId> = from
        .sections()
        .into_iter()
        .chain(to.sections())
        .map(|s| s.id)
        .collect();
    for id in ids {
        let (was, wanted, is) = (facts(&from, &id), facts(&to, &id), facts(&current, &id));
        if was == wanted || is == wanted {
            continue;
        }
        let done = match (was, wanted, is) {
            (Some(was), None, Some(is)) if was == is => result.remove(&id),
            (None, Some(_), None) => {
                let Some(section) = to.find(&id) else {
                    continue;
                };
                match section.kind {
                    Some(kind) => result.add(&id, kind, &section.properties),
                    None => return Err(format!("storage '{id}' has a type that cannot be added")),
                }
            }
            (Some(was), Some(wanted), Some(is)) if was.0 == wanted.0 && is.0 == was.0 => {
                let (set, delete) = changes(&id, &was.1, &wanted.1, &is.1)?;
                result.set(&id, &set, &delete)
            }
            _ => return Err(format!("the section of storage '{id}' was changed by both")),
        };
        done.map_err(|e| e.full_text())?;
    }
    Ok(result.to_bytes())
}

type Properties = BTreeMap<String, String>;
/// What to set and what to delete.
type Changes = (Vec<(String, String)>, Vec<String>);

fn changes(
    id: &StorageId,
    was: &Properties,
    wanted: &Properties,
    is: &Properties,
) -> Result<Changes, String> {
    let (mut set, mut delete) = (Vec::new(), Vec::new());
    for key in was.keys().chain(wanted.keys()).collect::<BTreeSet<_>>() {
        let (old, new, now) = (was.get(key), wanted.get(key), is.get(key));
        if old == new || now == new {
            continue;
        }
        if now != old {
            return Err(format!("'{key}' of storage '{id}' was changed by both"));
        }
        match new {
            Some(value) => set.push((key.clone(), value.clone())),
            None => delete.push(key.clone()),
        }
    }
    Ok((set, delete))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_section_and_another_property_survive() {
        let before = "dir: aa\n\tpath /a\n\tcontent images\n\n";
        let after = "dir: aa\n\tpath /a\n\tcontent images\n\tnodes x\n\n";
        let edited = "dir: aa\n\tpath /a\n\tcontent images,iso\n\tnodes x\n\ndir: bb\n\tpath /b\n\tcontent iso\n\n";
        let undone = replay(after.as_bytes(), before.as_bytes(), edited.as_bytes()).unwrap();
        let undone = String::from_utf8(undone).unwrap();
        assert!(
            !undone.contains("nodes") && undone.contains("dir: bb"),
            "{undone}"
        );
        assert!(undone.contains("images,iso"), "{undone}");
        let clash = "dir: aa\n\tpath /a\n\tcontent images\n\tnodes y\n\n";
        replay(after.as_bytes(), before.as_bytes(), clash.as_bytes()).unwrap_err();
    }
}
