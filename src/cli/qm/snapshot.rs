//! `qm snapshot`: all disks of a VM and its config, at one instant.

use crate::cli::args::{flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("snapshot", "Take a snapshot of a VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        positional("snapname", "Name of the snapshot"),
        option("description", "TEXT", "What the snapshot is for"),
        flag_arg("vmstate", "Save the memory of the running machine too"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::Snapshot {
        vmid: parse::vmid(m, "vmid")?,
        name: parse::snapshot(m, "snapname")?,
        description: text(m, "description"),
        vmstate: flag(m, "vmstate"),
    };
    run::change(ctx, &intent)
}
