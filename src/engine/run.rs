//! One operation from intent to end: leases, plan, journal, steps; on failure undo or leave it for recovery, as the plan says.

use super::apply::{Measured, StepScope};
use super::journal::{Journal, Record};
use super::lease::{self, Lease};
use super::{Engine, Report};
use crate::model::{Error, OpId, Outcome, Result};
use crate::plan::{Direction, Intent, Plan, Step};
use crate::sys::clock;
use crate::sys::crash::gate;
use std::cell::RefCell;
use std::collections::BTreeSet;

impl Engine {
    /// Lease, recover what a dead owner left, observe, plan, journal, apply. `progress` gets one line per step.
    pub fn run(&self, intent: &Intent, progress: &mut dyn FnMut(&str)) -> Result<Report> {
        self.recover_before(intent.vmid())?;
        let verb = intent.verb();
        // The machine first: what another command does to it right now must be over before it is looked at.
        let mut leases = Vec::new();
        for object in subjects(intent) {
            leases.push(lease::acquire(
                &self.paths.lease_dir(),
                &object,
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
        self.execute(plan, leases, progress)
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
        self.recover_before(plan.intent.vmid())?;
        let mut leases = Vec::new();
        self.lease_all(&plan, &plan.intent.verb(), &mut leases)?;
        self.refuse_if_moved(&plan)?;
        self.execute(plan, leases, progress)
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
            lease.name_operation(&op, &plan.intent.verb())?;
        }
        let mut measured = Vec::new();
        let result = self.forward(&journal, false, &mut measured, progress);
        let (outcome, failure) = match result {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::AlreadySo, Some(error)),
        };
        let Some(error) = failure else {
            self.remember_measured(&plan, &measured)?;
            journal
                .into_inner()
                .finish("done", &self.paths.task_dir())?;
            return Ok(Report {
                op: Some(op),
                plan,
                outcome,
                measured,
            });
        };
        let begun = journal.borrow().story.begun();
        if plan.direction_at(begun) == Direction::Forward {
            return Err(error.hint(format!(
                "operation {op} is past its point of no return and stays open; mend the cause, then run: volvisor recover"
            )));
        }
        match self.backward(&journal) {
            Ok(()) => {
                let status = format!("failed: {} (undone)", error.full_text());
                journal.into_inner().finish(&status, &self.paths.task_dir())?;
                Err(error)
            }
            Err(second) => Err(Error::new(error.kind(), error.full_text()).hint(format!(
                "undoing operation {op} failed too ({}); mend the cause, then run: volvisor recover",
                second.full_text()
            ))),
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
            gate(step_kind(step))
                .map_err(|e| Error::io(format!("step {} failed", index + 1), e))?;
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

/// Lease names of everything a plan touches.
pub(super) fn objects(plan: &Plan) -> BTreeSet<String> {
    let machines = plan.machines.iter().map(|vmid| format!("vm-{vmid}"));
    machines
        .chain(plan.storages.iter().map(|id| format!("zstorage-{id}")))
        .collect()
}

/// Lease names of the machines an intent names, in lease order.
fn subjects(intent: &Intent) -> BTreeSet<String> {
    let newid = match intent {
        Intent::VmClone { newid, .. } => Some(*newid),
        _ => None,
    };
    intent
        .vmid()
        .into_iter()
        .chain(newid)
        .map(|vmid| format!("vm-{vmid}"))
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
