//! `qm start`: spawns the machine of a VM and waits until it answers.

use crate::cli::args::{flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("start", "Start a VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("skiplock", "Ignore the lock of the config"),
        flag_arg("paused", "Do not run the processors until resume"),
        option("timeout", "SECONDS", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let _ = text(m, "timeout");
    let intent = Intent::VmStart {
        vmid: parse::vmid(m, "vmid")?,
        paused: flag(m, "paused"),
        skiplock: flag(m, "skiplock"),
    };
    run::change(ctx, &intent)
}
