//! `volvisor recover`: finishes or undoes what dead commands left.

use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::ArgMatches;

pub const VERB: Verb = Verb::reads(
    "recover",
    "Finish or undo interrupted operations",
    |c| c,
    run,
);

fn run(ctx: &Context, _: &ArgMatches) -> Result<i32> {
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
