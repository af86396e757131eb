//! `pvesm path`: where a volume is on this host; does not check that it exists.

use crate::cli::args::{option, positional};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::volname;
use crate::model::{ContentType, Result, SnapshotName, VolumeId};
use clap::{ArgMatches, Command};
use std::path::PathBuf;

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
    let path = locate(ctx, &volume, snapshot.as_ref())?;
    match ctx.json() {
        true => ctx.object([
            ("volid", serde_json::json!(volume)),
            ("path", serde_json::json!(path)),
        ]),
        false => ctx.line(path.to_string_lossy()),
    }
    Ok(0)
}

/// Images where their backend keeps them, everything else where its name says.
pub fn locate(
    ctx: &Context,
    volume: &VolumeId,
    snapshot: Option<&SnapshotName>,
) -> Result<PathBuf> {
    let section = ctx.engine.section(&volume.storage)?;
    let is_image = section
        .kind
        .and_then(|kind| volname::parse(kind, volume.name.as_str()).ok())
        .is_none_or(|parts| parts.content == ContentType::Images);
    Ok(match is_image {
        true => ctx
            .engine
            .backend(&volume.storage)?
            .path(&volume.name, snapshot)?,
        // Install media, templates and the like: the place follows from the name.
        false => {
            volname::host_path(&section, volume.name.as_str(), snapshot.map(|s| s.as_str()))?.into()
        }
    })
}
