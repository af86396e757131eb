//! `qm showcmd`: the machine as it will be built from its config; starts nothing.

use crate::cli::args::{flag_arg, positional};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::engine::build::{DrivePlan, MachinePlan};
use crate::model::Result;
use clap::{ArgMatches, Command};
use serde_json::json;

pub const VERB: Verb = Verb::reads("showcmd", "The machine as it will be built", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("vmid", "The VM"),
        flag_arg(
            "pretty",
            "Accepted for compatibility: one line a thing is the only form",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let plan = ctx.engine.machine_plan(parse::vmid(m, "vmid")?)?;
    if ctx.json() {
        let mut value = json!(plan);
        for (drive, planned) in value["drives"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .zip(&plan.drives)
        {
            drive["path"] = json!(path(ctx, planned).ok());
        }
        ctx.object([("machine", value)]);
        return Ok(0);
    }
    lines(ctx, &plan).iter().for_each(|line| ctx.line(line));
    Ok(0)
}

fn path(ctx: &Context, drive: &DrivePlan) -> Result<String> {
    let path = crate::cli::pvesm::locate(ctx, &drive.volume, None)?;
    Ok(path.to_string_lossy().into_owned())
}

fn lines(ctx: &Context, plan: &MachinePlan) -> Vec<String> {
    let firmware = plan.firmware.as_deref();
    let mut all = vec![
        format!("machine: {} ({})", plan.vmid, plan.name),
        format!("processors: {}", plan.cpus),
        format!("memory: {} MiB", plan.memory_mib),
        format!(
            "firmware: {}",
            firmware.unwrap_or("none: it cannot be started")
        ),
    ];
    for drive in &plan.drives {
        let place = path(ctx, drive).unwrap_or_else(|e| format!("problem: {}", e.full_text()));
        let writes = match (drive.read_only, drive.write_cache) {
            (true, _) => "read-only",
            (false, true) => "write cache",
            (false, false) => "write through",
        };
        all.push(format!(
            "{}: {} as {}, serial {}, {writes}, {place}",
            drive.slot, drive.volume, drive.device, drive.serial
        ));
    }
    all.push(format!("control: {}", plan.control_socket.display()));
    all.push(format!("serial: {}", plan.serial_socket.display()));
    all.push(format!("serial log: {}", plan.serial_log.display()));
    all.extend(plan.ignored.iter().map(|line| format!("not built: {line}")));
    all
}
