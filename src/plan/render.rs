//! A plan as text for people: what is done step by step, config changes as line differences, where the point of no return lies.

use super::step::StopHow;
use super::{Plan, Step};
use crate::model::Text;
use std::collections::HashMap;
use std::fmt::Write;

/// Numbered steps with their effects; ends with a newline.
pub fn render(plan: &Plan) -> String {
    let mut out = String::new();
    let verb = plan.intent.verb();
    match plan.intent.vmid() {
        Some(vmid) => put(&mut out, format_args!("plan: {verb} (VM {vmid})")),
        None => put(&mut out, format_args!("plan: {verb}")),
    }
    for note in &plan.notes {
        put(&mut out, format_args!("note: {note}"));
    }
    if plan.steps.is_empty() {
        put(&mut out, format_args!("nothing to do"));
    }
    for (at, step) in plan.steps.iter().enumerate() {
        if at == plan.commit && at > 0 {
            put(
                &mut out,
                format_args!(
                    "---- commit: interrupted above this line, the plan is undone; below, it is finished ----"
                ),
            );
        }
        put(&mut out, format_args!("{:>3}. {}", at + 1, step_line(step)));
        if let Step::WriteConfig { before, after, .. } = step {
            difference(&mut out, before.as_ref(), after.as_ref());
        }
        if let Step::WriteStorageCfg { before, after } = step {
            difference(&mut out, before.as_ref(), Some(after));
        }
    }
    if !plan.steps.is_empty() && plan.commit == 0 {
        put(
            &mut out,
            format_args!("interrupted anywhere, the plan is finished"),
        );
    } else if !plan.steps.is_empty() && plan.commit >= plan.steps.len() {
        put(
            &mut out,
            format_args!("interrupted anywhere, the plan is undone"),
        );
    }
    for line in &plan.done {
        put(&mut out, format_args!("> {line}"));
    }
    out
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{line}");
}

/// One line per step, without the config texts.
pub fn step_line(step: &Step) -> String {
    let live = |vmid: &Option<crate::model::VmId>| match vmid {
        Some(vmid) => format!(" through running VM {vmid}"),
        None => String::new(),
    };
    match step {
        Step::WriteConfig {
            vmid,
            before,
            after,
        } => match (before, after) {
            (None, _) => format!("create {vmid}.conf"),
            (_, None) => format!("remove {vmid}.conf"),
            _ => format!("write {vmid}.conf"),
        },
        Step::WriteStorageCfg { .. } => "write storage.cfg".to_owned(),
        Step::CreateVolume { storage, spec } => format!(
            "create volume {storage}:{} ({}, {}, preallocation {})",
            spec.name, spec.format, spec.size, spec.preallocation
        ),
        Step::CloneVolume { storage, spec } => format!(
            "{} clone of {storage}:{}{} as {storage}:{} ({})",
            spec.mode,
            spec.source,
            at(spec.snapshot.as_ref()),
            spec.target,
            spec.format
        ),
        Step::CopyVolume {
            source,
            snapshot,
            storage,
            spec,
        } => format!(
            "copy {source}{} to {storage}:{} ({}, {})",
            at(snapshot.as_ref()),
            spec.name,
            spec.format,
            spec.size
        ),
        Step::DestroyVolume { volume, .. } => format!("destroy volume {volume}"),
        Step::ResizeVolume {
            volume,
            from,
            to,
            live: vmid,
        } => format!("grow volume {volume} from {from} to {to}{}", live(vmid)),
        Step::RenameVolume {
            storage, from, to, ..
        } => format!("rename volume {storage}:{from} to {to}"),
        Step::ProtectVolume { volume, read_only } => {
            let how = if *read_only { "read-only" } else { "writable" };
            format!("make volume {volume} {how}")
        }
        Step::SnapshotGroup {
            volumes,
            name,
            live: vmid,
            ..
        } => format!(
            "snapshot '{name}' of {} at one instant{}",
            list(volumes),
            live(vmid)
        ),
        Step::DestroySnapshots {
            volumes,
            name,
            live: vmid,
        } => format!(
            "delete snapshot '{name}' of {}{}",
            list(volumes),
            live(vmid)
        ),
        Step::RollbackVolume { volume, name, .. } => {
            format!("roll volume {volume} back to snapshot '{name}'")
        }
        Step::StartMachine { vmid, paused } => {
            let how = if *paused { ", paused" } else { "" };
            format!("start VM {vmid}{how}")
        }
        Step::StopMachine {
            vmid,
            how,
            timeout_s,
        } => {
            let how = match how {
                StopHow::Shutdown => "ask the guest to power off",
                StopHow::ShutdownThenStop => "ask the guest to power off, then stop",
                StopHow::Stop => "stop",
            };
            format!("{how}: VM {vmid}, within {timeout_s} s")
        }
    }
}

fn at(snapshot: Option<&crate::model::SnapshotName>) -> String {
    snapshot.map(|s| format!("@{s}")).unwrap_or_default()
}

fn list(volumes: &[crate::model::VolumeId]) -> String {
    let words: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// A config text cut at its `[section]` headers; the first part has an empty header.
fn cut(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut parts = vec![("", Vec::new())];
    for line in text.lines().filter(|l| !l.is_empty()) {
        if line.starts_with('[') {
            parts.push((line, Vec::new()));
        } else if let Some((_, lines)) = parts.last_mut() {
            lines.push(line);
        }
    }
    parts
}

/// Lines that differ, section by section; common lines are left out.
fn difference(out: &mut String, before: Option<&Text>, after: Option<&Text>) {
    let text = |t: Option<&Text>| t.map(|t| t.lossy().into_owned()).unwrap_or_default();
    let (old, new) = (text(before), text(after));
    let (old, new) = (cut(&old), cut(&new));
    let was: HashMap<&str, &Vec<&str>> = old.iter().map(|(h, l)| (*h, l)).collect();
    let is: HashMap<&str, &Vec<&str>> = new.iter().map(|(h, l)| (*h, l)).collect();
    let none = Vec::new();
    for (header, lines) in &new {
        match was.get(header) {
            Some(before) if *before == lines => {}
            Some(before) => section(out, ' ', header, before, lines),
            None => section(out, '+', header, &none, lines),
        }
    }
    for (header, lines) in &old {
        if !is.contains_key(header) {
            section(out, '-', header, lines, &none);
        }
    }
}

fn section(out: &mut String, sign: char, header: &str, old: &[&str], new: &[&str]) {
    if !header.is_empty() {
        put(out, format_args!("       {sign} {header}"));
    }
    let front = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[front..], &new[front..]);
    let back = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old, new) = (&old[..old.len() - back], &new[..new.len() - back]);
    // Line counts are small; past this the table would be large and the text unreadable anyway.
    if old.len().saturating_mul(new.len()) > 4_000_000 {
        put(out, format_args!("       - {} lines", old.len()));
        put(out, format_args!("       + {} lines", new.len()));
        return;
    }
    for (sign, line) in longest_common(old, new) {
        put(out, format_args!("       {sign} {line}"));
    }
}

/// Removed and added lines around the longest common subsequence.
fn longest_common<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(char, &'t str)> {
    let width = new.len() + 1;
    let mut best = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i * width + j] = if old[i] == new[j] {
                best[(i + 1) * width + j + 1] + 1
            } else {
                best[(i + 1) * width + j].max(best[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            i += 1;
            j += 1;
        } else if i < old.len()
            && (j == new.len() || best[(i + 1) * width + j] >= best[i * width + j + 1])
        {
            out.push(('-', old[i]));
            i += 1;
        } else {
            out.push(('+', new[j]));
            j += 1;
        }
    }
    out
}
