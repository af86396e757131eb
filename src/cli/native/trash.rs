//! `volvisor trash`: volumes that `audit --fix quarantine` moved away, with when they may go.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::output::{Align, human_or_unknown, table, utc};
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{Result, VolumeId};
use crate::plan::Intent;
use crate::plan::trash::{Trashed, trashed};
use clap::ArgMatches;
use serde_json::json;

pub const LIST: Verb = Verb::reads("trash list", "Volumes in the trash", |c| c, list);
pub const RESTORE: Verb = Verb::changes(
    "trash restore",
    "Give a volume its name back",
    |c| c.arg(positional("volume", "The volume as trash list shows it")),
    |ctx, m| {
        run::change(
            ctx,
            &Intent::TrashRestore {
                volume: parse::volume(m, "volume")?,
            },
        )
    },
);
pub const EMPTY: Verb = Verb::changes(
    "trash empty",
    "Destroy volumes whose time is over",
    |c| c.arg(flag_arg("all", "Also those whose time is not over")),
    |ctx, m| {
        run::change(
            ctx,
            &Intent::TrashEmpty {
                all: flag(m, "all"),
            },
        )
    },
);

fn list(ctx: &Context, _: &ArgMatches) -> Result<i32> {
    let world = ctx.engine.observe_everything()?;
    let all = trashed(&world);
    let size = |t: &Trashed| world.volume(&t.volume).ok().and_then(|v| v.used.or(v.size));
    if ctx.json() {
        let values: Vec<_> = all
            .iter()
            .map(|t| {
                let original = VolumeId::new(t.volume.storage.clone(), t.original.clone());
                json!({"volume": t.volume, "original": original, "expires": t.expires,
                    "expired": t.expires <= world.now, "bytes": size(t)})
            })
            .collect();
        ctx.object([("trash", values.into())]);
        return Ok(0);
    }
    if all.is_empty() {
        ctx.note("the trash is empty");
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|t| {
            vec![
                t.volume.to_string(),
                t.original.to_string(),
                human_or_unknown(size(t)),
                utc(t.expires),
            ]
        })
        .collect();
    let head = [
        ("VOLUME", Align::Left),
        ("WAS", Align::Left),
        ("BYTES", Align::Right),
        ("EXPIRES (UTC)", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    Ok(0)
}
