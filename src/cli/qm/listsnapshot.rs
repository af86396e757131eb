//! `qm listsnapshot`: the tree of snapshots of a machine.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads("listsnapshot", "Snapshots of a VM as a tree", define, run);

fn define(command: Command) -> Command {
    command.arg(positional("vmid", "The VM"))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, _config) = ctx.engine.vm_config(vmid)?;
    Err(Error::unsupported("listsnapshot is not written yet"))
}
