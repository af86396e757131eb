//! `qm set`: changes keys of a config, at once or pending while the VM runs.

use crate::cli::args::{bad, flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::verb::{Keys, Verb};
use crate::cli::{keys, parse, run};
use crate::model::{Error, Result};
use crate::plan::Intent;
use clap::{ArgAction, ArgMatches, Command};

pub const VERB: Verb = Verb::changes("set", "Change a VM", define, run).with_keys(Keys::Vm);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        option("delete", "LIST", "Keys to delete").action(ArgAction::Append),
        option("revert", "LIST", "Pending changes to take back").action(ArgAction::Append),
        flag_arg(
            "force",
            "Destroy the volumes of deleted disks instead of keeping them as unused",
        ),
        option("digest", "SHA1", "Refuse when the config has changed since"),
        flag_arg(
            "skiplock",
            "Accepted for compatibility; a locked VM is refused, see qm unlock",
        ),
        option("background_delay", "SECONDS", "Accepted for compatibility"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let settings = keys::given(m);
    let delete = parse::lists(m, "delete");
    let revert = parse::lists(m, "revert");
    if settings.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(Error::usage("no options specified")
            .hint("name a key and its value: --memory 2048, or: --delete KEY, --revert KEY"));
    }
    for (key, list) in delete
        .iter()
        .map(|k| (k, "delete"))
        .chain(revert.iter().map(|k| (k, "revert")))
    {
        if keys::known(Keys::Vm, key).is_none() {
            return Err(bad(list, format!("unknown option '{key}'")));
        }
        if settings.iter().any(|(k, _)| k == key) {
            return Err(bad(
                key,
                "unable to set and delete property at the same time",
            ));
        }
    }
    let intent = Intent::VmSet {
        vmid: parse::vmid(m, "vmid")?,
        settings,
        delete,
        revert,
        force: flag(m, "force"),
        digest: text(m, "digest"),
    };
    run::change(ctx, &intent)
}
