//! `volvisor explain`: how a text is read, by the parsers that everything uses; touches no storage and no machine.

use super::args::positional;
use super::context::Context;
use super::verb::Verb;
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads(
    "explain",
    "How a text is read, and what would go wrong",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.arg(positional("kind", "What the text is"))
}

fn run(_: &Context, _: &ArgMatches) -> Result<i32> {
    Err(Error::unsupported("explain is not written yet"))
}
