//! `qm destroy`: a VM, its snapshots and its volumes.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("destroy", "Destroy a VM and its volumes", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg("purge", "Also remove it from jobs that name it"),
        flag_arg(
            "destroy-unreferenced-disks",
            "Also destroy volumes of this VM that no config names",
        ),
        flag_arg("skiplock", "Ignore the lock of the config"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VmDestroy {
        vmid: parse::vmid(m, "vmid")?,
        purge: flag(m, "purge"),
        destroy_unreferenced: flag(m, "destroy-unreferenced-disks"),
        skiplock: flag(m, "skiplock"),
    };
    run::change(ctx, &intent)
}
