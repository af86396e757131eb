//! `qm stop`: ends a machine at once, after its writes have reached the disk.

use crate::cli::args::{flag, flag_arg, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("stop", "Stop a VM at once", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("skiplock", "Ignore the lock of the config"),
        option(
            "timeout",
            "SECONDS",
            "Wait so long before the process is killed (default 60)",
        ),
        flag_arg("keepActive", "Accepted for compatibility"),
        flag_arg(
            "overrule-shutdown",
            "Accepted for compatibility: stop never waits for a shutdown",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VmStop {
        vmid: parse::vmid(m, "vmid")?,
        timeout_s: parse::number(m, "timeout")?.unwrap_or(60),
        skiplock: flag(m, "skiplock"),
    };
    run::change(ctx, &intent)
}
