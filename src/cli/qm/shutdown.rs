//! `qm shutdown`: asks the guest to power off and waits.

use crate::cli::args::{flag, flag_arg, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("shutdown", "Shut a VM down through its guest", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("skiplock", "Ignore the lock of the config"),
        option("timeout", "SECONDS", "Wait so long (default 180)"),
        flag_arg(
            "forceStop",
            "Stop the VM when the guest does not obey in time",
        ),
        flag_arg("keepActive", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VmShutdown {
        vmid: parse::vmid(m, "vmid")?,
        timeout_s: parse::number(m, "timeout")?.unwrap_or(180),
        force_stop: flag(m, "forceStop"),
        skiplock: flag(m, "skiplock"),
    };
    run::change(ctx, &intent)
}
