//! One operation from intent to end: leases, plan, journal, steps; on failure undo or leave it for recovery, as the plan says.

use super::apply::{Measured, StepScope};
use super::journal::{Journal, Record, Story};
use super::lease::{self, Lease};
use super::{Engine, Report};
use crate::model::{Error, ErrorKind, OpId, Outcome, Result};
use crate::plan::{Direction, Intent, Plan, Step};
use crate::sys::clock;
use crate::sys::crash::gate;
use std::cell::RefCell;
use std::collections::BTreeSet;

impl Engine {
    /// Lease, recover what a dead owner left, observe, plan, journal, apply. `progress` gets one line per step.
    pub fn run(&self, intent: &Intent, progress: &mut dyn FnMut(&str)) -> Result<Report> {
        let verb = intent.verb();
        let mut needed = subjects(intent);
        for _ in 0..4 {
            self.recover_before(&needed)?;
            // The machine first: what another command does to it right now must be over before it is looked at.
            let mut leases = Vec::new();
            for object in &needed {
                leases.push(lease::acquire(
                    &self.paths.lease_dir(),
                    object,
                    &verb,
                    lease::WAIT,
                )?);
            }
            let mut plan = self.plan(intent)?;
            // That plan says what else to lease; under more leases it is made again.
            for _ in 0..3 {
                if plan.is_empty() || !self.lease_all(&plan, &verb, &mut leases)? {
                    break;
                }
                plan = self.plan(intent)?;
            }
            // Whoever held the leases before may have died with them.
            let held: BTreeSet<String> = leases.iter().map(|l| l.object.clone()).collect();
            if !self.open_operation_on(&held)? {
                return self.execute(plan, leases, progress);
            }
            needed.extend(exclusive(&held));
        }
        Err(Error::busy(format!(
            "'{verb}' found one interrupted operation after the other"
        ))
        .hint("run: volvisor recover"))
    }

    /// Apply a saved plan; `Conflict` naming what moved when the world is not as the plan saw it.
    pub fn apply(&self, plan: Plan, progress: &mut dyn FnMut(&str)) -> Result<Report> {
        if plan.schema != Plan::SCHEMA {
            return Err(Error::usage(format!(
                "plan has schema {}, this program reads {}",
                plan.schema,
                Plan::SCHEMA
            ))
            .hint("make the plan again with this version"));
        }
        let needed = exclusive(&objects(&plan));
        for _ in 0..4 {
            self.recover_before(&needed)?;
            let mut leases = Vec::new();
            self.lease_all(&plan, &plan.intent.verb(), &mut leases)?;
            if !self.open_operation_on(&needed)? {
                self.refuse_if_moved(&plan)?;
                return self.execute(plan, leases, progress);
            }
        }
        Err(
            Error::busy("the plan's machines have interrupted operations")
                .hint("run: volvisor recover"),
        )
    }

    /// True when a lease was added. Always in the same order (machines, then storages) so that two commands cannot lock up.
    fn lease_all(&self, plan: &Plan, verb: &str, held: &mut Vec<Lease>) -> Result<bool> {
        let wanted: BTreeSet<String> = objects(plan);
        if wanted
            .iter()
            .all(|object| held.iter().any(|lease| lease.object == *object))
        {
            return Ok(false);
        }
        let all: BTreeSet<String> = held
            .drain(..)
            .map(|lease| lease.object.clone())
            .chain(wanted)
            .collect();
        for object in &all {
            held.push(lease::acquire(
                &self.paths.lease_dir(),
                object,
                verb,
                lease::WAIT,
            )?);
        }
        Ok(true)
    }

