//! A plan as text for people: the same object that is journalled and run, nothing added; decides nothing.

use crate::model::{Text, VolumeId};
use crate::plan::step::StopHow;
use crate::plan::{Plan, Step};

/// The whole plan.
pub fn plan(plan: &Plan) -> String {
    let mut text = format!("plan: {}\n", plan.intent.verb());
    for note in &plan.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    if plan.is_empty() {
        text.push_str("nothing to do: it is already so\n");
    }
    for (index, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("{:>3}. {}\n", index + 1, one_line(step)));
        for line in changes(step) {
            text.push_str(&format!("       {line}\n"));
        }
    }
    if !plan.is_empty() {
        text.push_str(&match plan.commit {
            0 => "if interrupted: always finished\n".to_owned(),
            n if n >= plan.steps.len() => "if interrupted: undone\n".to_owned(),
            n => format!(
                "if interrupted: undone before step {}, finished after\n",
                n + 1
            ),
        });
    }
    text
}

fn volumes(all: &[VolumeId]) -> String {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// One step in one line.
pub fn one_line(step: &Step) -> String {
    match step {
        Step::WriteConfig {
            vmid,
            before,
            after,
        } => match (before, after) {
            (None, _) => format!("create config of VM {vmid}"),
            (_, None) => format!("remove config of VM {vmid}"),
            _ => format!("write config of VM {vmid}"),
        },
        Step::WriteStorageCfg { .. } => "write storage.cfg".to_owned(),
        Step::CreateVolume { storage, spec } => format!(
            "create volume {storage}:{} ({}, {}, preallocation {})",
            spec.name, spec.size, spec.format, spec.preallocation
        ),
        Step::CloneVolume { storage, spec } => format!(
            "{} clone {storage}:{}{} to {storage}:{}",
            spec.mode,
            spec.source,
            spec.snapshot
                .as_ref()
                .map(|s| format!("@{s}"))
                .unwrap_or_default(),
            spec.target
        ),
        Step::CopyVolume {
            source,
            snapshot,
            storage,
            spec,
        } => format!(
            "copy {source}{} to {storage}:{} ({})",
            snapshot
                .as_ref()
                .map(|s| format!("@{s}"))
                .unwrap_or_default(),
            spec.name,
            spec.format
        ),
        Step::DestroyVolume { volume, .. } => format!("destroy volume {volume}"),
        Step::ResizeVolume {
            volume,
            from,
            to,
            live,
        } => format!(
            "resize volume {volume} from {from} to {to}{}",
            if live.is_some() {
                " (machine runs)"
            } else {
                ""
            }
        ),
        Step::RenameVolume {
            storage, from, to, ..
        } => {
            format!("rename volume {storage}:{from} to {storage}:{to}")
        }
        Step::ProtectVolume { volume, read_only } => match read_only {
            true => format!("make volume {volume} read-only"),
            false => format!("make volume {volume} writable"),
        },
        Step::SnapshotGroup {
            volumes: all,
            name,
            live,
            ..
        } => format!(
            "snapshot '{name}' of {}{}",
            volumes(all),
            if live.is_some() {
                ", all at one instant of the running machine"
            } else {
                ""
            }
        ),
        Step::DestroySnapshots {
            volumes: all, name, ..
        } => {
            format!("delete snapshot '{name}' of {}", volumes(all))
        }
        Step::RollbackVolume { volume, name, .. } => {
            format!("roll volume {volume} back to snapshot '{name}'")
        }
        Step::StartMachine { vmid, paused } => match paused {
            true => format!("start machine {vmid}, paused"),
            false => format!("start machine {vmid}"),
        },
        Step::StopMachine {
            vmid,
            how,
            timeout_s,
        } => match how {
            StopHow::Shutdown => format!("shut machine {vmid} down (wait {timeout_s} s)"),
            StopHow::ShutdownThenStop => {
                format!("shut machine {vmid} down, stop it after {timeout_s} s")
            }
            StopHow::Stop => format!("stop machine {vmid}"),
        },
    }
}

/// Lines a config step takes out (`-`) and puts in (`+`).
fn changes(step: &Step) -> Vec<String> {
    let none = Text(Vec::new());
    let (before, after) = match step {
        Step::WriteConfig { before, after, .. } => (
            before.as_ref().unwrap_or(&none),
            after.as_ref().unwrap_or(&none),
        ),
        Step::WriteStorageCfg { before, after } => (before.as_ref().unwrap_or(&none), after),
        _ => return Vec::new(),
    };
    let (old, new) = (before.lossy(), after.lossy());
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let gone = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|l| format!("- {l}"));
    let come = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|l| format!("+ {l}"));
    gone.chain(come)
        .filter(|line| line.len() > 2)
        .map(|line| line.escape_debug().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::VmId;

    #[test]
    fn a_config_step_shows_only_the_lines_that_change() {
        let step = Step::WriteConfig {
            vmid: VmId::new(100).unwrap(),
            before: Some("a: 1\nb: 2\nc: 3\n".into()),
            after: Some("a: 1\nb: 4\nc: 3\n".into()),
        };
        assert_eq!(one_line(&step), "write config of VM 100");
        assert_eq!(changes(&step), ["- b: 2", "+ b: 4"]);
    }
}
