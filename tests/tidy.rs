//! House rules as tests: they read the sources as text and run nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 110;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|x| x == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    files
        .into_iter()
        .map(|p| {
            (
                p.strip_prefix(root()).unwrap().display().to_string(),
                std::fs::read_to_string(&p).unwrap(),
            )
        })
        .collect()
}

/// The part of a file that is not its unit tests.
fn code(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod ") {
        Some(at) => &text[..at],
        None => text,
    }
}

/// `room -> rooms it may use`, from the table in src/lib.rs.
fn map() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    table(&text, "//! |")
}

fn table(text: &str, prefix: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms = BTreeMap::new();
    for line in text.lines().filter_map(|l| l.strip_prefix(prefix)) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.len() >= 3 && !cells[0].starts_with('-') && cells[0] != "room" {
            let name = cells[0].trim_matches('`');
            rooms.insert(
                name.to_owned(),
                cells[2].split_whitespace().map(str::to_owned).collect(),
            );
        }
    }
    rooms
}

fn room_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    let (room, _) = rest.split_once('/')?;
    Some(room)
}

#[test]
fn every_arrow_between_rooms_is_on_the_map() {
    let map = map();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room_of(&path) else { continue };
        let allowed = map
            .get(room)
            .unwrap_or_else(|| panic!("room '{room}' is not in the table of src/lib.rs"));
        for (number, line) in code(&text).lines().enumerate() {
            let trimmed = line.trim_start();
            if trimmed.starts_with("//") {
                continue;
            }
            for part in line.split("crate::").skip(1) {
                let used: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if used != room && map.contains_key(&used) && !allowed.contains(&used) {
                    wrong.push(format!("{path}:{} uses {used}", number + 1));
                }
            }
            assert!(
                !line.contains("use crate::{"),
                "{path}:{}: write `use crate::room::...`",
                number + 1
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not on the map:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_map_names_every_room_and_readme_has_the_same_map() {
    let map = map();
    let folders: BTreeSet<String> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(map.keys().cloned().collect::<BTreeSet<_>>(), folders);
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let shown: BTreeMap<_, _> = table(&readme, "|")
        .into_iter()
        .filter(|(room, _)| map.contains_key(room))
        .collect();
    assert_eq!(shown, map, "the map in README.md differs from src/lib.rs");
}

#[test]
fn the_core_does_no_io() {
    let banned = [
        "std::fs",
        "std::process",
        "std::env",
        "std::net",
        "SystemTime",
        "Instant",
        "rustix::",
        "libc::",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !matches!(room_of(&path), Some("model" | "format" | "plan")) {
            continue;
        }
        for (number, line) in code(&text).lines().enumerate() {
            let words = line.split("//").next().unwrap_or("");
            wrong.extend(
                banned
                    .iter()
                    .filter(|b| words.contains(**b))
                    .map(|b| format!("{path}:{}: {b}", number + 1)),
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "the core must stay pure:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let body = code(&text);
        let lines = body.lines().count();
        if lines > MAX_FILE_LINES {
            wrong.push(format!("{path}: {lines} lines"));
        }
        let mut start: Option<(usize, usize, String)> = None;
        for (number, line) in body.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let is_fn = line.trim_start().starts_with("fn ")
                || line.contains(" fn ") && !line.trim_start().starts_with("//");
            if start.is_none()
                && is_fn
                && !line.trim_end().ends_with(';')
                && !line.trim_end().ends_with('}')
            {
                start = Some((number, indent, line.trim().to_owned()));
            } else if let Some((first, at, name)) = &start
                && indent == *at
                && line.trim() == "}"
            {
                if number - first + 1 > MAX_FUNCTION_LINES {
                    wrong.push(format!(
                        "{path}:{}: {} lines: {name}",
                        first + 1,
                        number - first + 1
                    ));
                }
                start = None;
            }
        }
    }
    assert!(wrong.is_empty(), "too large:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_and_every_unsafe_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{path}: no first sentence"));
        }
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let word = line.split("//").next().unwrap_or("");
            let is_block =
                word.contains("unsafe {") || word.trim_start().starts_with("unsafe impl");
            let said = lines[number.saturating_sub(6)..=number]
                .iter()
                .any(|l| l.contains("SAFETY:"));
            if is_block && !said {
                wrong.push(format!("{path}:{}: unsafe without SAFETY", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_module_is_listed() {
    let main = std::fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for entry in std::fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|x| x == "rs") && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "tests/{name}.rs is not listed in tests/main.rs"
            );
        }
    }
}
