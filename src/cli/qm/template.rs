//! `qm template`: makes a VM a template; its disks become read-only bases.

use crate::cli::args::{option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("template", "Make a VM a template", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        option("disk", "SLOT", "Only this disk"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let disk = text(m, "disk")
        .map(|_| parse::slot(m, "disk"))
        .transpose()?;
    run::change(
        ctx,
        &Intent::VmTemplate {
            vmid: parse::vmid(m, "vmid")?,
            disk,
        },
    )
}
