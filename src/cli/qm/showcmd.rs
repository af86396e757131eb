//! `qm showcmd`: the machine as it will be built from its config; starts nothing.

use crate::cli::args::{flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::machine::memory_mib;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::format::drive::{Drive, DriveFile};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Error, Result, Slot};
use clap::{ArgMatches, Command};
use serde_json::{Value, json};

pub const VERB: Verb = Verb::reads("showcmd", "The machine as it will be built", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg(
            "pretty",
            "Accepted for compatibility: one line a thing is the only form",
        ),
        option("snapshot", "NAME", "As it was at this snapshot"),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    let section = text(m, "snapshot").map_or(Section::Main, Section::Snapshot);
    if !config.has_section(&section) && section != Section::Main {
        return Err(Error::not_found("snapshot does not exist")
            .hint(format!("list snapshots with: qm listsnapshot {vmid}")));
    }
    let number = |key: &str| {
        config
            .get(&section, key)
            .and_then(|v| v.parse::<u64>().ok())
            .unwrap_or(1)
    };
    let (paths, drives) = (ctx.engine.paths(), drives(ctx, &config, &section));
    let machine = json!({
        "vmid": vmid,
        "name": config.get(&section, "name"),
        "memory": memory_mib(&config) << 20,
        "processors": number("sockets") * number("cores"),
        "drives": drives,
        "serial_log": paths.serial_log(vmid),
        "serial_socket": paths.machine_serial(vmid),
        "control_socket": paths.machine_control(vmid),
        "log": paths.machine_log(vmid),
    });
    if ctx.json() {
        ctx.object([("machine", machine)]);
        return Ok(0);
    }
    for (key, value) in machine.as_object().into_iter().flatten() {
        match value {
            Value::Array(all) => all.iter().for_each(|drive| ctx.line(drive_line(drive))),
            Value::Null => {}
            Value::String(text) => ctx.line(format!("{key}: {text}")),
            other => ctx.line(format!("{key}: {other}")),
        }
    }
    Ok(0)
}

/// What the guest will see as a disk. Empty CD drives are no disks.
fn drives(ctx: &Context, config: &VmConfig, section: &Section) -> Vec<Value> {
    config
        .drives(section)
        .iter()
        .filter(|(slot, _)| !slot.is_unused())
        .filter_map(|(slot, drive)| one(ctx, *slot, drive))
        .collect()
}

fn one(ctx: &Context, slot: Slot, drive: &Drive) -> Option<Value> {
    let path = match &drive.file {
        DriveFile::Empty | DriveFile::HostCdrom => return None,
        DriveFile::Path(path) => Ok(path.clone()),
        DriveFile::Volume(volume) => ctx
            .engine
            .backend(&volume.storage)
            .and_then(|b| b.path(&volume.name, None))
            .map(|p| p.to_string_lossy().into_owned())
            .map_err(|e| e.full_text()),
    };
    Some(json!({
        "slot": slot.to_string(),
        "volume": drive.volume().map(ToString::to_string),
        "path": path.as_ref().ok(),
        "problem": path.as_ref().err(),
        "read_only": drive.is_cdrom() || drive.get("ro") == Some("1"),
        "cache": drive.get("cache").unwrap_or("none"),
        "serial": drive.get("serial"),
        "size": drive.size(),
    }))
}

fn drive_line(drive: &Value) -> String {
    let word = |key: &str| drive[key].as_str().unwrap_or("-").to_owned();
    let mut line = format!("{}: {}", word("slot"), word("path"));
    if drive["read_only"] == true {
        line.push_str(" (read-only)");
    }
    if let Some(problem) = drive["problem"].as_str() {
        line.push_str(&format!(" problem: {problem}"));
    }
    line
}
