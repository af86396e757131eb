//! `qm create`: a new VM from config keys; `scsi0=local:8` allocates a disk.

use crate::cli::args::{flag, flag_arg, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::{Keys, Verb};
use crate::cli::{keys, parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("create", "Create a VM", define, run).with_keys(Keys::Vm);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The new VM"),
        option("storage", "STORAGE", "Where disks go that name no storage"),
        flag_arg("start", "Start the VM afterwards"),
        option("pool", "POOL", "Accepted for compatibility"),
        flag_arg("unique", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VmCreate {
        vmid: parse::vmid(m, "vmid")?,
        settings: keys::given(m),
        storage: parse::storage_if_given(m, "storage")?,
        start: flag(m, "start"),
    };
    run::change(ctx, &intent)
}