    fn execute(
        &self,
        plan: Plan,
        mut leases: Vec<Lease>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Report> {
        if plan.is_empty() {
            return Ok(Report {
                op: None,
                plan,
                outcome: Outcome::AlreadySo,
                measured: Vec::new(),
            });
        }
        let op = new_op();
        let journal = RefCell::new(Journal::begin(
            &self.paths.journal_dir(),
            op.clone(),
            plan.clone(),
        )?);
        for lease in &mut leases {
            lease.name_operation(&op, &plan.intent.verb());
        }
        let mut measured = Vec::new();
        let outcome = match self.forward(&journal, false, &mut measured, progress) {
            Ok(outcome) => outcome,
            Err(error) => return Err(self.give_up(journal, &op, &plan, error)),
        };
        // Kept for people; the snapshot is as good without.
        let _ = self.remember_measured(&plan, &measured);
        // Every step is done and recorded as done; the next command writes the last line where this one could not.
        let _ = journal.into_inner().finish("done", &self.paths.task_dir());
        Ok(Report {
            op: Some(op),
            plan,
            outcome,
            measured,
        })
    }

    /// After a failed step: undo, or leave it open for recovery, as the plan says. The error for the user.
    fn give_up(&self, journal: RefCell<Journal>, op: &OpId, plan: &Plan, error: Error) -> Error {
        let begun = journal.borrow().story.begun();
        if begun == 0 {
            // Not even the journal could be written on: there is nothing to remember.
            let status = format!("failed: {} (nothing was begun)", error.full_text());
            let mut journal = journal.into_inner();
            if journal.end(&status).is_err() {
                journal.forget();
            } else {
                journal.shelve(&self.paths.task_dir());
            }
            return error;
        }
        if only_the_start_is_missing(plan, &journal.borrow().story) {
            let status = format!("failed: {} (all other steps are done)", error.full_text());
            let hint = error.hint_text().unwrap_or_default().to_owned();
            let error = Error::new(
                error.kind(),
                format!("everything is done but the start: {}", error.message()),
            )
            .hint(hint);
            let _ = journal.into_inner().finish(&status, &self.paths.task_dir());
            return error;
        }
        if plan.direction_at(begun) == Direction::Forward && !still_undoable(plan, begun, &error) {
            return Error::new(
                error.kind(),
                format!(
                    "{}; operation {op} is past its point of no return and stays open",
                    error.full_text()
                ),
            )
            .hint("mend the cause, then run: volvisor recover");
        }
        match self.backward(&journal) {
            Ok(()) => {
                let status = format!("failed: {} (undone)", error.full_text());
                // Undone is undone; a journal without its last line is closed by the next command.
                let _ = journal.into_inner().finish(&status, &self.paths.task_dir());
                error
            }
            Err(second) => Error::new(
                error.kind(),
                format!(
                    "{}; undoing operation {op} failed too and stays open ({})",
                    error.full_text(),
                    second.full_text()
                ),
            )
            .hint("mend the cause, then run: volvisor recover"),
        }
    }

    /// Applies every step that is not done. `again`: some may have happened before a crash.
    pub(super) fn forward(
        &self,
        journal: &RefCell<Journal>,
        again: bool,
        measured: &mut Measured,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Outcome> {
        let (op, steps, begun) = {
            let journal = journal.borrow();
            (
                journal.story.op.clone(),
                journal.story.plan.steps.clone(),
                journal.story.begun(),
            )
        };
        let mut outcome = Outcome::AlreadySo;
        let mut pending: Vec<Record> = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            if journal.borrow().story.is_done(index) {
                continue;
            }
            let was_begun = again && index < begun;
            if was_begun {
                self.mend_step(step)?;
            }
            pending.push(Record::StepBegin { step: index });
            journal.borrow_mut().append(&pending)?;
            pending.clear();
            progress(&crate::plan::render::step_line(step));
            gate(step_kind(step)).map_err(|e| {
                let line = crate::plan::render::step_line(step);
                Error::io(format!("step {} failed: {line}", index + 1), e)
            })?;
            let scope = StepScope {
                journal,
                op: op.clone(),
                step: index,
            };
            let (done, facts) = self.apply_step(step, &scope, was_begun)?;
            measured.extend(facts);
            if done == Outcome::Changed {
                outcome = Outcome::Changed;
            }
            // Written together with the next step's begin: one fsync a boundary.
            pending.push(Record::StepDone {
                step: index,
                outcome: done,
            });
        }
        journal.borrow_mut().append(&pending)?;
        Ok(outcome)
    }

    /// Undoes every step that was begun, last first.
    pub(super) fn backward(&self, journal: &RefCell<Journal>) -> Result<()> {
        let (op, steps, begun) = {
            let journal = journal.borrow();
            (
                journal.story.op.clone(),
                journal.story.plan.steps.clone(),
                journal.story.begun(),
            )
        };
        for index in (0..begun.min(steps.len())).rev() {
            if journal.borrow().story.is_undone(index) {
                continue;
            }
            let step = &steps[index];
            journal
                .borrow_mut()
                .append(&[Record::UndoBegin { step: index }])?;
            let whole = journal.borrow().story.is_done(index);
            if !whole {
                self.mend_step(step)?;
            }
            let scope = StepScope {
                journal,
                op: op.clone(),
                step: index,
            };
            self.undo_step(step, &scope)?;
            journal
                .borrow_mut()
                .append(&[Record::UndoDone { step: index }])?;
        }
        Ok(())
    }
}

/// The machine's own start is the last wish of an operation that is done otherwise; what hinders it (no KVM, a bad setting) must
/// not keep the machine from being changed.
pub(super) fn only_the_start_is_missing(plan: &Plan, story: &Story) -> bool {
    let last = plan.steps.len().saturating_sub(1);
    matches!(plan.steps.last(), Some(Step::StartMachine { .. }))
        && plan.commit <= last
        && story.begun() == plan.steps.len()
        && !story.undo_begun()
}

/// The step that failed is the first past the commit point and changed nothing, or nothing that cannot be taken back.
fn still_undoable(plan: &Plan, begun: usize, error: &Error) -> bool {
    if begun != plan.commit + 1 {
        return false;
    }
    let refused = matches!(
        error.kind(),
        ErrorKind::Busy | ErrorKind::Conflict | ErrorKind::Unsupported | ErrorKind::Usage
    );
    match plan.steps.get(plan.commit) {
        Some(
            Step::WriteConfig { .. }
            | Step::WriteStorageCfg { .. }
            | Step::CreateVolume { .. }
            | Step::RenameVolume { .. }
            | Step::StopMachine { .. },
        ) => true,
        // One volume: it is refused before it is touched.
        Some(
            Step::DestroyVolume { .. } | Step::RollbackVolume { .. } | Step::ResizeVolume { .. },
        ) => refused,
        _ => false,
    }
}

const STORAGE_CFG: &str = "storage-cfg";

/// Lease names of everything a plan touches.
pub(super) fn objects(plan: &Plan) -> BTreeSet<String> {
    let machines = plan.machines.iter().map(|vmid| format!("vm-{vmid}"));
    let cfg = plan
        .steps
        .iter()
        .any(|s| matches!(s, Step::WriteStorageCfg { .. }))
        .then(|| STORAGE_CFG.to_owned());
    machines
        .chain(plan.storages.iter().map(|id| format!("zstorage-{id}")))
        .chain(cfg)
        .collect()
}

/// Those on which an interrupted operation stands in the way: an operation that only made or freed names on a storage does not
/// hinder others there.
pub(super) fn exclusive(objects: &BTreeSet<String>) -> BTreeSet<String> {
    objects
        .iter()
        .filter(|object| !object.starts_with("zstorage-"))
        .cloned()
        .collect()
}

/// Lease names of what an intent names, in lease order.
fn subjects(intent: &Intent) -> BTreeSet<String> {
    let newid = match intent {
        Intent::VmClone { newid, .. } => Some(*newid),
        _ => None,
    };
    let cfg = matches!(
        intent,
        Intent::StorageAdd { .. } | Intent::StorageSet { .. } | Intent::StorageRemove { .. }
    );
    intent
        .vmid()
        .into_iter()
        .chain(newid)
        .map(|vmid| format!("vm-{vmid}"))
        .chain(cfg.then(|| STORAGE_CFG.to_owned()))
        .collect()
}

fn new_op() -> OpId {
    let random = clock::entropy();
    // Sorts by time of birth; the random byte keeps two processes apart.
    let micros = clock::now_micros();
    let text = format!(
        "{}-{:06}{:02x}",
        micros / 1_000_000,
        micros % 1_000_000,
        random[0]
    );
    OpId::parse(&text).expect("digits and a dash are valid")
}

/// The words of Proxmox's own crash matrix, for the points where tests interrupt us.
fn step_kind(step: &Step) -> &'static str {
    match step {
        Step::WriteConfig { .. } | Step::WriteStorageCfg { .. } => "step write-config",
        Step::CreateVolume { .. } | Step::CloneVolume { .. } | Step::CopyVolume { .. } => {
            "step alloc"
        }
        Step::DestroyVolume { .. } => "step free",
        Step::ResizeVolume { .. } => "step vol-resize",
        Step::RenameVolume { .. } => "step vol-rename",
        Step::ProtectVolume { .. } => "step vol-protect",
        Step::SnapshotGroup { .. } => "step vol-snapshot",
        Step::DestroySnapshots { .. } => "step vol-snapshot-delete",
        Step::RollbackVolume { .. } => "step vol-rollback",
        Step::StartMachine { .. } => "step vm-start",
        Step::StopMachine { .. } => "step vm-stop",
    }
}
