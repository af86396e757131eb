//! The snapshot tree of one machine as text, in the layout of `qm listsnapshot` (pve-vm 2.6); reads nothing but its input.

use crate::format::vm_config::{Section, VmConfig};
use crate::model::calendar::date_time;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

/// One line of the tree before it is placed. `current` is the machine as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub parent: Option<String>,
    /// Unix seconds; absent for `current`.
    pub snaptime: Option<u64>,
    pub description: Option<String>,
}

/// Snapshots of a config in file order, `current` last.
pub fn nodes(config: &VmConfig) -> Vec<Node> {
    let mut nodes: Vec<Node> = config
        .snapshots()
        .into_iter()
        .map(|name| {
            let section = Section::Snapshot(name.to_string());
            Node {
                name: name.to_string(),
                parent: config.get(&section, "parent"),
                snaptime: config
                    .get(&section, "snaptime")
                    .and_then(|t| t.parse().ok()),
                description: config.description(&section),
            }
        })
        .collect();
    nodes.push(Node {
        name: "current".to_owned(),
        parent: config.get(&Section::Main, "parent"),
        snaptime: None,
        description: Some("You are here!".to_owned()),
    });
    nodes
}

/// Children under parents, by time, `current` last; a parent that does not exist makes a root, and so does a ring of parents,
/// so that nothing is hidden. `utc_offset`: seconds that local time is ahead at a time. Ends with a newline.
pub fn render(nodes: &[Node], utc_offset: impl Fn(u64) -> i64) -> String {
    let mut order: Vec<&Node> = nodes.iter().collect();
    order.sort_by_key(|n| (n.name == "current", n.snaptime.unwrap_or(0)));
    let known: HashSet<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let mut children: HashMap<&str, Vec<&Node>> = HashMap::new();
    let mut roots: Vec<&Node> = Vec::new();
    for node in &order {
        match node.parent.as_deref().filter(|p| known.contains(p)) {
            Some(parent) => children.entry(parent).or_default().push(node),
            None => roots.push(node),
        }
    }
    let mut out = String::new();
    let mut shown: HashSet<&str> = HashSet::new();
    for start in roots.into_iter().chain(order) {
        // A stack instead of recursion: a config may hold a chain of any length.
        let mut stack = vec![(start, 0)];
        while let Some((node, depth)) = stack.pop() {
            if !shown.insert(&node.name) {
                continue;
            }
            line(&mut out, node, depth, &utc_offset);
            let below = children.get(node.name.as_str()).into_iter().flatten();
            stack.extend(below.rev().map(|n| (*n, depth + 1)));
        }
    }
    out
}

fn line(out: &mut String, node: &Node, depth: usize, utc_offset: &impl Fn(u64) -> i64) {
    let prefix = format!("{}`->", " ".repeat(depth));
    let width = 30usize.saturating_sub(prefix.len());
    let time = node
        .snaptime
        .map(|t| date_time((t as i64).saturating_add(utc_offset(t))))
        .unwrap_or_default();
    let text = match node.description.as_deref() {
        None | Some("") => "no-description",
        Some(text) => text.split('\n').next().unwrap_or(""),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{prefix} {:<width$} {time:<23} {text}", node.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_of_parents_hides_nothing_and_ends() {
        let node = |name: &str, parent: &str| Node {
            name: name.to_owned(),
            snaptime: Some(1),
            parent: Some(parent.to_owned()),
            description: None,
        };
        let text = render(
            &[node("aa", "bb"), node("bb", "aa"), node("current", "bb")],
            |_| 0,
        );
        assert_eq!(text.lines().count(), 3);
    }
}
