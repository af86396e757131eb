//! `qm listsnapshot`: the tree of snapshots of a machine.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::output::utc;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::Result;
use crate::sys::clock::local_offset;
use clap::{ArgMatches, Command};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

pub const VERB: Verb = Verb::reads("listsnapshot", "Snapshots of a VM as a tree", define, run);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

/// One node; `current` has no time.
struct Node {
    name: String,
    time: Option<u64>,
    parent: Option<String>,
    description: String,
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    let nodes = nodes(&config);
    if ctx.json() {
        let all: Vec<Value> = nodes
            .iter()
            .map(|n| {
                let section = Section::Snapshot(n.name.clone());
                json!({
                    "name": n.name,
                    "snaptime": n.time,
                    "parent": n.parent,
                    "description": n.description,
                    "vmstate": u8::from(config.get(&section, "vmstate").is_some()),
                    "snapstate": config.get(&section, "snapstate"),
                })
            })
            .collect();
        ctx.object([("vmid", json!(vmid)), ("snapshots", all.into())]);
    } else {
        ctx.text(tree(&nodes));
    }
    Ok(0)
}

/// In file order, `current` last.
fn nodes(config: &VmConfig) -> Vec<Node> {
    let mut all: Vec<Node> = config
        .snapshots()
        .iter()
        .map(|name| {
            let section = Section::Snapshot(name.to_string());
            Node {
                name: name.to_string(),
                time: config
                    .get(&section, "snaptime")
                    .and_then(|t| t.parse().ok()),
                parent: config.get(&section, "parent"),
                description: config.description(&section).unwrap_or_default(),
            }
        })
        .collect();
    all.push(Node {
        name: "current".to_owned(),
        time: None,
        parent: config.get(&Section::Main, "parent"),
        description: "You are here!".to_owned(),
    });
    all
}

/// Roots and children by time, `current` last. A snapshot whose parent is missing is a root; one inside a ring of parents is
/// shown as a root too, so that nothing is hidden.
fn tree(nodes: &[Node]) -> String {
    let mut order: Vec<&Node> = nodes.iter().collect();
    order.sort_by_key(|n| (n.name == "current", n.time.unwrap_or(0)));
    let names: HashSet<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let parent = |n: &Node| n.parent.clone().filter(|p| names.contains(p.as_str()));
    let mut children: HashMap<String, Vec<&Node>> = HashMap::new();
    let mut roots: Vec<&Node> = Vec::new();
    for node in &order {
        match parent(node) {
            Some(name) => children.entry(name).or_default().push(node),
            None => roots.push(node),
        }
    }
    let mut text = String::new();
    let mut shown: HashSet<&str> = HashSet::new();
    for start in roots.into_iter().chain(order) {
        let mut stack = vec![(start, 0)];
        while let Some((node, depth)) = stack.pop() {
            if !shown.insert(&node.name) {
                continue;
            }
            text.push_str(&line(node, depth));
            let below = children.get(&node.name).into_iter().flatten().rev();
            stack.extend(below.map(|child| (*child, depth + 1)));
        }
    }
    text
}

fn line(node: &Node, depth: usize) -> String {
    let prefix = format!("{:depth$}`->", "");
    let wide = 30usize.saturating_sub(prefix.len());
    let time = node
        .time
        .map(|t| utc(t.saturating_add_signed(local_offset(t))))
        .unwrap_or_default();
    let what = match node.description.as_str() {
        "" => "no-description",
        text => text.split('\n').next().unwrap_or_default(),
    };
    format!("{prefix} {:<wide$} {time:<23} {what}\n", node.name)
}

/// The tree for snapshots given as JSON (`explain listsnapshot-tree`); entries without a name are left out.
pub fn of_cases(list: &Value) -> String {
    let node = |n: &Value| {
        Some(Node {
            name: n["name"].as_str()?.to_owned(),
            time: n["snaptime"].as_u64(),
            parent: n["parent"].as_str().map(str::to_owned),
            description: n["description"].as_str().unwrap_or_default().to_owned(),
        })
    };
    let nodes: Vec<Node> = list
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(node)
        .collect();
    tree(&nodes)
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
            if local_offset(1_700_000_000) != 0 {
                println!("SKIPPED: the cases are in UTC and this host is not");
                return;
            }
            assert_eq!(
                of_cases(&case["list"]),
                case["stdout"].as_str().unwrap(),
                "{}",
                case["name"]
            );
            seen += 1;
        }
        assert!(seen >= 5);
    }

    #[test]
    fn a_ring_of_parents_hides_nothing_and_ends() {
        let node = |name: &str, parent: &str| Node {
            name: name.to_owned(),
            time: Some(1),
            parent: Some(parent.to_owned()),
            description: String::new(),
        };
        let text = tree(&[node("aa", "bb"), node("bb", "aa"), node("current", "bb")]);
        assert_eq!(text.lines().count(), 3);
    }
}
