//! Texts of the VM layer are read as the original reads them: every observed case, and the original's own suite where it is at hand.
//!
//! A line with `ours` keeps what the original answers beside what we answer, and `why`.

use crate::support::skip;
use serde_json::Value;
use std::path::{Path, PathBuf};
use volvisor::cli::explain_vm::explain;
use volvisor::plan::pending::read_deletions;

/// The folder `shared` beside the checkout, if there is one.
fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("VOLVISOR_SHARED").map(PathBuf::from);
    let near = [root.join("../shared"), root.join("../../shared")];
    given
        .into_iter()
        .chain(near)
        .find(|p| p.join("cases").is_dir())
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Fields of the case that are answers, as opposed to input.
const ANSWERS: [&str; 13] = [
    "parsed", "printed", "valid", "error", "warnings", "digest", "lenient", "strict", "bytes",
    "output", "encoded", "decoded", "stdout",
];

fn check_file(path: &Path, wrong: &mut Vec<String>) -> usize {
    let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let cases = lines(path);
    for (number, case) in cases.iter().enumerate() {
        let got = explain(&kind, case).unwrap_or_else(|| panic!("explain does not know '{kind}'"));
        let expected = case.get("ours").unwrap_or(case).as_object().unwrap();
        for (field, value) in expected {
            let is_answer = ANSWERS.contains(&field.as_str())
                || field == "items" && kind == "config-with-pending";
            let is_input = field == "bytes" && kind == "format-size";
            if is_answer && !is_input && got.get(field) != Some(value) {
                let shown = got.get(field).cloned().unwrap_or(Value::Null);
                wrong.push(format!(
                    "{kind}:{} {field}\n  input    {}\n  expected {value}\n  got      {shown}",
                    number + 1,
                    input(case)
                ));
            }
        }
    }
    cases.len()
}

fn input(case: &Value) -> String {
    let parts = ["input", "key", "value", "format", "list", "items", "bytes"];
    parts
        .iter()
        .filter_map(|p| case.get(*p))
        .map(|v| v.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn observed_cases_of_the_vm_layer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases/vm");
    let (mut wrong, mut count) = (Vec::new(), 0);
    let others = ["rescan", "snapshot-crash-rows"];
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|x| x == "jsonl") && !others.contains(&stem.as_str()) {
            count += check_file(&path, &mut wrong);
        }
    }
    println!("{count} observed cases");
    assert!(count > 300, "only {count} cases");
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_originals_own_config_files() {
    let Some(shared) = shared() else {
        skip("no folder shared beside the checkout: the original's own suite is not tried");
        return;
    };
    let folder = shared.join("cases/vm/suite/parse-config");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder.join("input")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let got = explain("config", &Value::String(text.clone())).unwrap();
        let expected = std::fs::read_to_string(folder.join("expected").join(&name)).unwrap_or(text);
        if got["lenient"]["output"] != Value::String(expected.clone()) {
            wrong.push(format!(
                "{name}\n--- expected\n{expected}\n--- got\n{}",
                got["lenient"]["output"].as_str().unwrap()
            ));
        }
        let strict = folder.join("expected").join(format!("{name}.strict.error"));
        let error = got["strict"].get("error").map(|e| e.as_str().unwrap());
        // The number of the machine is the suite's own.
        let sentence = |e: &str| e.split_once(" - ").unwrap().1.trim().to_owned();
        let expected = std::fs::read_to_string(strict).ok();
        if expected.as_deref().map(sentence) != error.map(sentence) {
            wrong.push(format!(
                "{name}: strict mode: expected {expected:?}, got {error:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_originals_own_lists_of_pending_deletions() {
    let Some(shared) = shared() else {
        skip("no folder shared beside the checkout: lists of pending deletions are not tried");
        return;
    };
    let cases = lines(&shared.join("cases/vm/suite/pending-helpers.jsonl"));
    let mut count = 0;
    for case in cases
        .iter()
        .filter(|c| c["method"] == "parse_pending_delete")
    {
        let text = case["params"][0].as_str().unwrap();
        let got: serde_json::Map<String, Value> = read_deletions(text)
            .into_iter()
            .map(|(key, force)| (key, serde_json::json!({ "force": u8::from(force) })))
            .collect();
        assert_eq!(Value::Object(got), case["expect"], "{text}");
        count += 1;
    }
    assert!(count > 0, "the file holds no such case");
}
