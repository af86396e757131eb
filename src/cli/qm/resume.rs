//! `qm resume`: lets the processors of a paused machine run on.

use crate::cli::args::{flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::machine;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("resume", "Resume a paused VM", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("skiplock", "Ignore the lock of the config"),
        flag_arg("nocheck", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    machine::command(ctx, m, "cont", "resume")
}
