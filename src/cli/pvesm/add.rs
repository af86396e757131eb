//! `pvesm add`: configures a storage.

use crate::cli::args::{bad, positional};
use crate::cli::context::Context;
use crate::cli::verb::{Keys, Verb};
use crate::cli::{keys, parse, run};
use crate::model::{Result, StorageKind};
use crate::plan::Intent;
use clap::{ArgMatches, Command};

pub const VERB: Verb =
    Verb::changes("add", "Add a storage to storage.cfg", define, run).with_keys(Keys::StorageAdd);

fn define(command: Command) -> Command {
    command.args([
        positional("type", "dir, nfs, zfspool, lvmthin, ..."),
        positional("storage", "Name of the new storage"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let word = parse::required(m, "type")?;
    let kind = StorageKind::parse(&word).ok_or_else(|| {
        let all: Vec<&str> = StorageKind::ALL.iter().map(|k| k.as_str()).collect();
        bad(
            "type",
            format!(
                "value '{word}' does not have a value in the enumeration '{}'",
                all.join(", ")
            ),
        )
    })?;
    let intent = Intent::StorageAdd {
        id: parse::storage(m, "storage")?,
        kind,
        properties: keys::given(m),
    };
    run::change(ctx, &intent)
}
