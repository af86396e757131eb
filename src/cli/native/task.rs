//! `volvisor task`: what ran, when, and how it ended, from the journals.

use crate::cli::args::{flag, flag_arg, option, positional};
use crate::cli::context::Context;
use crate::cli::output::{Align, table, utc};
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::engine::Task;
use crate::model::{Error, OpId, Result};
use clap::ArgMatches;
use serde_json::json;

pub const LIST: Verb = Verb::reads(
    "task list",
    "Operations, newest first",
    |c| {
        c.args([
            option("vmid", "VMID", "Only of this VM"),
            option("limit", "COUNT", "At most so many (default 50; 0: all)"),
            flag_arg("unfinished", "Only those that run or were interrupted"),
        ])
    },
    list,
);

pub const SHOW: Verb = Verb::reads(
    "task show",
    "One operation with its journal",
    |c| c.arg(positional("task", "Its id, or the unique beginning of it")),
    show,
);

fn list(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid_if_given(m, "vmid")?;
    let limit = match parse::number(m, "limit")? {
        None => 50,
        Some(0) => usize::MAX,
        Some(count) => count as usize,
    };
    let mut tasks = ctx.engine.tasks()?;
    tasks.retain(|t| vmid.is_none_or(|id| t.vmid == Some(id)));
    tasks.retain(|t| !flag(m, "unfinished") || t.ended.is_none());
    tasks.truncate(limit);
    if ctx.json() {
        ctx.object([("tasks", json!(tasks))]);
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = tasks
        .iter()
        .map(|t| {
            vec![
                t.op.to_string(),
                t.verb.clone(),
                t.vmid.map_or_else(|| "-".to_owned(), |v| v.to_string()),
                utc(t.started),
                t.ended.map_or_else(
                    || "-".to_owned(),
                    |e| format!("{} s", e.saturating_sub(t.started)),
                ),
                format!("{}/{}", t.steps_done, t.steps),
                t.status.clone(),
            ]
        })
        .collect();
    let head = [
        ("TASK", Align::Left),
        ("VERB", Align::Left),
        ("VM", Align::Right),
        ("STARTED (UTC)", Align::Left),
        ("TOOK", Align::Right),
        ("STEPS", Align::Right),
        ("STATUS", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    Ok(0)
}

fn show(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let word = parse::required(m, "task")?;
    let tasks = ctx.engine.tasks()?;
    let exact: Vec<&Task> = tasks.iter().filter(|t| t.op.as_str() == word).collect();
    let found = match exact.is_empty() {
        true => tasks
            .iter()
            .filter(|t| t.op.as_str().starts_with(&word))
            .collect(),
        false => exact,
    };
    let op: &OpId = match found.as_slice() {
        [one] => &one.op,
        [] => {
            return Err(Error::not_found(format!("no task '{word}'"))
                .hint("list tasks with: volvisor task list --limit 0"));
        }
        many => {
            return Err(
                Error::usage(format!("{} tasks begin with '{word}'", many.len()))
                    .hint("write more of the id"),
            );
        }
    };
    let log = ctx.engine.task_log(op)?;
    if ctx.json() {
        ctx.object([("task", json!(found[0])), ("log", json!(log))]);
        return Ok(0);
    }
    let task = found[0];
    ctx.line(format!("task:    {}", task.op));
    ctx.line(format!("verb:    {}", task.verb));
    ctx.line(format!(
        "started: {} UTC by process {}",
        utc(task.started),
        task.pid
    ));
    if let Some(ended) = task.ended {
        ctx.line(format!("ended:   {} UTC", utc(ended)));
    }
    ctx.line(format!(
        "status:  {} ({} of {} steps)",
        task.status, task.steps_done, task.steps
    ));
    ctx.line("journal:");
    log.iter().for_each(|line| ctx.line(format!("  {line}")));
    Ok(0)
}
