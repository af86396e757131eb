//! `volvisor explain`: how a text is read, by the parsers that everything uses; touches no storage and no machine.

use super::args::{flag, flag_arg, option, positional, text};
use super::context::Context;
use super::verb::Verb;
use super::{explain_plan, explain_storage, explain_vm};
use crate::format::size;
use crate::format::storage_cfg::StorageCfg;
use crate::format::vm_config::VmConfig;
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::io::{BufRead, Read};

pub const VERB: Verb = Verb::reads(
    "explain",
    "How a text is read, and what would go wrong",
    define,
    run,
);

/// A config of a machine is some KiB; more than this is a mistake.
const LIMIT: u64 = 64 << 20;

/// Exit code for one text that has no valid reading. Lines of `--batch` carry it in the answer.
const NOT_VALID: i32 = 3;

fn define(command: Command) -> Command {
    command
        .args([
            positional(
                "what",
                "volname, volid, drive, property, config, storage-cfg, size, or the name of a case file",
            ),
            positional("text", "The text, or the file of config and storage-cfg ('-': standard input)")
                .required(false),
            option("type", "TYPE", "volname: the storage type (default dir)"),
            option("key", "KEY", "drive: the slot (default scsi0)"),
            option("kind", "KIND", "property: net, agent, boot, memory, machine, ..."),
            flag_arg("batch", "One JSON object a line on standard input, one a line out"),
        ])
        .after_help(
            "With --batch a line is an input object, or a whole case with its \"input\"; the answer has the field names of the cases.",
        )
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let what = super::parse::required(m, "what")?;
    if flag(m, "batch") {
        return batch(ctx, &what, m);
    }
    let (kind, input) = single(&what, m)?;
    let mut answer = match what.as_str() {
        "size" => sizes(&input),
        _ => ask(&kind, &input)?,
    };
    add_problems(&what, &input, &mut answer);
    let code = match answer["error"].is_string() || answer["valid"] == false {
        true => NOT_VALID,
        false => 0,
    };
    if ctx.json() {
        ctx.object([("what", what.into()), ("input", input), ("reading", answer)]);
        return Ok(code);
    }
    let mut lines = Vec::new();
    people(&answer, 0, &mut lines);
    lines.iter().for_each(|line| ctx.line(line));
    Ok(code)
}

/// The case kind and input object of one text on the command line.
fn single(what: &str, m: &ArgMatches) -> Result<(String, Value)> {
    let word = || {
        text(m, "text").ok_or_else(|| {
            Error::usage(format!("explain {what}: no text given"))
                .hint(format!("volvisor explain {what} TEXT"))
        })
    };
    Ok(match what {
        "volname" => (
            "parse_volname".into(),
            json!({"type": text(m, "type").unwrap_or_else(|| "dir".into()), "volname": word()?}),
        ),
        "volid" => ("parse_volume_id".into(), json!({"volid": word()?})),
        "drive" => (
            "drive-strings".into(),
            json!({"key": text(m, "key").unwrap_or_else(|| "scsi0".into()), "value": word()?}),
        ),
        "property" => {
            let kind = text(m, "kind").ok_or_else(|| {
                Error::usage("explain property: no kind given")
                    .hint("volvisor explain property --kind net TEXT")
            })?;
            ("property".into(), json!({"format": kind, "input": word()?}))
        }
        "size" => ("parse-size".into(), json!({"input": word()?})),
        "config" => ("config-roundtrip".into(), json!({"input": file(&word()?)?})),
        "storage-cfg" => ("storage-cfg".into(), json!({"text": file(&word()?)?})),
        other => {
            let text = word()?;
            // An unknown word is said to be unknown, whatever stands after it.
            ask(other, &json!({}))?;
            let input = serde_json::from_str(&text).map_err(|e| {
                Error::usage(format!("explain {other}: the input is not a JSON object"))
                    .with_source(e)
                    .hint("write the case's input as JSON, or pipe case lines to --batch")
            })?;
            (other.to_owned(), input)
        }
    })
}

/// How a size is read in each place that takes one.
fn sizes(input: &Value) -> Value {
    let text = input["input"].as_str().unwrap_or_default();
    let told = |read: Result<Value>| read.unwrap_or_else(|e| json!({"error": e.full_text()}));
    json!({
        "in a drive (size=)": size::parse_disk_size(text).map_or_else(
            || json!({"error": "not a size"}),
            |bytes| json!({"bytes": bytes, "printed": bytes.to_string()}),
        ),
        "in pvesm alloc": told(size::parse_alloc_size(text).map(|bytes| json!({"bytes": bytes}))),
        "in qm resize": told(size::parse_size_change(text).map(|change| match change {
            size::SizeChange::To(bytes) => json!({"to": bytes}),
            size::SizeChange::Plus(bytes) => json!({"plus": bytes}),
        })),
    })
}

