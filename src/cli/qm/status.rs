//! `qm status`: whether a machine runs, in one line; `--verbose` everything known.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::machine::overview;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::{ArgMatches, Command};
use std::collections::BTreeMap;

pub const VERB: Verb = Verb::reads("status", "Status of a VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("verbose", "Everything that is known"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    let now = overview(ctx, vmid, &config, true);
    if ctx.json() {
        ctx.object([("machine", now.json())]);
        return Ok(0);
    }
    if !flag(m, "verbose") {
        ctx.line(format!("status: {}", now.status));
        return Ok(0);
    }
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    all.insert("cpus", now.cores.to_string());
    all.insert("maxdisk", now.boot_disk.to_string());
    all.insert("maxmem", (now.memory_mib << 20).to_string());
    all.insert("name", now.name);
    all.insert("qmpstatus", now.status.clone());
    let running = now.pid != 0;
    all.insert(
        "status",
        if running { "running" } else { "stopped" }.to_owned(),
    );
    all.insert("vmid", vmid.to_string());
    if running {
        all.insert("pid", now.pid.to_string());
    }
    if let Some(since) = now.since {
        let uptime = crate::sys::clock::now().saturating_sub(since);
        all.insert("uptime", uptime.to_string());
    }
    if let Some(lock) = now.lock {
        all.insert("lock", lock);
    }
    if let Some(tags) = now.tags {
        all.insert("tags", tags);
    }
    if now.template {
        all.insert("template", "1".to_owned());
    }
    for (key, value) in all {
        ctx.line(format!("{key}: {value}"));
    }
    Ok(0)
}
