//! `qm config`: a config as it will be after pending changes, as it is now, or as it was at a snapshot.

use crate::cli::args::{flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::vm_config::{Section, VmConfig, digest, encode_description};
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};
use std::collections::BTreeMap;

pub const VERB: Verb = Verb::reads("config", "Config of a VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("current", "Without pending changes"),
        option("snapshot", "NAME", "As it was at this snapshot"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (bytes, config) = ctx.engine.vm_config(vmid)?;
    let section = match text(m, "snapshot") {
        None => Section::Main,
        Some(name) => Section::Snapshot(name),
    };
    if let Section::Snapshot(name) = &section
        && !config.has_section(&section)
    {
        return Err(
            Error::not_found(format!("snapshot '{name}' does not exist"))
                .hint(format!("list snapshots with: qm listsnapshot {vmid}")),
        );
    }
    let pending = section == Section::Main && !flag(m, "current");
    let entries = values(&config, &section, pending);
    if ctx.json() {
        ctx.object([
            ("vmid", serde_json::json!(vmid)),
            ("digest", digest(&bytes.0).into()),
            ("config", serde_json::json!(entries)),
        ]);
        return Ok(0);
    }
    for (key, value) in &entries {
        match key.as_str() {
            "description" => ctx.line(format!("description: {}", encode_description(value))),
            _ => ctx.line(format!("{key}: {value}")),
        }
    }
    for problem in config.problems() {
        ctx.note(&format!(
            "VM {vmid} config, line {}, column {}: {}",
            problem.line, problem.column, problem.message
        ));
    }
    Ok(0)
}

/// Sorted; with `pending` as the config will be when pending changes are applied.
pub fn values(config: &VmConfig, section: &Section, pending: bool) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = config.entries(section).into_iter().collect();
    if let Some(description) = config.description(section) {
        all.insert("description".into(), description);
    }
    if !pending {
        return all;
    }
    for (key, value) in config.entries(&Section::Pending) {
        if key != "delete" {
            all.insert(key, value);
            continue;
        }
        for word in parse::list(&value) {
            all.remove(word.trim_start_matches('!'));
        }
    }
    all
}
