//! `qm pending`: every key with its current and its coming value.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads(
    "pending",
    "Config of a VM with its pending changes",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, _config) = ctx.engine.vm_config(vmid)?;
    Err(Error::unsupported("pending is not written yet"))
}
