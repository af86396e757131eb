//! `qm pending`: every key with its current and its coming value.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::VmConfig;
use crate::model::Result;
use crate::plan::pending::{Item, items, render};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub const VERB: Verb = Verb::reads(
    "pending",
    "Config of a VM with its pending changes",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    match ctx.json() {
        true => ctx.object([("vmid", json!(vmid)), ("items", json_items(&config).into())]),
        false => ctx.text(render(&items(&config))),
    }
    Ok(0)
}

/// Every key of a config with what is and what comes, sorted; absent fields are left out.
pub fn json_items(config: &VmConfig) -> Vec<Value> {
    items(config)
        .iter()
        .map(|i| {
            let mut item = json!({"key": i.key});
            if let Some(value) = &i.value {
                item["value"] = json!(value);
            }
            if let Some(value) = &i.pending {
                item["pending"] = json!(value);
            }
            if i.delete > 0 {
                item["delete"] = json!(i.delete);
            }
            item
        })
        .collect()
}

/// The lines for items given as JSON (`explain pending-output`); items without a key are left out.
pub fn text_of_cases(list: &Value) -> String {
    let word = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let item = |i: &Value| {
        Some(Item {
            key: i["key"].as_str()?.to_owned(),
            value: word(&i["value"]),
            pending: word(&i["pending"]),
            delete: i["delete"].as_u64().map_or(0, |n| n.min(2) as u8),
        })
    };
    let all: Vec<Item> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(item)
        .collect();
    render(&all)
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
            let text = text_of_cases(&case["items"]);
            assert_eq!(text, case["stdout"].as_str().unwrap(), "{}", case["name"]);
            seen += 1;
        }
        assert!(seen >= 5);
    }
}
