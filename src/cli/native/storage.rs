//! `volvisor storage`: configured storages, with sizes for people and reasons why one does not work.

use crate::cli::args::{bad, flag, flag_arg, option};
use crate::cli::context::Context;
use crate::cli::output::{Align, human, table};
use crate::cli::parse;
use crate::cli::storages::{Filter, Row, rows};
use crate::cli::verb::Verb;
use crate::model::Result;
use clap::ArgMatches;
use serde_json::json;

pub const LIST: Verb = Verb::reads(
    "storage list",
    "Configured storages and what is wrong in storage.cfg",
    |c| c,
    list,
);

pub const STATUS: Verb = Verb::reads(
    "storage status",
    "Storages, whether they work and how full they are",
    |c| {
        c.args([
            option("storage", "STORAGE", "Only this storage"),
            option(
                "content",
                "LIST",
                "Only storages that may hold one of these",
            ),
            flag_arg("enabled", "Only storages that are enabled here"),
        ])
    },
    status,
);

fn words<T: ToString>(all: &[T]) -> String {
    let words: Vec<String> = all.iter().map(ToString::to_string).collect();
    words.join(",")
}

fn list(ctx: &Context, _: &ArgMatches) -> Result<i32> {
    let (_, cfg) = ctx.engine.storage_cfg()?;
    let sections = ctx.engine.sections()?;
    if ctx.json() {
        let all: Vec<_> = sections
            .iter()
            .map(|s| {
                let properties: serde_json::Map<String, serde_json::Value> =
                    s.properties.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
                json!({"storage": s.id, "type": s.type_word, "known": s.kind.is_some(), "content": s.content,
                    "enabled": s.enabled(), "broken": s.broken, "properties": properties})
            })
            .collect();
        let problems: Vec<_> = cfg
            .problems()
            .iter()
            .map(|p| json!({"line": p.line, "column": p.column, "message": p.message}))
            .collect();
        ctx.object([("storages", all.into()), ("problems", problems.into())]);
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = sections
        .iter()
        .map(|s| {
            let state = match (&s.broken, s.kind, s.enabled()) {
                (Some(why), _, _) => why.clone(),
                (None, None, _) => "unknown type, kept as it is".to_owned(),
                (None, _, false) => "disabled".to_owned(),
                _ => "enabled".to_owned(),
            };
            let place = ["path", "pool", "vgname", "server", "export", "portal"]
                .iter()
                .find_map(|key| s.get(key));
            vec![
                s.id.to_string(),
                s.type_word.clone(),
                words(&s.content),
                place.unwrap_or("-").to_owned(),
                state,
            ]
        })
        .collect();
    let head = [
        ("STORAGE", Align::Left),
        ("TYPE", Align::Left),
        ("CONTENT", Align::Left),
        ("WHERE", Align::Left),
        ("STATE", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    for problem in cfg.problems() {
        ctx.note(&format!(
            "storage.cfg, line {}, column {}: {}",
            problem.line, problem.column, problem.message
        ));
    }
    Ok(0)
}

fn status(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let filter = Filter {
        storage: parse::storage_if_given(m, "storage")?,
        content: parse::contents(m, "content")?,
        enabled: flag(m, "enabled"),
    };
    let all = rows(ctx, &filter)?;
    if all.is_empty() && filter.storage.is_some() {
        return Err(bad("storage", "No such storage.")
            .with_kind(crate::model::ErrorKind::NotFound)
            .hint("list storages with: volvisor storage list"));
    }
    if ctx.json() {
        let values: Vec<_> = all.iter().map(Row::json).collect();
        ctx.object([("storages", values.into())]);
        return Ok(0);
    }
    let lines: Vec<Vec<String>> = all
        .iter()
        .map(|r| {
            let size = |s| if r.active { human(s) } else { "-".to_owned() };
            vec![
                r.storage.clone(),
                r.type_word.clone(),
                r.status().to_owned(),
                size(r.space.total),
                size(r.space.used),
                size(r.space.available),
                r.reason.clone().filter(|_| r.enabled).unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("STORAGE", Align::Left),
        ("TYPE", Align::Left),
        ("STATUS", Align::Left),
        ("TOTAL", Align::Right),
        ("USED", Align::Right),
        ("FREE", Align::Right),
        ("WHY NOT", Align::Left),
    ];
    ctx.text(table(&head, &lines));
    Ok(0)
}
