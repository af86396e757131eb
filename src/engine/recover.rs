//! Bringing operations of dead processes to "all of it" or "none of it", as their plans say; live owners are left alone.

use super::journal::{self, Journal, Record};
use super::lease::{self, Lease};
use super::run::{exclusive, objects, only_the_start_is_missing};
use super::{Engine, Look};
use crate::model::{Error, ErrorKind, Result, VmId};
use crate::plan::Direction;
use crate::sys::clock;
use crate::sys::process::ProcessId;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How one open operation ended.
enum Ended {
    /// Its owner lives, or another process recovers it right now.
    LeftAlone,
    Recovered(String),
}

impl Engine {
    /// Finish or undo every operation whose owner is dead; one line each. Nothing to do gives an empty list.
    pub fn recover(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut failure = None;
        journal::remove_unborn(&self.paths.journal_dir())?;
        for path in journal::files(&self.paths.journal_dir())? {
            match self.recover_one(&path, lease::WAIT) {
                Ok(Ended::Recovered(line)) => lines.push(line),
                Ok(Ended::LeftAlone) => {}
                Err(error) => {
                    lines.push(format!("'{}': {}", path.display(), error.full_text()));
                    failure = Some(error);
                }
            }
        }
        self.sweep();
        match failure {
            Some(error) => Err(Error::new(error.kind(), lines.join("\n")).hint(
                error
                    .hint_text()
                    .unwrap_or("mend the cause, then run: volvisor recover")
                    .to_owned(),
            )),
            None => Ok(lines),
        }
    }

