//! `pvesm apiinfo`: the storage plugin API that this program is compatible with.

use crate::cli::context::Context;
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::ArgMatches;

pub const VERB: Verb = Verb::reads(
    "apiinfo",
    "Version and age of the storage plugin API",
    |c| c,
    run,
);

const VERSION: u32 = 15;
const AGE: u32 = 6;

fn run(ctx: &Context, _: &ArgMatches) -> Result<i32> {
    match ctx.json() {
        true => ctx.object([("apiver", VERSION.into()), ("apiage", AGE.into())]),
        false => ctx.text(format!("APIVER {VERSION}\nAPIAGE {AGE}\n")),
    }
    Ok(0)
}
