//! `pvesm set`: changes or deletes properties of a storage.

use crate::cli::args::{bad, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::{Keys, Verb};
use crate::cli::{keys, parse, run};
use crate::model::Result;
use crate::plan::Intent;
use clap::{ArgAction, ArgMatches, Command};

pub const VERB: Verb =
    Verb::changes("set", "Change a storage", define, run).with_keys(Keys::StorageSet);

fn define(command: Command) -> Command {
    command.args([
        positional("storage", "The storage"),
        option("delete", "LIST", "Properties to delete").action(ArgAction::Append),
        option(
            "digest",
            "SHA1",
            "Refuse when storage.cfg has changed since",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let properties = keys::given(m);
    let delete = parse::lists(m, "delete");
    if let Some(both) = delete
        .iter()
        .find(|d| properties.iter().any(|(k, _)| k == *d))
    {
        return Err(bad(
            both,
            "unable to set and delete property at the same time",
        ));
    }
    let intent = Intent::StorageSet {
        id: parse::storage(m, "storage")?,
        properties,
        delete,
        digest: text(m, "digest"),
    };
    run::change(ctx, &intent)
}
