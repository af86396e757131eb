//! What ran, when, and how it ended, read from journals; it never changes one.

use super::Engine;
use super::journal::{self, Reading, Story};
use crate::model::{Error, OpId, Result, VmId};
use serde::Serialize;

/// One finished or unfinished operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    pub op: OpId,
    pub verb: String,
    pub vmid: Option<VmId>,
    /// The first line it says on success, or its verb.
    pub summary: String,
    /// Unix seconds.
    pub started: u64,
    pub ended: Option<u64>,
    /// `running`, `interrupted`, `done`, `undone`, `failed: ...`.
    pub status: String,
    pub pid: u32,
    pub steps: usize,
    pub steps_done: usize,
}

impl Task {
    fn of(story: &Story) -> Self {
        let (status, ended) = match story.end() {
            Some((status, at)) => (status.to_owned(), Some(at)),
            None if story.owner.is_alive() => ("running".to_owned(), None),
            None => ("interrupted".to_owned(), None),
        };
        Task {
            op: story.op.clone(),
            verb: story.plan.intent.verb(),
            vmid: story.vmid(),
            summary: story
                .plan
                .done
                .first()
                .cloned()
                .unwrap_or_else(|| story.plan.intent.verb()),
            started: story.started,
            ended,
            status,
            pid: story.owner.pid,
            steps: story.plan.steps.len(),
            steps_done: story.done_count(),
        }
    }
}

impl Engine {
    /// Newest first. A damaged journal is listed as such, with its file name as operation.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for dir in [self.paths.journal_dir(), self.paths.task_dir()] {
            for path in journal::files(&dir)? {
                let read = crate::sys::fs::read_file(&path, journal::MAX_BYTES)
                    .and_then(|bytes| journal::read(&bytes, &path.display().to_string()));
                match read {
                    // Ended and moved since the listing: it is among the finished ones, read next.
                    Err(e) if e.kind() == crate::model::ErrorKind::NotFound => {}
                    Ok(Reading::Story { story, .. }) => tasks.push(Task::of(&story)),
                    Ok(Reading::Empty) => {}
                    Err(error) => tasks.push(damaged(&path, &error)),
                }
            }
        }
        tasks.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| b.op.cmp(&a.op)));
        Ok(tasks)
    }

    /// Journal lines of one operation, as text.
    pub fn task_log(&self, op: &OpId) -> Result<Vec<String>> {
        for dir in [self.paths.journal_dir(), self.paths.task_dir()] {
            let path = dir.join(format!("{op}.journal"));
            if !path.exists() {
                continue;
            }
            let bytes = crate::sys::fs::read_file(&path, journal::MAX_BYTES)?;
            return match journal::read(&bytes, &path.display().to_string())? {
                Reading::Empty => Ok(Vec::new()),
                Reading::Story { story, .. } => {
                    Ok(story.records.iter().map(|r| line(r, &story)).collect())
                }
            };
        }
        Err(Error::not_found(format!("there is no operation '{op}'"))
            .hint("list them with: volvisor task list"))
    }
}

fn damaged(path: &std::path::Path, error: &Error) -> Task {
    let name = path
        .file_stem()
        .and_then(|n| n.to_str())
        .unwrap_or("unknown");
    Task {
        op: OpId::parse(name).unwrap_or_else(|_| crate::plan::step::dry_run_id()),
        verb: "unknown".to_owned(),
        vmid: None,
        summary: "its journal is damaged".to_owned(),
        started: 0,
        ended: None,
        status: error.message().to_owned(),
        pid: 0,
        steps: 0,
        steps_done: 0,
    }
}

fn line(record: &journal::Record, story: &Story) -> String {
    use journal::Record;
    let shown = |step: usize| {
        let text = story
            .plan
            .steps
            .get(step)
            .map(crate::plan::render::step_line)
            .unwrap_or_default();
        format!("{} ({text})", step + 1)
    };
    match record {
        Record::Begin {
            op, owner, started, ..
        } => {
            format!(
                "begin {op} by process {} at {started}, {} steps",
                owner.pid,
                story.plan.steps.len()
            )
        }
        Record::TakenOver { owner, at } => format!("taken over by process {} at {at}", owner.pid),
        Record::StepBegin { step } => format!("step {} begins", shown(*step)),
        Record::Note { step, key, value } => format!("step {} notes {key} = {value}", step + 1),
        Record::StepDone { step, outcome } => format!("step {} done: {outcome}", step + 1),
        Record::UndoBegin { step } => format!("undo of step {} begins", shown(*step)),
        Record::UndoDone { step } => format!("undo of step {} done", step + 1),
        Record::End { status, at } => format!("end at {at}: {status}"),
    }
}