/// What in a file could not be understood, with line and column.
fn add_problems(what: &str, input: &Value, answer: &mut Value) {
    let bytes = |field: &str| {
        input[field]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec()
    };
    let problems = match what {
        "config" => VmConfig::parse(&bytes("input")).problems().to_vec(),
        "storage-cfg" => StorageCfg::parse(&bytes("text")).problems().to_vec(),
        _ => return,
    };
    let all: Vec<Value> = problems
        .iter()
        .map(|p| json!({"line": p.line, "column": p.column, "message": p.message}))
        .collect();
    if let Value::Object(fields) = answer {
        fields.insert("problems".into(), all.into());
    }
}

/// A file's text. Bytes that are no UTF-8 become U+FFFD: they are explained, not written back.
fn file(path: &str) -> Result<String> {
    let bytes = match path {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .take(LIMIT)
                .read_to_end(&mut bytes)
                .map_err(|e| Error::io("cannot read standard input", e))?;
            bytes
        }
        path => crate::sys::fs::read_file(std::path::Path::new(path), LIMIT)?,
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One answer a line, in the order asked. A line that is no JSON gets an answer too, so that lines stay paired.
fn batch(ctx: &Context, what: &str, m: &ArgMatches) -> Result<i32> {
    let mut lines = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = lines
            .read_until(b'\n', &mut line)
            .map_err(|e| Error::io("cannot read standard input", e))?;
        if count == 0 {
            return Ok(0);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = match serde_json::from_slice::<Value>(&line) {
            Ok(case) => answer(what, &case, m)?,
            Err(error) => json!({"error": format!("the line is no JSON: {error}")}),
        };
        ctx.line(answer.to_string());
    }
}

fn answer(what: &str, case: &Value, m: &ArgMatches) -> Result<Value> {
    let kind = match what {
        "volname" => "parse_volname",
        "volid" => "parse_volume_id",
        "drive" => "drive-strings",
        "size" => "parse-size",
        "config" => "config-roundtrip",
        "storage-cfg" => "parse_config",
        other => other,
    };
    // A storage case carries its arguments in "input"; a VM case is its own input.
    let mut input = match case.get("input") {
        Some(Value::Object(inner)) => Value::Object(inner.clone()),
        _ => case.clone(),
    };
    if let Value::Object(fields) = &mut input {
        for (option, field) in [("type", "type"), ("key", "key"), ("kind", "format")] {
            if let Some(word) = text(m, option) {
                fields.entry(field).or_insert_with(|| word.into());
            }
        }
    }
    ask(kind, &input)
}

/// The reading of one input, by whoever knows the kind.
fn ask(kind: &str, input: &Value) -> Result<Value> {
    explain_storage::explain(kind, input)
        .or_else(|| explain_vm::explain(kind, input))
        .or_else(|| explain_plan::explain(kind, input))
        .ok_or_else(|| {
            let object = match (kind, input["format"].as_str()) {
                ("property", Some(format)) => format!("property kind '{format}'"),
                _ => format!("'{kind}'"),
            };
            Error::usage(format!("explain does not know {object}")).hint(
                "use volname, volid, drive, property, config, storage-cfg, size, or the name of a case file",
            )
        })
}

/// Control characters made visible, quotes as they are.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() {
            true => c.escape_debug().to_string(),
            false => c.to_string(),
        })
        .collect()
}

/// JSON as indented `name: value` lines.
fn people(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let pad = "  ".repeat(depth);
    let plain = |v: &Value| match v {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner {
                    Value::Object(map) if map.is_empty() => {}
                    Value::Array(all) if all.is_empty() => {}
                    Value::Object(_) | Value::Array(_) => {
                        lines.push(format!("{pad}{name}:"));
                        people(inner, depth + 1, lines);
                    }
                    Value::String(text) if text.contains('\n') => {
                        lines.push(format!("{pad}{name}:"));
                        lines.extend(text.lines().map(|l| format!("{pad}  | {}", printable(l))));
                    }
                    inner => lines.push(format!("{pad}{name}: {}", plain(inner))),
                }
            }
        }
        Value::Array(all) => {
            for inner in all {
                match inner {
                    Value::Object(_) | Value::Array(_) => {
                        lines.push(format!("{pad}-"));
                        people(inner, depth + 1, lines);
                    }
                    inner => lines.push(format!("{pad}- {}", plain(inner))),
                }
            }
        }
        other => lines.push(format!("{pad}{}", plain(other))),
    }
}
