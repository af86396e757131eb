//! `qm clone`: a new VM with linked or full copies of the disks.

use crate::cli::args::{bad, flag_arg, flag_if_given, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{CloneMode, Result};
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("clone", "Clone a VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        positional("newid", "The new VM"),
        option("name", "NAME", "Name of the new VM"),
        option("description", "TEXT", "Description of the new VM"),
        flag_arg(
            "full",
            "Copy all data (default unless the VM is a template)",
        ),
        option("snapname", "NAME", "Clone this snapshot"),
        option("storage", "STORAGE", "Put full copies here"),
        option(
            "format",
            "FORMAT",
            "Format of full copies: raw, qcow2 or vmdk",
        ),
        option("target", "NODE", "Accepted for this node only"),
        option("pool", "POOL", "Accepted for compatibility"),
        option("bwlimit", "KIB", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    if let Some(node) = text(m, "target").filter(|n| *n != crate::engine::node_name()) {
        return Err(bad("target", format!("node '{node}' is not this node")));
    }
    let intent = Intent::VmClone {
        vmid: parse::vmid(m, "vmid")?,
        newid: parse::vmid(m, "newid")?,
        name: text(m, "name"),
        description: text(m, "description"),
        mode: flag_if_given(m, "full").map(|full| match full {
            true => CloneMode::Full,
            false => CloneMode::Linked,
        }),
        snapshot: parse::snapshot_if_given(m, "snapname")?,
        storage: parse::storage_if_given(m, "storage")?,
        format: parse::format(m, "format")?,
    };
    run::change(ctx, &intent)
}
