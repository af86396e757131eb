//! `qm unlink`: takes disks out of a config; with --force their volumes are destroyed.

use crate::cli::args::{bad, flag, flag_arg, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("unlink", "Detach or destroy disks", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        option("idlist", "LIST", "Slots to detach: scsi1,unused0"),
        flag_arg(
            "force",
            "Destroy the volumes instead of keeping them as unused",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let slots = parse::lists(m, "idlist")
        .iter()
        .map(|word| crate::model::Slot::parse(word).map_err(|e| bad("idlist", e)))
        .collect::<Result<Vec<_>>>()?;
    if slots.is_empty() {
        return Err(bad("idlist", "property is missing and it is not optional"));
    }
    let intent = Intent::DiskUnlink {
        vmid: parse::vmid(m, "vmid")?,
        slots,
        force: flag(m, "force"),
    };
    run::change(ctx, &intent)
}
