//! `volvisor audit`: what storages and configs disagree about; changes nothing unless `--fix quarantine` says so.

use crate::cli::args::{bad, option, text};
use crate::cli::context::Context;
use crate::cli::output::{Align, human, table};
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::model::{ByteCount, Result, VolumeId};
use crate::plan::Intent;
use crate::plan::audit::{Finding, FindingKind, audit};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub const VERB: Verb = Verb::changes(
    "audit",
    "Orphans, dangling references and leaked snapshots; exit code 3 when there are any",
    define,
    run,
);

fn define(command: Command) -> Command {
    command.args([
        option(
            "fix",
            "quarantine",
            "Move volumes that nobody names into the trash",
        ),
        option(
            "expire-days",
            "DAYS",
            "How long they stay there (default 30)",
        ),
        option("vmid", "VMID", "Only what concerns this VM"),
    ])
}

/// Exit code when something was found.
const FINDINGS: i32 = 3;

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid_if_given(m, "vmid")?;
    let mut found = audit(&ctx.engine.observe_everything()?);
    found.retain(|f| vmid.is_none_or(|id| f.vmid == Some(id.get())));
    match text(m, "fix").as_deref() {
        None => {}
        Some("quarantine") => return quarantine(ctx, m, &found),
        Some(other) => {
            return Err(bad("fix", format!("unknown fix '{other}'"))
                .hint("volvisor audit --fix quarantine"));
        }
    }
    if ctx.json() {
        let bytes: u64 = found.iter().filter_map(|f| f.bytes).sum();
        ctx.object([
            ("count", found.len().into()),
            ("bytes", bytes.into()),
            ("findings", json!(found)),
        ]);
    } else if found.is_empty() {
        ctx.line("nothing found: storages and configs agree");
    } else {
        show(ctx, &found);
    }
    Ok(if found.is_empty() { 0 } else { FINDINGS })
}

fn show(ctx: &Context, found: &[Finding]) {
    let word = |kind: FindingKind| match json!(kind) {
        Value::String(word) => word,
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|f| {
            vec![
                word(f.kind),
                f.object.clone(),
                f.vmid.map_or_else(|| "-".to_owned(), |v| v.to_string()),
                f.bytes
                    .map_or_else(|| "-".to_owned(), |b| human(ByteCount(b))),
                f.age_s.map_or_else(|| "-".to_owned(), age),
                f.evidence.clone(),
            ]
        })
        .collect();
    let head = [
        ("FINDING", Align::Left),
        ("OBJECT", Align::Left),
        ("VM", Align::Right),
        ("BYTES", Align::Right),
        ("AGE", Align::Right),
        ("EVIDENCE", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    ctx.line("");
    for finding in found {
        ctx.line(format!("{}: {}", finding.object, finding.suggestion));
    }
}

/// `5 s`, `3 min`, `7 h`, `12 d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Only volumes that no config names in any section: a rename can break nothing.
fn quarantine(ctx: &Context, m: &ArgMatches, found: &[Finding]) -> Result<i32> {
    let days = parse::number(m, "expire-days")?.unwrap_or(30);
    let volumes: Vec<VolumeId> = found
        .iter()
        .filter(|f| {
            matches!(
                f.kind,
                FindingKind::VolumeWithoutVm
                    | FindingKind::VolumeWithoutReference
                    | FindingKind::LeakedState
            )
        })
        .filter_map(|f| VolumeId::parse(&f.object).ok())
        .collect();
    if volumes.is_empty() {
        match ctx.json() {
            true => ctx.object([("outcome", "already-so".into()), ("done", json!([]))]),
            false => ctx.line("no volume to move: every one is named by a config"),
        }
        return Ok(0);
    }
    run::change(
        ctx,
        &Intent::Quarantine {
            volumes,
            expire_days: days,
        },
    )
}
