//! `qm pending`: every key with its current and its coming value.

use super::config::encode;
use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::Result;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const VERB: Verb = Verb::reads(
    "pending",
    "Config of a VM with its pending changes",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

/// One key: what it is, what it will be, and whether it goes.
#[derive(Default)]
struct Item {
    value: Option<String>,
    pending: Option<String>,
    /// Marked with `!`: its volume goes too.
    force: bool,
    delete: bool,
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    if ctx.json() {
        ctx.object([("vmid", json!(vmid)), ("items", json_items(&config).into())]);
    } else {
        ctx.text(text(&items(&config)));
    }
    Ok(0)
}

fn items(config: &VmConfig) -> BTreeMap<String, Item> {
    let mut all: BTreeMap<String, Item> = BTreeMap::new();
    for (section, coming) in [(Section::Main, false), (Section::Pending, true)] {
        let mut entries = config.entries(&section);
        entries.extend(
            config
                .description(&section)
                .map(|d| ("description".to_owned(), d)),
        );
        for (key, value) in entries {
            if coming && key == "delete" {
                for word in parse::list(&value) {
                    let item = all
                        .entry(word.trim_start_matches('!').to_owned())
                        .or_default();
                    item.delete = true;
                    item.force |= word.starts_with('!');
                }
                continue;
            }
            let item = all.entry(key).or_default();
            match coming {
                true => item.pending = Some(value),
                false => item.value = Some(value),
            }
        }
    }
    all.retain(|_, i| i.value.is_some() || i.pending.is_some());
    all
}

fn text(items: &BTreeMap<String, Item>) -> String {
    let mut text = String::new();
    for (key, item) in items.iter().filter(|(key, _)| *key != "digest") {
        let shown = |value: &String| match key.as_str() {
            "description" => encode(value),
            _ => value.clone(),
        };
        if let Some(value) = &item.value {
            let word = if item.delete { "del" } else { "cur" };
            text.push_str(&format!("{word} {key}: {}\n", shown(value)));
        }
        if let Some(value) = &item.pending {
            text.push_str(&format!("new {key}: {}\n", shown(value)));
        }
    }
    text
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The lines for items given as JSON (`explain pending-output`); items without a key are left out.
pub fn text_of_cases(list: &Value) -> String {
    let item = |i: &Value| {
        let item = Item {
            value: word(&i["value"]),
            pending: word(&i["pending"]),
            force: i["delete"] == 2,
            delete: !i["delete"].is_null(),
        };
        Some((i["key"].as_str()?.to_owned(), item))
    };
    text(
        &list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(item)
            .collect(),
    )
}

/// Every key of a config with what is and what comes, sorted.
pub fn json_items(config: &VmConfig) -> Vec<Value> {
    items(config)
        .iter()
        .map(|(key, i)| {
            let mut item = json!({"key": key});
            if let Some(value) = &i.value {
                item["value"] = json!(value);
            }
            if let Some(value) = &i.pending {
                item["pending"] = json!(value);
            }
            if i.delete {
                item["delete"] = json!(if i.force { 2 } else { 1 });
            }
            item
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_scripts_read() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/cases/vm/pending-output.jsonl"
        );
        let mut seen = 0;
        for case in std::fs::read_to_string(path).unwrap().lines() {
            let case: Value = serde_json::from_str(case).unwrap();
            assert_eq!(
                text_of_cases(&case["items"]),
                case["stdout"].as_str().unwrap(),
                "{}",
                case["name"]
            );
            seen += 1;
        }
        assert!(seen >= 5);
    }

    #[test]
    fn what_goes_and_what_comes_is_read_from_the_pending_section() {
        let config = VmConfig::parse(
            b"memory: 512\nballoon: 0\nscsi1: st:vm-100-disk-1\n\n[PENDING]\ndelete: balloon,!scsi1\ncores: 4\nmemory: 1024\n",
        );
        assert_eq!(
            text(&items(&config)),
            "del balloon: 0\nnew cores: 4\ncur memory: 512\nnew memory: 1024\ndel scsi1: st:vm-100-disk-1\n"
        );
    }
}
