//! The one path of every changing command: intent, then plan only or run; it knows no command by name.

use super::context::Context;
use crate::engine::Report;
use crate::model::{Error, ErrorKind, Result};
use crate::plan::{Intent, Plan};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

/// Does what `intent` says, or prints the plan (`--dry-run`) or saves it (`--save-plan`). Exit code 0.
pub fn change(ctx: &Context, intent: &Intent) -> Result<i32> {
    if ctx.globals.dry_run || ctx.globals.save_plan.is_some() {
        let plan = ctx.engine.plan(intent)?;
        if let Some(path) = &ctx.globals.save_plan {
            save(path, &plan)?;
            ctx.note(&format!(
                "plan saved; run it with: volvisor plan apply {}",
                path.display()
            ));
        }
        show_plan(ctx, &plan)?;
        return Ok(0);
    }
    confirm(ctx, intent)?;
    let report = ctx.engine.run(intent, &mut progress(ctx))?;
    show_report(ctx, &report);
    Ok(0)
}

/// Runs a saved plan.
pub fn apply(ctx: &Context, plan: Plan) -> Result<i32> {
    if ctx.globals.dry_run {
        show_plan(ctx, &plan)?;
        return Ok(0);
    }
    confirm(ctx, &plan.intent.clone())?;
    let report = ctx.engine.apply(plan, &mut progress(ctx))?;
    show_report(ctx, &report);
    Ok(0)
}

/// Steps are reported to a terminal only: a log of cron should hold results.
fn progress(ctx: &Context) -> impl FnMut(&str) {
    let wanted = !ctx.globals.quiet && std::io::stderr().is_terminal();
    move |line| {
        if wanted {
            let _ = writeln!(std::io::stderr(), "  {line}");
        }
    }
}

fn save(path: &Path, plan: &Plan) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(plan)
        .map_err(|e| Error::failed("cannot write the plan as JSON").with_source(e))?;
    bytes.push(b'\n');
    crate::sys::fs::replace_file(path, &bytes, 0o600)
}

/// The plan on standard output, as text or JSON.
pub fn show_plan(ctx: &Context, plan: &Plan) -> Result<()> {
    if ctx.json() {
        let value = serde_json::to_string_pretty(plan)
            .map_err(|e| Error::failed("cannot print the plan as JSON").with_source(e))?;
        ctx.line(value);
    } else if let Intent::Rescan { .. } = plan.intent {
        // The words scripts look for.
        ctx.line("NOTE: running in dry-run mode, won't write changes out!");
        plan.notes
            .iter()
            .chain(&plan.done)
            .for_each(|l| ctx.line(l));
    } else {
        ctx.text(crate::plan::render::render(plan));
    }
    Ok(())
}

fn show_report(ctx: &Context, report: &Report) {
    if ctx.json() {
        let measured: serde_json::Map<String, serde_json::Value> = report
            .measured
            .iter()
            .map(|(name, value)| {
                let number = value.parse::<u64>().map(Into::into);
                (
                    name.clone(),
                    number.unwrap_or_else(|_| value.clone().into()),
                )
            })
            .collect();
        ctx.object([
            ("op", serde_json::json!(report.op)),
            ("verb", report.plan.intent.verb().into()),
            ("outcome", serde_json::json!(report.outcome)),
            ("steps", report.plan.steps.len().into()),
            ("notes", serde_json::json!(report.plan.notes)),
            ("done", serde_json::json!(report.plan.done)),
            ("measured", measured.into()),
        ]);
        return;
    }
    for note in &report.plan.notes {
        ctx.note(note);
    }
    for line in &report.plan.done {
        ctx.line(line);
    }
    if !report.measured.is_empty() {
        let all: Vec<String> = report
            .measured
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        ctx.note(&all.join(", "));
    }
}

/// What would be lost, for commands that destroy data.
fn loss(intent: &Intent) -> Option<String> {
    Some(match intent {
        Intent::VolumeFree { volume } => format!("destroys volume {volume}"),
        Intent::VolumeForgetSnapshot { volume, name } => {
            format!("destroys snapshot '{name}' of volume {volume}")
        }
        Intent::VmDestroy { vmid, .. } => format!("destroys VM {vmid} and its volumes"),
        Intent::Rollback { vmid, name, .. } => {
            format!("discards everything VM {vmid} wrote since snapshot '{name}'")
        }
        Intent::SnapshotDelete { vmid, name, .. } => {
            format!("destroys snapshot '{name}' of VM {vmid}")
        }
        Intent::SnapshotPrune { vmid, .. } => format!("destroys old snapshots of VM {vmid}"),
        Intent::TrashEmpty { .. } => "destroys volumes in the trash".to_owned(),
        _ => return None,
    })
}

/// Native commands that destroy data want `--yes` or a yes on the terminal; applets never ask, as scripts expect.
fn confirm(ctx: &Context, intent: &Intent) -> Result<()> {
    let Some(loss) = loss(intent).filter(|_| !ctx.applet && !ctx.globals.yes) else {
        return Ok(());
    };
    let refused = || {
        Error::new(ErrorKind::NeedsConfirmation, format!("this {loss}"))
            .hint("add --yes to confirm, or --dry-run to see what would happen")
    };
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(refused());
    }
    let _ = write!(std::io::stderr(), "This {loss}. Go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => Err(refused()),
    }
}
