//! `pvesm path`: where a volume is on this host; does not check that it exists.

use crate::cli::args::{option, positional};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads("path", "Path of a volume on this host", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("volume", "The volume, STORAGE:NAME"),
        option("snapshot", "NAME", "Path of this snapshot of it").hide(true),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let volume = parse::volume(m, "volume")?;
    let snapshot = parse::snapshot_if_given(m, "snapshot")?;
    let path = ctx
        .engine
        .backend(&volume.storage)?
        .path(&volume.name, snapshot.as_ref())?;
    match ctx.json() {
        true => ctx.object([
            ("volid", serde_json::json!(volume)),
            ("path", serde_json::json!(path)),
        ]),
        false => ctx.line(path.to_string_lossy()),
    }
    Ok(0)
}
