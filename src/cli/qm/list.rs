//! `qm list`: every machine of this node in one table.

use crate::cli::args::{flag, flag_arg};
use crate::cli::context::Context;
use crate::cli::machine::{Overview, overview};
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads("list", "Machines of this node", define, run);

fn define(command: Command) -> Command {
    command.arg(flag_arg(
        "full",
        "Ask running machines for their exact status",
    ))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let rows = all(ctx, flag(m, "full"))?;
    if ctx.json() {
        let values: Vec<_> = rows.iter().map(Overview::json).collect();
        ctx.object([("machines", values.into())]);
    } else {
        ctx.text(table(&rows));
    }
    Ok(0)
}

/// Machines by number. One whose config cannot be read is reported and left out, it does not hide the others.
pub fn all(ctx: &Context, ask: bool) -> Result<Vec<Overview>> {
    let mut ids = ctx.engine.vmids()?;
    ids.sort_unstable();
    let mut rows = Vec::new();
    for vmid in ids {
        match ctx.engine.vm_config(vmid) {
            Ok((_, config)) => rows.push(overview(ctx, vmid, &config, ask)),
            Err(error) => ctx.note(&error.full_text()),
        }
    }
    Ok(rows)
}

fn table(rows: &[Overview]) -> String {
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str(&format!(
            "{:>10} {:<20} {:<10} {:<10} {:>12} {:<10}\n",
            "VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID"
        ));
    }
    for row in rows {
        text.push_str(&format!(
            "{:>10} {:<20} {:<10} {:<10} {:>12.2} {:<10}\n",
            row.vmid.get(),
            row.name,
            row.status,
            row.memory_mib,
            row.boot_disk as f64 / (1u64 << 30) as f64,
            row.pid
        ));
    }
    text
}
