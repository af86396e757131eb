//! `pvesm remove`: takes a storage out of storage.cfg; its data stay.

use crate::cli::args::positional;
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes(
    "remove",
    "Remove a storage from storage.cfg, data stay",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.arg(positional("storage", "The storage"))
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    run::change(
        ctx,
        &Intent::StorageRemove {
            id: parse::storage(m, "storage")?,
        },
    )
}
