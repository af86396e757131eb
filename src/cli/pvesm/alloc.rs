//! `pvesm alloc`: a new volume of zeros, named or with the next free name.

use crate::cli::args::{bad, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{ImageFormat, Result};
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("alloc", "Allocate a volume", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("storage", "The storage"),
        positional("vmid", "The VM that owns the volume"),
        positional("filename", "Name of the volume; '' for the next free one"),
        positional("size", "Size in KiB, or with suffix M or G"),
        option("format", "FORMAT", "raw, qcow2, subvol or vmdk"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let leaf = parse::required(m, "filename")?;
    let mut format = parse::format(m, "format")?;
    let ending = leaf
        .rsplit_once('.')
        .and_then(|(_, ending)| ImageFormat::parse(ending))
        .filter(|f| *f != ImageFormat::Subvol);
    if let Some(ending) = ending {
        if let Some(other) = format.filter(|f| *f != ending) {
            return Err(bad(
                "format",
                format!("different storage formats specified - {other} and {ending}"),
            ));
        }
        format = Some(ending);
    }
    let intent = Intent::VolumeAlloc {
        storage: parse::storage(m, "storage")?,
        vmid: parse::vmid(m, "vmid")?,
        leaf: Some(leaf).filter(|l| !l.is_empty()),
        format,
        size: parse::alloc_size(m, "size")?,
    };
    run::change(ctx, &intent)
}
