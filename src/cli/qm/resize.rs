//! `qm resize`: grows a disk; never shrinks one.

use crate::cli::args::{bad, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::format::size;
use crate::model::Result;
use crate::plan::Intent;
use crate::plan::intent::SizeWish;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("resize", "Grow a disk", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        positional("disk", "The slot: scsi0"),
        positional("size", "New size (10G) or growth (+2G)"),
        option("digest", "SHA1", "Refuse when the config has changed since"),
        flag_arg(
            "skiplock",
            "Accepted for compatibility; a locked VM is refused, see qm unlock",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let word = parse::required(m, "size")?;
    let change = match size::parse_size_change(&word).map_err(|e| bad("size", e.full_text()))? {
        size::SizeChange::To(bytes) => SizeWish::To(bytes),
        size::SizeChange::Plus(bytes) => SizeWish::Plus(bytes),
    };
    let intent = Intent::DiskResize {
        vmid: parse::vmid(m, "vmid")?,
        slot: parse::slot(m, "disk")?,
        change,
        digest: text(m, "digest"),
    };
    run::change(ctx, &intent)
}
