//! `qm delsnapshot`: deletes one snapshot from every disk and the config.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("delsnapshot", "Delete a snapshot", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        positional("snapname", "Name of the snapshot"),
        flag_arg(
            "force",
            "Drop it from the config even when a disk snapshot cannot be deleted",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::SnapshotDelete {
        vmid: parse::vmid(m, "vmid")?,
        name: parse::snapshot(m, "snapname")?,
        force: flag(m, "force"),
    };
    run::change(ctx, &intent)
}
