//! `pvesm free`: destroys a volume. Unlike the original it does not answer success when it failed.

use crate::cli::args::{bad, option, positional};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::changes("free", "Destroy a volume", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("volume", "The volume, STORAGE:NAME"),
        option(
            "storage",
            "STORAGE",
            "The storage, when the volume is named without it",
        ),
        option(
            "delay",
            "SECONDS",
            "Accepted for compatibility; the command always waits for the end",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    if parse::number(m, "delay")?.is_some_and(|s| !(1..=30).contains(&s)) {
        return Err(bad("delay", "value must be from 1 to 30"));
    }
    let volume = parse::volume(m, "volume")?;
    run::change(ctx, &Intent::VolumeFree { volume })
}
