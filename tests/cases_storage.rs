//! The storage layer's texts are read as the original reads them: every observed case, through the functions behind `explain`.

use serde_json::Value;
use std::path::{Path, PathBuf};
use volvisor::cli::explain_storage::explain;

struct Case {
    id: String,
    input: Value,
    expected: Value,
}

/// The lines of one case file; `ours` counts where we differ on purpose, and then `why` must say so.
fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let case: Value = serde_json::from_str(line).unwrap();
            let expected = match case.get("ours") {
                Some(ours) => {
                    assert!(case["why"].is_string(), "no reason given: {line}");
                    assert_ne!(*ours, case["expected"], "no difference: {line}");
                    ours
                }
                None => &case["expected"],
            };
            Case {
                id: case["id"].as_str().unwrap().to_owned(),
                input: case["input"].clone(),
                expected: expected.clone(),
            }
        })
        .collect()
}

/// Files of this directory that other stories run.
const ELSEWHERE: &[&str] = &["cli_output", "prune_mark"];

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    files
}

/// Absent is null.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), without_nulls(v)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Runs one file and returns how many cases it has and what did not fit.
fn run(kind: &str, path: &Path) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let list = cases(path);
    for case in &list {
        let got = explain(kind, &case.input).unwrap_or(Value::String("no such kind".into()));
        if without_nulls(&got) != without_nulls(&case.expected) {
            wrong.push(format!(
                "{}\n  input    {}\n  got      {got}\n  expected {}",
                case.id, case.input, case.expected
            ));
        }
    }
    (list.len(), wrong)
}

fn report(what: &str, count: usize, wrong: &[String]) {
    println!("{what}: {} of {count} cases", count - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 0, "{what}: no cases found");
}

#[test]
fn observed_storage_cases_are_read_as_the_original_reads_them() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases/storage");
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files(&directory) {
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ELSEWHERE.contains(&kind.as_str()) {
            continue;
        }
        let (cases, failures) = run(&kind, &path);
        println!("{kind}: {} of {cases}", cases - failures.len());
        count += cases;
        wrong.extend(failures);
    }
    report("observed storage cases", count, &wrong);
}

/// Cases that may be read but not kept here: `$VOLVISOR_SHARED`, or a `shared` directory beside or above the project.
fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("VOLVISOR_SHARED")
        .map(PathBuf::from)
        .into_iter()
        .chain([root.join("../shared"), root.join("../../shared")])
        .map(|path| path.join("cases/storage/suite"))
        .find(|path| path.is_dir())
}

#[test]
fn the_originals_own_storage_suite_passes() {
    let Some(directory) = shared() else {
        println!(
            "SKIPPED: the original's own cases are not here (set VOLVISOR_SHARED to the directory that holds cases/)"
        );
        return;
    };
    let (mut count, mut wrong) = (0, Vec::new());
    for kind in [
        "parse_volname",
        "path_to_volume_id",
        "get_subdir",
        "archive_info",
        "filesystem_path",
    ] {
        let path = directory.join(kind).with_extension("jsonl");
        if !path.is_file() {
            println!("SKIPPED: {kind}: no such file");
            continue;
        }
        let (cases, failures) = run(kind, &path);
        println!("{kind}: {} of {cases}", cases - failures.len());
        count += cases;
        wrong.extend(failures);
    }
    report("the original's own storage cases", count, &wrong);
}

#[test]
fn a_mebibyte_of_storage_cfg_takes_no_longer_than_its_length() {
    let started = std::time::Instant::now();
    for unit in ["x", " ", "a:", "a: bb\n\n", "dir: a1\n\n", " k v\n", "\r\n"] {
        let text = format!("dir: st\n\tnodes {}", unit.repeat((1 << 20) / unit.len()));
        let answer = explain("parse_config", &serde_json::json!({ "text": text })).unwrap();
        assert!(answer["ids"]["local"].is_object());
    }
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