    /// Every changing command begins with this. What cannot be recovered stops only commands on the same objects, and what
    /// another command works on right now is not waited for.
    pub(super) fn recover_before(&self, needed: &BTreeSet<String>) -> Result<()> {
        journal::remove_unborn(&self.paths.journal_dir())?;
        for path in journal::files(&self.paths.journal_dir())? {
            let same = objects_of(&path).is_none_or(|held| !held.is_disjoint(needed));
            let wait = if same { lease::WAIT } else { Duration::ZERO };
            match self.recover_one(&path, wait) {
                Err(error) if same => {
                    let text = format!(
                        "an interrupted operation stands in the way: {}",
                        error.full_text()
                    );
                    let hint = error
                        .hint_text()
                        .unwrap_or("mend the cause, then run: volvisor recover")
                        .to_owned();
                    return Err(Error::new(error.kind(), text).hint(hint));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An operation that has not ended has one of these objects. Asked by who holds their leases, so its owner is dead.
    pub(super) fn open_operation_on(&self, held: &BTreeSet<String>) -> Result<bool> {
        let held = exclusive(held);
        for path in journal::files(&self.paths.journal_dir())? {
            let Ok(bytes) = crate::sys::fs::read_file(&path, journal::MAX_BYTES) else {
                continue;
            };
            if let Ok(journal::Reading::Story { story, .. }) = journal::read(&bytes, "")
                && story.end().is_none()
                && !objects(&story.plan).is_disjoint(&held)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn recover_one(&self, path: &Path, wait: Duration) -> Result<Ended> {
        let shown = path.display().to_string();
        let bytes = match crate::sys::fs::read_file(path, journal::MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Ended::LeftAlone),
            Err(e) => return Err(e),
        };
        let story = match journal::read(&bytes, &shown)? {
            journal::Reading::Story { story, .. } => story,
            // A journal gets its name only when its first line is durable.
            journal::Reading::Empty => {
                return Err(
                    Error::integrity(format!("journal '{shown}' is empty")).hint(
                        "move it away; then look for what it may have left with: volvisor audit",
                    ),
                );
            }
        };
        if story.end().is_some() {
            journal::shelve(path, &self.paths.task_dir())?;
            return Ok(Ended::LeftAlone);
        }
        if story.owner.is_alive() && story.owner != ProcessId::current() {
            return Ok(Ended::LeftAlone);
        }
        let mut leases: Vec<Lease> = Vec::new();
        for object in objects(&story.plan) {
            leases.push(lease::acquire(
                &self.paths.lease_dir(),
                &object,
                "recover",
                wait,
            )?);
        }
        // Under the leases: did somebody else finish it meanwhile?
        if !path.exists() {
            return Ok(Ended::LeftAlone);
        }
        let Some(mut journal) = Journal::take_over(path)? else {
            return Ok(Ended::LeftAlone);
        };
        journal.append(&[Record::TakenOver {
            owner: ProcessId::current(),
            at: clock::now(),
        }])?;
        self.bring_to_end(journal)
    }

    fn bring_to_end(&self, journal: Journal) -> Result<Ended> {
        let plan = journal.story.plan.clone();
        let op = journal.story.op.clone();
        let begun = journal.story.begun();
        let journal = RefCell::new(journal);
        let subject = plan
            .intent
            .vmid()
            .map(|id| format!(" of VM {id}"))
            .unwrap_or_default();
        let what = format!("operation {op} ({}{subject})", plan.intent.verb());
        let all_done = journal.borrow().story.done_count() == plan.steps.len();
        let forward = all_done || plan.direction_at(begun) == Direction::Forward;
        if forward && !journal.borrow().story.undo_begun() {
            let mut measured = Vec::new();
            if let Err(error) = self.forward(&journal, true, &mut measured, &mut |_| {}) {
                if !only_the_start_is_missing(&plan, &journal.borrow().story) {
                    return Err(error);
                }
                let end = format!("finished, but not started: {}", error.full_text());
                journal.into_inner().finish(&end, &self.paths.task_dir())?;
                return Ok(Ended::Recovered(format!("{what}: {end}")));
            }
            let _ = self.remember_measured(&plan, &measured);
            journal
                .into_inner()
                .finish("done", &self.paths.task_dir())?;
            Ok(Ended::Recovered(format!("{what}: finished")))
        } else {
            self.backward(&journal)?;
            journal
                .into_inner()
                .finish("undone", &self.paths.task_dir())?;
            Ok(Ended::Recovered(format!("{what}: undone")))
        }
    }

    /// Run files of machines that are gone, and half-written configs. Harmless while others work: a live machine's files
    /// and a config that is being replaced under its lock are not touched.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.paths.run_dir()) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name
                .to_str()
                .and_then(|n| n.strip_suffix(".pid"))
                .and_then(|n| VmId::parse(n).ok());
            let Some(vmid) = id.filter(|vmid| self.running(*vmid).is_none()) else {
                continue;
            };
            // Under the lease: a start that is under way right now has new files of the same names.
            let leases = self.paths.lease_dir();
            let lease = lease::acquire(&leases, &format!("vm-{vmid}"), "recover", Duration::ZERO);
            if lease.is_ok() {
                self.bury(vmid);
            }
        }
    }

    /// A machine that died without cleaning up: what it leaked in its images is freed, then its files go. A volume that
    /// cannot be reached is left to the next time its image is repaired. The caller holds the machine's lease.
    pub(super) fn bury(&self, vmid: VmId) {
        if self.running(vmid).is_some() || !self.paths.machine_pid(vmid).exists() {
            return;
        }
        if let Ok((_, config)) = self.vm_config(vmid) {
            for (slot, drive) in config.drives(&crate::format::vm_config::Section::Main) {
                if slot.is_unused() || drive.is_cdrom() {
                    continue;
                }
                if let Some(id) = drive.volume()
                    && let Ok(backend) = self.backend(&id.storage)
                {
                    let _ = backend.repair(&id.name);
                }
            }
        }
        super::machine::clean_up(&self.paths, vmid);
    }

    /// Operations that still wait for recovery, for commands that only read and want to warn.
    pub fn interrupted(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for path in journal::files(&self.paths.journal_dir())? {
            if let Ok(bytes) = crate::sys::fs::read_file(&path, journal::MAX_BYTES)
                && let Ok(journal::Reading::Story { story, .. }) =
                    journal::read(&bytes, &path.display().to_string())
                && story.end().is_none()
                && !story.owner.is_alive()
            {
                found.push(format!("{} {}", story.op, story.plan.intent.verb()));
            }
        }
        Ok(found)
    }

    /// The whole world, for audit.
    pub fn observe_everything(&self) -> Result<crate::plan::World> {
        self.observe(&Look::Everything)
    }
}

/// What the operation has to itself; `None` when not even its plan can be read.
fn objects_of(path: &Path) -> Option<BTreeSet<String>> {
    let bytes = match crate::sys::fs::read_file(path, journal::MAX_BYTES) {
        Ok(bytes) => bytes,
        // Ended since the listing.
        Err(e) if e.kind() == ErrorKind::NotFound => return Some(BTreeSet::new()),
        Err(_) => return None,
    };
    Some(exclusive(&objects(&journal::plan_of(&bytes)?)))
}
