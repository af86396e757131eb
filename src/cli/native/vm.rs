//! `volvisor vm list` and `vm show`: machines for people and programs.

use crate::cli::args::{flag, flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::machine::{Overview, overview};
use crate::cli::output::{Align, human, human_or_unknown, table, utc};
use crate::cli::parse;
use crate::cli::qm;
use crate::cli::verb::Verb;
use crate::format::vm_config::{Section, digest};
use crate::model::{ByteCount, Result};
use clap::ArgMatches;
use serde_json::json;

pub const LIST: Verb = Verb::reads(
    "vm list",
    "Machines of this node",
    |c| {
        c.arg(flag_arg(
            "full",
            "Ask running machines for their exact status",
        ))
    },
    list,
);
pub const SHOW: Verb = Verb::reads(
    "vm show",
    "One machine: state, disks, snapshots",
    |c| c.arg(positional("vmid", "The VM")),
    show,
);

fn list(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let all = qm::machines(ctx, flag(m, "full"))?;
    if ctx.json() {
        let values: Vec<_> = all.iter().map(Overview::json).collect();
        ctx.object([("machines", values.into())]);
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|v| {
            vec![
                v.vmid.to_string(),
                v.name.clone(),
                v.status.clone(),
                v.cores.to_string(),
                human(ByteCount(v.memory_mib << 20)),
                human(ByteCount(v.boot_disk)),
                v.lock.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("VM", Align::Right),
        ("NAME", Align::Left),
        ("STATUS", Align::Left),
        ("CORES", Align::Right),
        ("MEMORY", Align::Right),
        ("BOOT DISK", Align::Right),
        ("LOCK", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    Ok(0)
}

fn show(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (bytes, config) = ctx.engine.vm_config(vmid)?;
    let now = overview(ctx, vmid, &config, true);
    let drives = config.drives(&Section::Main);
    let task = ctx
        .engine
        .tasks()
        .unwrap_or_default()
        .into_iter()
        .find(|t| t.vmid == Some(vmid));
    if ctx.json() {
        let mut value = now.json();
        value["digest"] = digest(&bytes.0).into();
        value["drives"] = drives
            .iter()
            .map(|(slot, d)| {
                json!({"slot": slot.to_string(), "volume": d.volume(), "size": d.size(), "cdrom": d.is_cdrom(), "text": d.to_string()})
            })
            .collect();
        value["snapshots"] = json!(config.snapshots());
        value["pending"] = config.has_section(&Section::Pending).into();
        value["last_task"] = json!(task);
        ctx.object([("machine", value)]);
        return Ok(0);
    }
    ctx.line(format!("VM {vmid} '{}': {}", now.name, now.status));
    if let Some(lock) = &now.lock {
        ctx.line(format!("locked: {lock}"));
    }
    ctx.line(format!(
        "{} cores, {} memory",
        now.cores,
        human(ByteCount(now.memory_mib << 20))
    ));
    for (slot, drive) in &drives {
        ctx.line(format!(
            "{:<10} {} ({})",
            slot.to_string(),
            drive
                .volume()
                .map_or_else(|| drive.to_string(), ToString::to_string),
            human_or_unknown(drive.size())
        ));
    }
    for name in config.snapshots() {
        let taken = config
            .get(&Section::Snapshot(name.to_string()), "snaptime")
            .and_then(|t| t.parse().ok())
            .map_or_else(String::new, |t| format!(" taken {} UTC", utc(t)));
        ctx.line(format!("snapshot   {name}{taken}"));
    }
    if let Some(task) = task {
        ctx.line(format!(
            "last task  {} {} {} UTC: {}",
            task.op,
            task.verb,
            utc(task.started),
            task.status
        ));
    }
    Ok(0)
}
