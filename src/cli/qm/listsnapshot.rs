//! `qm listsnapshot`: the tree of snapshots of a machine.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::Section;
use crate::model::Result;
use crate::plan::tree::{Node, nodes, render};
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

/// The tree for snapshots given as JSON (`explain listsnapshot-tree`), in UTC; entries without a name are left out.
pub fn of_cases(list: &Value) -> String {
    let node = |n: &Value| {
        Some(Node {
            name: n["name"].as_str()?.to_owned(),
            snaptime: n["snaptime"].as_u64(),
            parent: n["parent"].as_str().map(str::to_owned),
            description: n["description"].as_str().map(str::to_owned),
        })
    };
    let nodes: Vec<Node> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(node)
        .collect();
    render(&nodes, |_| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_drawn_as_people_know_it() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/cases/vm/listsnapshot-tree.jsonl"
        );
        let mut seen = 0;
        for case in std::fs::read_to_string(path).unwrap().lines() {
            let case: Value = serde_json::from_str(case).unwrap();
            assert_eq!(of_cases(&case["list"]), case["stdout"].as_str().unwrap());
            seen += 1;
        }
        assert!(seen >= 5);
    }
}
