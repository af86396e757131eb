//! `qm listsnapshot`: the tree of snapshots of a machine.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::Section;
use crate::model::Result;
use crate::plan::tree::{nodes, render};
use crate::sys::clock::local_offset;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub const VERB: Verb = Verb::reads("listsnapshot", "Snapshots of a VM as a tree", define, run);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    let nodes = nodes(&config);
    if !ctx.json() {
        ctx.text(render(&nodes, local_offset));
        return Ok(0);
    }
    let all: Vec<Value> = nodes
        .iter()
        .map(|n| {
            let section = Section::Snapshot(n.name.clone());
            json!({
                "name": n.name,
                "snaptime": n.snaptime,
                "parent": n.parent,
                "description": n.description.clone().unwrap_or_default(),
                "vmstate": u8::from(config.get(&section, "vmstate").is_some()),
                "snapstate": config.get(&section, "snapstate"),
            })
        })
        .collect();
    ctx.object([("vmid", json!(vmid)), ("snapshots", all.into())]);
    Ok(0)
}
