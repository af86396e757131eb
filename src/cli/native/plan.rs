//! `volvisor plan`: looks at a saved plan, or runs it if the world is still as the plan saw it.

use crate::cli::args::positional;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{Error, Result};
use crate::plan::Plan;
use clap::{ArgMatches, Command};
use std::path::Path;

pub const SHOW: Verb = Verb::reads("plan show", "Show a saved plan", file, |ctx, m| {
    run::show_plan(ctx, &read(m)?)?;
    Ok(0)
});

pub const APPLY: Verb = Verb::changes("plan apply", "Run a saved plan", file, |ctx, m| {
    run::apply(ctx, read(m)?)
});

/// A plan of a 10,000-step prune is a few MiB.
const LIMIT: u64 = 256 << 20;

fn file(command: Command) -> Command {
    command.arg(positional("file", "The plan, as written by --save-plan"))
}

fn read(m: &ArgMatches) -> Result<Plan> {
    let path = parse::required(m, "file")?;
    let bytes = crate::sys::fs::read_file(Path::new(&path), LIMIT)?;
    let plan: Plan = serde_json::from_slice(&bytes).map_err(|e| {
        Error::usage(format!("'{path}' is not a saved plan"))
            .with_source(e)
            .hint("write one by adding --save-plan FILE to a changing command")
    })?;
    if plan.schema != Plan::SCHEMA {
        return Err(Error::unsupported(format!(
            "plan '{path}' has schema {}, this program knows {}",
            plan.schema,
            Plan::SCHEMA
        ))
        .hint("make the plan again with this program"));
    }
    Ok(plan)
}
