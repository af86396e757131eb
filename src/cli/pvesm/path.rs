//! `pvesm path`: where a volume is on this host; does not check that it exists.

use crate::cli::args::{option, positional};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::volname;
use crate::model::{ContentType, Result};
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
    let section = ctx.engine.section(&volume.storage)?;
    let is_image = section
        .kind
        .and_then(|kind| volname::parse(kind, volume.name.as_str()).ok())
        .is_none_or(|parts| parts.content == ContentType::Images);
    let path = match is_image {
        true => ctx
            .engine
            .backend(&volume.storage)?
            .path(&volume.name, snapshot.as_ref())?,
        // Install media, templates and the like: the place follows from the name.
        false => volname::host_path(
            &section,
            volume.name.as_str(),
            snapshot.as_ref().map(|s| s.as_str()),
        )?
        .into(),
    };
    match ctx.json() {
        true => ctx.object([
            ("volid", serde_json::json!(volume)),
            ("path", serde_json::json!(path)),
        ]),
        false => ctx.line(path.to_string_lossy()),
    }
    Ok(0)
}
