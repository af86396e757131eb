//! `qm rollback`: every disk and the config back to a snapshot, or none of it.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("rollback", "Roll a VM back to a snapshot", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        positional("snapname", "Name of the snapshot"),
        flag_arg("start", "Start the VM afterwards"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::Rollback {
        vmid: parse::vmid(m, "vmid")?,
        name: parse::snapshot(m, "snapname")?,
        start: flag(m, "start"),
    };
    run::change(ctx, &intent)
}
