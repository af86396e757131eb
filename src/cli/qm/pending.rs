//! `qm pending`: every key with its current and its coming value.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::VmConfig;
use crate::model::Result;
use crate::plan::pending::{items, render};
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
fn json_items(config: &VmConfig) -> Vec<Value> {
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
