//! One edit of a config (from one text to another) repeated on a text that somebody else changed meanwhile, key by key; it never
//! overwrites what both changed.

use super::{Section, VmConfig};
use std::collections::BTreeSet;
use std::fmt;

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Main => f.write_str("the main section"),
            Section::Pending => f.write_str("section [pending]"),
            Section::Special(kind) => write!(f, "section [special:{kind}]"),
            Section::Snapshot(name) => write!(f, "section [{name}]"),
        }
    }
}

fn sections(config: &VmConfig) -> impl Iterator<Item = Section> {
    config.parts.iter().filter_map(|part| part.section.clone())
}

fn same(a: &VmConfig, b: &VmConfig, section: &Section) -> bool {
    a.entries(section) == b.entries(section) && a.description(section) == b.description(section)
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "not set".to_owned(), |v| format!("'{v}'"))
}

/// The text that `current` becomes when the edit `from` -> `to` is made on it, or which value stands in the way.
pub fn replay(from: &[u8], to: &[u8], current: &[u8]) -> Result<Vec<u8>, String> {
    let from = VmConfig::parse(from);
    let to = VmConfig::parse(to);
    // An edit of lines that are no keys cannot be repeated key by key.
    let alone = edit(&from, &to, &from)?;
    let all: BTreeSet<Section> = sections(&to).chain(sections(&alone)).collect();
    if let Some(section) = all.iter().find(|s| !same(&alone, &to, s)) {
        return Err(format!("{section} cannot be changed key by key"));
    }
    Ok(edit(&from, &to, &VmConfig::parse(current))?.to_bytes())
}

fn edit(from: &VmConfig, to: &VmConfig, current: &VmConfig) -> Result<VmConfig, String> {
    let mut result = current.clone();
    let all: BTreeSet<Section> = sections(from)
        .chain(sections(to))
        .chain([Section::Main])
        .collect();
    for section in &all {
        let whole = *section != Section::Main;
        let here = current.has_section(section);
        match (from.has_section(section), to.has_section(section)) {
            (true, false) if whole => {
                if here && !same(current, from, section) {
                    return Err(format!("{section} was changed and would be removed"));
                }
                result.remove_section(section);
            }
            (false, true) if whole && here => {
                if !same(current, to, section) {
                    return Err(format!("{section} was added by somebody else too"));
                }
            }
            (true, true) if whole && !here && !same(from, to, section) => {
                return Err(format!("{section} was removed"));
            }
            _ => edit_section(from, to, current, section, &mut result)?,
        }
    }
    Ok(result)
}

fn edit_section(
    from: &VmConfig,
    to: &VmConfig,
    current: &VmConfig,
    section: &Section,
    result: &mut VmConfig,
) -> Result<(), String> {
    let keys: BTreeSet<String> = from
        .entries(section)
        .into_iter()
        .chain(to.entries(section))
        .map(|(key, _)| key)
        .collect();
    for key in keys {
        let (was, wanted) = (from.get(section, &key), to.get(section, &key));
        let is = current.get(section, &key);
        if was == wanted || is == wanted {
            continue;
        }
        if is != was {
            return Err(format!(
                "'{key}' in {section} is {}, was {} and should become {}",
                shown(is.as_deref()),
                shown(was.as_deref()),
                shown(wanted.as_deref())
            ));
        }
        match wanted {
            Some(value) => result.set(section, &key, &value),
            None => while result.remove(section, &key) && result.get(section, &key).is_some() {},
        }
    }
    let (was, wanted) = (from.description(section), to.description(section));
    let is = current.description(section);
    if was != wanted && is != wanted {
        if is != was {
            return Err(format!("the description of {section} was changed"));
        }
        result.set_description(section, wanted.as_deref());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replayed(from: &str, to: &str, current: &str) -> Result<String, String> {
        replay(from.as_bytes(), to.as_bytes(), current.as_bytes())
            .map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn an_edit_elsewhere_survives_both_directions() {
        let plain = "cores: 1\nmemory: 64\n";
        let locked =
            "cores: 1\nlock: snapshot\nmemory: 64\n\n[snap]\ncores: 1\nsnapstate: prepare\n";
        let edited = "# mine\ncores: 4\nlock: snapshot\nmemory: 64\nodd line\n\n[snap]\ncores: 1\nsnapstate: prepare\n";
        let undone = replayed(locked, plain, edited).unwrap();
        assert!(
            undone.contains("cores: 4") && undone.contains("# mine"),
            "{undone}"
        );
        assert!(undone.contains("odd line"), "{undone}");
        assert!(
            !undone.contains("lock") && !undone.contains("[snap]"),
            "{undone}"
        );
        let done = "cores: 1\nmemory: 64\nparent: snap\n\n[snap]\ncores: 1\n";
        let finished = replayed(locked, done, edited).unwrap();
        assert!(
            finished.contains("cores: 4") && finished.contains("parent: snap"),
            "{finished}"
        );
        assert!(!finished.contains("snapstate"), "{finished}");
    }

    #[test]
    fn what_both_changed_is_named() {
        let why = replayed("cores: 1\n", "cores: 2\n", "cores: 3\n").unwrap_err();
        assert!(why.contains("'cores'") && why.contains("'3'"), "{why}");
        let why = replayed("\n[snap]\na: 1\n", "", "\n[snap]\na: 2\n").unwrap_err();
        assert!(why.contains("[snap]"), "{why}");
        assert_eq!(
            replayed("cores: 1\n", "cores: 2\n", "cores: 2\nx: 1\n").unwrap(),
            "cores: 2\nx: 1\n"
        );
    }
}
