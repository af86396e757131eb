//! Machines as the command line sees them: config, running or not, boot disk; and the small control commands. Changes no files.

use super::args::flag;
use super::context::Context;
use super::parse;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Error, Result, Slot, VmId};
use clap::ArgMatches;
use serde_json::json;

/// Sends one control command to a running machine.
pub fn command(ctx: &Context, m: &ArgMatches, execute: &str, word: &str) -> Result<i32> {
    let vmid = parse::vmid(m, "vmid")?;
    let (_, config) = ctx.engine.vm_config(vmid)?;
    if let Some(lock) = config
        .get(&Section::Main, "lock")
        .filter(|_| !flag(m, "skiplock"))
    {
        return Err(Error::busy(format!("VM is locked ({lock})")).hint(format!(
            "wait for the operation, or look with: volvisor vm show {vmid}"
        )));
    }
    if ctx.engine.running(vmid).is_none() {
        return Err(Error::failed(format!("VM {vmid} not running"))
            .hint(format!("start it with: qm start {vmid}")));
    }
    if ctx.globals.dry_run {
        match ctx.json() {
            true => ctx.object([("vmid", json!(vmid)), ("execute", json!(execute))]),
            false => ctx.line(format!(
                "plan: {word} machine {vmid} (control command '{execute}')"
            )),
        }
        return Ok(0);
    }
    let answer = ctx.engine.control(vmid, execute, json!({}))?;
    if ctx.json() {
        ctx.object([
            ("vmid", json!(vmid)),
            ("execute", json!(execute)),
            ("return", answer),
        ]);
    }
    Ok(0)
}

/// One machine for lists.
pub struct Overview {
    pub vmid: VmId,
    pub name: String,
    /// `running`, `stopped`, and with `ask` also `paused` and so on.
    pub status: String,
    pub memory_mib: u64,
    pub boot_disk: u64,
    pub pid: u32,
    pub template: bool,
    pub lock: Option<String>,
    pub tags: Option<String>,
    pub since: Option<u64>,
    pub cores: u64,
}

/// `ask`: ask the running machine itself what it does.
pub fn overview(ctx: &Context, vmid: VmId, config: &VmConfig, ask: bool) -> Overview {
    let main = |key: &str| config.get(&Section::Main, key);
    let running = ctx.engine.running(vmid);
    let number =
        |key: &str, default: u64| main(key).and_then(|v| v.parse().ok()).unwrap_or(default);
    Overview {
        vmid,
        name: main("name").unwrap_or_else(|| format!("VM {vmid}")),
        status: match running {
            None => "stopped".to_owned(),
            Some(_) if ask => asked(ctx, vmid),
            Some(_) => "running".to_owned(),
        },
        memory_mib: memory_mib(config),
        boot_disk: boot_disk(config),
        pid: running.as_ref().map_or(0, |r| r.pid),
        template: main("template").as_deref() == Some("1"),
        lock: main("lock"),
        tags: main("tags"),
        since: running.map(|r| r.since),
        cores: number("sockets", 1) * number("cores", 1),
    }
}

/// What the machine says it is doing; `unknown` when it does not answer.
fn asked(ctx: &Context, vmid: VmId) -> String {
    ctx.engine
        .control(vmid, "query-status", json!({}))
        .ok()
        .and_then(|answer| answer["status"].as_str().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// `memory: 2048` or `memory: current=2048`; 512 when not given.
pub fn memory_mib(config: &VmConfig) -> u64 {
    config
        .get(&Section::Main, "memory")
        .and_then(|text| {
            text.split(',')
                .find_map(|part| {
                    part.strip_prefix("current=")
                        .or((!part.contains('=')).then_some(part))
                })
                .and_then(|n| n.trim().parse().ok())
        })
        .unwrap_or(512)
}

/// Size in bytes of the disk the machine boots from, 0 when unknown.
fn boot_disk(config: &VmConfig) -> u64 {
    let drives = config.drives(&Section::Main);
    let size = |slot: Slot| {
        drives
            .iter()
            .find(|(s, d)| *s == slot && !d.is_cdrom())
            .and_then(|(_, d)| d.size())
            .map(|s| s.get())
    };
    let order = config.get(&Section::Main, "boot").and_then(|text| {
        text.split(',')
            .find_map(|part| part.strip_prefix("order=").map(str::to_owned))
    });
    let named = match order {
        Some(order) => order
            .split(';')
            .filter_map(|word| Slot::parse(word).ok())
            .find_map(size),
        None => config
            .get(&Section::Main, "bootdisk")
            .and_then(|word| Slot::parse(&word).ok())
            .and_then(size),
    };
    named.unwrap_or(0)
}

impl Overview {
    pub fn json(&self) -> serde_json::Value {
        json!({
            "vmid": self.vmid,
            "name": self.name,
            "status": self.status,
            "memory": self.memory_mib << 20,
            "cores": self.cores,
            "bootdisk": self.boot_disk,
            "pid": (self.pid != 0).then_some(self.pid),
            "since": self.since,
            "template": self.template,
            "lock": self.lock,
            "tags": self.tags,
        })
    }
}
