//! `volvisor snapshot`: snapshots of machines with how and why each disk was taken, and retention.

use crate::cli::args::{bad, flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::output::{Align, table, utc};
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Error, Result, SnapshotName, StorageId, VmId};
use crate::plan::Intent;
use crate::plan::intent::KeepRules;
use clap::ArgMatches;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const LIST: Verb = Verb::reads(
    "snapshot list",
    "Snapshots of one machine or all, with the method of each disk",
    |c| {
        c.arg(positional("vmid", "The VM (default: all)").required(false))
            .arg(flag_arg(
                "disks",
                "Ask the storages how each disk was taken",
            ))
    },
    list,
);

pub const PRUNE: Verb = Verb::changes(
    "snapshot prune",
    "Delete old snapshots by retention rules",
    |c| {
        c.args([
            positional("vmid", "The VM"),
            option("keep-last", "COUNT", "Keep the newest ones"),
            option("keep-hourly", "COUNT", "Keep one of each of the last hours"),
            option("keep-daily", "COUNT", "Keep one of each of the last days"),
            option("keep-weekly", "COUNT", "Keep one of each of the last weeks"),
            option(
                "keep-monthly",
                "COUNT",
                "Keep one of each of the last months",
            ),
            option("keep-yearly", "COUNT", "Keep one of each of the last years"),
            flag_arg("keep-all", "Keep everything"),
            option("prefix", "TEXT", "Only snapshots whose name begins so"),
        ])
    },
    prune,
);

fn prune(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let keep = KeepRules {
        all: flag(m, "keep-all"),
        last: parse::number(m, "keep-last")?,
        hourly: parse::number(m, "keep-hourly")?,
        daily: parse::number(m, "keep-daily")?,
        weekly: parse::number(m, "keep-weekly")?,
        monthly: parse::number(m, "keep-monthly")?,
        yearly: parse::number(m, "keep-yearly")?,
    };
    if keep == KeepRules::default() {
        return Err(bad("keep-last", "no rule says what to keep")
            .hint("add for example --keep-last 3 --keep-daily 7"));
    }
    let intent = Intent::SnapshotPrune {
        vmid: parse::vmid(m, "vmid")?,
        keep,
        prefix: text(m, "prefix"),
    };
    run::change(ctx, &intent)
}

/// What one storage says about the snapshots of its volumes: (volume, snapshot) to method and reason.
type Methods = BTreeMap<(String, String), (String, &'static str)>;

fn list(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let ids = match parse::vmid_if_given(m, "vmid")? {
        Some(vmid) => vec![vmid],
        None => ctx.engine.vmids()?,
    };
    let single = ids.len() == 1;
    let mut asked: BTreeMap<StorageId, Methods> = BTreeMap::new();
    let mut all = Vec::new();
    for vmid in ids {
        let config = match ctx.engine.vm_config(vmid) {
            Ok((_, config)) => config,
            Err(error) if single => return Err(error),
            Err(error) => {
                ctx.note(&error.full_text());
                continue;
            }
        };
        for name in config.snapshots() {
            all.push(entry(ctx, vmid, &config, &name, &mut asked));
        }
    }
    if ctx.json() {
        ctx.object([("snapshots", all.into())]);
        return Ok(0);
    }
    let word = |v: &Value| match v {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|s| {
            let mut methods: Vec<String> = s["disks"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|d| word(&d["method"]))
                .collect();
            methods.dedup();
            vec![
                word(&s["vmid"]),
                word(&s["name"]),
                s["taken"].as_u64().map_or_else(|| "-".to_owned(), utc),
                word(&s["parent"]),
                methods.join(","),
                measured(&s["measured"]),
                word(&s["description"])
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ]
        })
        .collect();
    let head = [
        ("VM", Align::Right),
        ("SNAPSHOT", Align::Left),
        ("TAKEN (UTC)", Align::Left),
        ("PARENT", Align::Left),
        ("METHOD", Align::Left),
        ("PAUSE, SKEW, CONSISTENCY", Align::Left),
        ("DESCRIPTION", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    Ok(0)
}

/// What was measured when it was taken: `812 us, 40 us, crash`.
fn measured(facts: &Value) -> String {
    let parts: Vec<String> = ["pause_us", "skew_us"]
        .iter()
        .filter_map(|key| facts[key].as_u64().map(|us| format!("{us} us")))
        .chain(facts["consistency"].as_str().map(str::to_owned))
        .collect();
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(", "),
    }
}

fn entry(
    ctx: &Context,
    vmid: VmId,
    config: &VmConfig,
    name: &SnapshotName,
    asked: &mut BTreeMap<StorageId, Methods>,
) -> Value {
    let section = Section::Snapshot(name.to_string());
    let disks: Vec<Value> = config
        .drives(&section)
        .into_iter()
        .filter(|(slot, drive)| !slot.is_unused() && !drive.is_cdrom())
        .filter_map(|(slot, drive)| drive.volume().cloned().map(|v| (slot, v)))
        .map(|(slot, volume)| {
            let methods = asked
                .entry(volume.storage.clone())
                .or_insert_with(|| methods(ctx, &volume.storage).unwrap_or_default());
            let known = methods.get(&(volume.name.to_string(), name.to_string()));
            json!({
                "slot": slot.to_string(),
                "volume": volume,
                "exists": known.is_some(),
                "method": known.map(|(method, _)| method),
                "why": known.map(|(_, why)| why),
            })
        })
        .collect();
    json!({
        "vmid": vmid,
        "name": name,
        "taken": config.get(&section, "snaptime").and_then(|t| t.parse::<u64>().ok()),
        "parent": config.get(&section, "parent"),
        "description": config.description(&section),
        "state": config.get(&section, "snapstate"),
        "vmstate": config.get(&section, "vmstate"),
        "measured": ctx.engine.measured(vmid, name),
        "disks": disks,
    })
}

fn methods(ctx: &Context, storage: &StorageId) -> std::result::Result<Methods, Error> {
    let inventory = ctx.engine.backend(storage)?.inventory()?;
    Ok(inventory
        .volumes
        .iter()
        .flat_map(|v| v.snapshots.iter().map(move |s| (v, s)))
        .map(|(v, s)| {
            (
                (v.name.to_string(), s.name.clone()),
                (s.method.to_string(), s.method.reason()),
            )
        })
        .collect())
}
