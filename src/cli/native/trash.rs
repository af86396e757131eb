//! `volvisor trash`: volumes that `audit --fix quarantine` moved away, with when they may go.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{Error, Result};
use crate::plan::Intent;
use clap::ArgMatches;

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

fn list(_: &Context, _: &ArgMatches) -> Result<i32> {
    Err(Error::unsupported("trash list is not written yet"))
}
