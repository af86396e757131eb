//! `qm rescan`: sizes and unused volumes in configs as the storages have them; a dry run changes nothing at all.

use crate::cli::args::{flag, flag_arg, option};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes(
    "rescan",
    "Update sizes and unused disks in configs",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.args([
        option("vmid", "VMID", "Only this VM"),
        flag_arg("dryrun", "Say what would change and change nothing"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::Rescan {
        vmid: parse::vmid_if_given(m, "vmid")?,
    };
    if flag(m, "dryrun") && !ctx.globals.dry_run {
        run::show_plan(ctx, &ctx.engine.plan(&intent)?)?;
        return Ok(0);
    }
    run::change(ctx, &intent)
}
