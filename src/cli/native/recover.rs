//! `volvisor recover`: finishes or undoes what dead commands left.

use crate::cli::args::{flag, flag_arg};
use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::ArgMatches;

pub const VERB: Verb = Verb::reads(
    "recover",
    "Finish or undo interrupted operations",
    |c| c.arg(flag_arg("dry-run", "Only list what waits for recovery")),
    run,
);

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    if flag(m, "dry-run") {
        let waiting = ctx.engine.interrupted()?;
        if ctx.json() {
            ctx.object([("interrupted", serde_json::json!(waiting))]);
        } else if waiting.is_empty() {
            ctx.line("nothing to recover");
        } else {
            waiting.iter().for_each(|line| ctx.line(line));
        }
        return Ok(0);
    }
    let lines = ctx.engine.recover()?;
    if ctx.json() {
        ctx.object([("recovered", serde_json::json!(lines))]);
    } else if lines.is_empty() {
        ctx.line("nothing to recover");
    } else {
        lines.iter().for_each(|line| ctx.line(line));
    }
    Ok(0)
}
