//! `qm unlock`: takes a lock that nobody holds any more out of a config.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("unlock", "Unlock a VM", define, run);

fn define(command: Command) -> Command {
    command.args([positional("vmid", "The VM")])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    run::change(
        ctx,
        &Intent::VmUnlock {
            vmid: parse::vmid(m, "vmid")?,
        },
    )
}
