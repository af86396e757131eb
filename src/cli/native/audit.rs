//! `volvisor audit`: what storages and configs disagree about; changes nothing unless `--fix quarantine` says so.

use crate::cli::args::option;
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes(
    "audit",
    "Orphans, dangling references and leaked snapshots",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.args([
        option("fix", "quarantine", "Move orphan volumes into the trash"),
        option(
            "expire-days",
            "DAYS",
            "How long they stay there (default 30)",
        ),
    ])
}

fn run(_: &Context, _: &ArgMatches) -> Result<i32> {
    Err(Error::unsupported("audit is not written yet"))
}
