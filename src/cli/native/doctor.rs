//! `volvisor doctor`: whether this host and its configs are fit for work; changes nothing.

use crate::cli::context::Context;
use crate::cli::output::{Align, table};
use crate::cli::storages::{Filter, rows};
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::ArgMatches;
use serde_json::json;

pub const VERB: Verb = Verb::reads(
    "doctor",
    "Whether this host and its configs are fit for work; exit code 3 when something is not",
    |c| c,
    run,
);

/// One thing looked at; `problem` with what to do about it.
struct Check {
    what: String,
    problem: Option<String>,
    help: Option<String>,
}

impl Check {
    fn new(what: impl Into<String>, problem: Option<String>, help: Option<String>) -> Self {
        Check {
            what: what.into(),
            problem,
            help,
        }
    }
}

fn run(ctx: &Context, _: &ArgMatches) -> Result<i32> {
    let mut checks = Vec::new();
    let kvm = crate::vmm::probe().err();
    checks.push(Check::new(
        "machines can run (KVM)",
        kvm.as_ref().map(|e| e.full_text()),
        kvm.and_then(|e| e.hint_text().map(str::to_owned)),
    ));
    configs(ctx, &mut checks)?;
    for row in rows(ctx, &Filter::default())?.iter().filter(|r| r.enabled) {
        checks.push(Check::new(
            format!("storage '{}' works", row.storage),
            row.reason.clone(),
            None,
        ));
    }
    let waiting = ctx.engine.interrupted()?;
    let some = (!waiting.is_empty()).then(|| waiting.join(", "));
    let help = some.as_ref().map(|_| "volvisor recover".to_owned());
    checks.push(Check::new("no operation was interrupted", some, help));
    let bad = checks.iter().filter(|c| c.problem.is_some()).count();
    show(ctx, &checks);
    Ok(if bad == 0 { 0 } else { 3 })
}

fn configs(ctx: &Context, checks: &mut Vec<Check>) -> Result<()> {
    let told = |problems: &[crate::format::storage_cfg::Problem]| {
        let lines: Vec<String> = problems
            .iter()
            .map(|p| format!("line {}, column {}: {}", p.line, p.column, p.message))
            .collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    };
    let (_, cfg) = ctx.engine.storage_cfg()?;
    checks.push(Check::new(
        "storage.cfg can be read",
        told(cfg.problems()),
        None,
    ));
    for vmid in ctx.engine.vmids()? {
        let problem = match ctx.engine.vm_config(vmid) {
            Ok((_, config)) => told(config.problems()),
            Err(error) => Some(error.full_text()),
        };
        checks.push(Check::new(
            format!("config of VM {vmid} can be read"),
            problem,
            None,
        ));
    }
    Ok(())
}

fn show(ctx: &Context, checks: &[Check]) {
    if ctx.json() {
        let all: Vec<_> = checks
            .iter()
            .map(|c| json!({"check": c.what, "ok": c.problem.is_none(), "problem": c.problem, "help": c.help}))
            .collect();
        ctx.object([("checks", all.into())]);
        return;
    }
    let rows: Vec<Vec<String>> = checks
        .iter()
        .map(|c| {
            vec![
                if c.problem.is_none() { "ok" } else { "NOT OK" }.to_owned(),
                c.what.clone(),
                c.problem.clone().unwrap_or_default(),
                c.help.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("", Align::Left),
        ("CHECK", Align::Left),
        ("PROBLEM", Align::Left),
        ("HELP", Align::Left),
    ];
    ctx.text(table(&head, &rows));
}
