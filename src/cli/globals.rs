//! Options every command has: where the root is, how to print, whether to change anything; defines and reads them, acts on none.

use super::args::{flag, flag_arg, option, text};
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};
use std::path::PathBuf;

/// Values of the common options.
#[derive(Debug, Clone, Default)]
pub struct Globals {
    pub root: PathBuf,
    pub json: bool,
    pub quiet: bool,
    pub dry_run: bool,
    pub save_plan: Option<PathBuf>,
    pub yes: bool,
}

/// Long names of the common options that may stand before the command, and whether they take a value.
pub const LEADING: &[(&str, bool)] = &[
    ("root", true),
    ("output", true),
    ("output-format", true),
    ("quiet", false),
    ("dry-run", false),
    ("save-plan", true),
    ("yes", false),
];

pub fn define(command: Command, changes: bool) -> Command {
    let command = command.next_help_heading("Common options").args([
        option(
            "root",
            "DIR",
            "Work below this directory instead of / (also VOLVISOR_ROOT)",
        ),
        option("output", "table|json", "How to print the result")
            .short('o')
            .visible_alias("output-format"),
        flag_arg("quiet", "No notes and no progress").short('q'),
    ]);
    if !changes {
        return command;
    }
    command.args([
        flag_arg("dry-run", "Print the plan and change nothing"),
        option(
            "save-plan",
            "FILE",
            "Write the plan to FILE and change nothing",
        ),
        flag_arg("yes", "Destroy without asking").short('y'),
    ])
}

pub fn read(matches: &ArgMatches, changes: bool) -> Result<Globals> {
    let json = match text(matches, "output").as_deref() {
        None | Some("table" | "text" | "human") => false,
        Some("json" | "json-pretty") => true,
        Some(other) => {
            return Err(Error::usage(format!("unknown output format '{other}'"))
                .hint("use -o table or -o json"));
        }
    };
    let root = text(matches, "root")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("VOLVISOR_ROOT").map(PathBuf::from))
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or_else(|| PathBuf::from("/"));
    Ok(Globals {
        root,
        json,
        quiet: flag(matches, "quiet"),
        dry_run: changes && flag(matches, "dry-run"),
        save_plan: text(matches, "save-plan")
            .filter(|_| changes)
            .map(PathBuf::from),
        yes: changes && flag(matches, "yes"),
    })
}
