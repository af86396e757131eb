//! The record of one operation: append-only lines, each carrying the blake3 hash of all before it, fsynced at every step
//! boundary. It stores what was planned and how far it came; it never decides what to do about it.
//!
//! A line is `{"n":3,"hash":"...","rec":{...}}` with `hash = blake3(previous hash, n, rec)`. The last line may be torn by a crash
//! and is then ignored; damage anywhere else is an integrity error.

use crate::model::{Error, OpId, Outcome, Result, VmId};
use crate::plan::Plan;
use crate::sys::process::ProcessId;
use crate::sys::{clock, fs};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// First line: who does what.
    Begin {
        op: OpId,
        owner: ProcessId,
        started: u64,
        plan: Box<Plan>,
    },
    /// Another process took over after the owner died.
    TakenOver {
        owner: ProcessId,
        at: u64,
    },
    StepBegin {
        step: usize,
    },
    /// Something a step needs after a crash (identity of an object before it got its name).
    Note {
        step: usize,
        key: String,
        value: String,
    },
    StepDone {
        step: usize,
        outcome: Outcome,
    },
    UndoBegin {
        step: usize,
    },
    UndoDone {
        step: usize,
    },
    /// Last line. `status`: `done`, `undone`, `failed: why (undone)`.
    End {
        status: String,
        at: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    n: u64,
    hash: String,
    rec: serde_json::Value,
}

fn link(previous: &str, n: u64, record: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    hasher.update(&n.to_le_bytes());
    hasher.update(record.as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

/// What a journal says, read back.
#[derive(Debug, Clone)]
pub struct Story {
    pub op: OpId,
    pub owner: ProcessId,
    pub started: u64,
    pub plan: Plan,
    pub records: Vec<Record>,
}

impl Story {
    /// Steps that were begun: the first `begun()` steps may have touched the world.
    pub fn begun(&self) -> usize {
        let begun = self.records.iter().filter_map(|r| match r {
            Record::StepBegin { step } => Some(step + 1),
            _ => None,
        });
        begun.max().unwrap_or(0)
    }
    pub fn is_done(&self, index: usize) -> bool {
        self.records
            .iter()
            .any(|r| matches!(r, Record::StepDone { step, .. } if *step == index))
    }
    pub fn done_count(&self) -> usize {
        (0..self.plan.steps.len())
            .filter(|i| self.is_done(*i))
            .count()
    }
    pub fn is_undone(&self, index: usize) -> bool {
        self.records
            .iter()
            .any(|r| matches!(r, Record::UndoDone { step } if *step == index))
    }
    pub fn undo_begun(&self) -> bool {
        self.records
            .iter()
            .any(|r| matches!(r, Record::UndoBegin { .. } | Record::UndoDone { .. }))
    }
    pub fn end(&self) -> Option<(&str, u64)> {
        self.records.iter().rev().find_map(|r| match r {
            Record::End { status, at } => Some((status.as_str(), *at)),
            _ => None,
        })
    }
    pub fn noted(&self, index: usize, wanted: &str) -> Option<String> {
        self.records.iter().rev().find_map(|r| match r {
            Record::Note { step, key, value } if *step == index && key == wanted => {
                Some(value.clone())
            }
            _ => None,
        })
    }
    pub fn vmid(&self) -> Option<VmId> {
        self.plan.intent.vmid()
    }
}

/// What the bytes of a journal file hold.
#[derive(Debug)]
pub enum Reading {
    /// Not even the first line is whole: the operation never began.
    Empty,
    /// `whole` bytes are good; a torn line may follow them.
    Story {
        story: Box<Story>,
        whole: usize,
        hash: String,
        next: u64,
    },
}

/// Total: any bytes give a reading or an integrity error naming the line.
pub fn read(bytes: &[u8], shown: &str) -> Result<Reading> {
    let mut whole = 0;
    let mut hash = String::new();
    let mut next = 0;
    let mut records = Vec::new();
    while let Some(length) = bytes[whole..].iter().position(|b| *b == b'\n') {
        let text = &bytes[whole..whole + length];
        let is_last = whole + length + 1 == bytes.len();
        match read_line(text, &hash, next) {
            Some((record, linked)) => {
                records.push(record);
                hash = linked;
                next += 1;
                whole += length + 1;
            }
            None if is_last => break,
            None => {
                return Err(Error::integrity(format!("journal '{shown}' is damaged at line {}", next + 1))
                    .hint("keep the file and look at the objects it names; then move it away and run: volvisor audit"));
            }
        }
    }
    let Some(Record::Begin {
        op,
        owner,
        started,
        plan,
    }) = records.first().cloned()
    else {
        return Ok(Reading::Empty);
    };
    let owner = records
        .iter()
        .rev()
        .find_map(|r| match r {
            Record::TakenOver { owner, .. } => Some(owner.clone()),
            _ => None,
        })
        .unwrap_or(owner);
    Ok(Reading::Story {
        story: Box::new(Story {
            op,
            owner,
            started,
            plan: *plan,
            records,
        }),
        whole,
        hash,
        next,
    })
}

fn read_line(text: &[u8], previous: &str, expected: u64) -> Option<(Record, String)> {
    let line: Line = serde_json::from_slice(text).ok()?;
    let record_text = serde_json::to_string(&line.rec).ok()?;
    let linked = link(previous, line.n, &record_text);
    if line.n != expected || linked != line.hash {
        return None;
    }
    Some((serde_json::from_value(line.rec).ok()?, linked))
}

/// An open journal that can be appended to.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    hash: String,
    next: u64,
    /// Bytes of whole lines; what a failed append left behind them is cut off.
    whole: u64,
    /// A failed append could not be cut off: nothing may follow it.
    torn: bool,
    pub story: Story,
}

impl Journal {
    /// Durable before it returns: no object is touched before the journal names it.
    pub fn begin(dir: &Path, op: OpId, plan: Plan) -> Result<Self> {
        fs::create_dirs(dir)?;
        let path = dir.join(format!("{op}.journal"));
        let unborn = dir.join(format!("{op}.{UNBORN}"));
        let file = fs::create_new(&unborn, 0o640)?;
        // Held until this process ends: recovery removes an unborn journal that nobody holds.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let started = clock::now();
        let owner = ProcessId::current();
        let story = Story {
            op: op.clone(),
            owner: owner.clone(),
            started,
            plan: plan.clone(),
            records: Vec::new(),
        };
        let mut journal = Journal {
            file,
            path: unborn.clone(),
            hash: String::new(),
            next: 0,
            whole: 0,
            torn: false,
            story,
        };
        let first = Record::Begin {
            op,
            owner,
            started,
            plan: Box::new(plan),
        };
        let begun = journal
            .append(&[first])
            .and_then(|()| fs::rename_new(&unborn, &path));
        begun.inspect_err(|_| {
            let _ = std::fs::remove_file(&unborn);
        })?;
        journal.path = path;
        Ok(journal)
    }

    /// Opens what a dead process left. `None`: it never began (the empty file is removed), or somebody has it open right now.
    pub fn take_over(path: &Path) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io(format!("cannot open journal '{}'", path.display()), e))?;
        // Two writers would tear the chain of hashes.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_at(&file, path) {
            return Ok(None);
        }
        let bytes = fs::read_file(path, MAX_BYTES)?;
        match read(&bytes, &path.display().to_string())? {
            Reading::Empty => {
                fs::remove_file(path)?;
                Ok(None)
            }
            Reading::Story {
                story,
                whole,
                hash,
                next,
            } => {
                if whole < bytes.len() {
                    fs::set_len(&file, whole as u64).map_err(|e| {
                        Error::io(format!("cannot mend journal '{}'", path.display()), e)
                    })?;
                }
                Ok(Some(Journal {
                    file,
                    path: path.to_owned(),
                    hash,
                    next,
                    whole: whole as u64,
                    torn: false,
                    story: *story,
                }))
            }
        }
    }

    /// One write, one fsync: all of the records or, after an error, none of them.
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        let broken = |e| {
            Error::io(format!("cannot write journal '{}'", self.path.display()), e)
                .hint("nothing more was changed; make room there, then run: volvisor recover")
        };
        if self.torn {
            return Err(broken(std::io::Error::other("an earlier write failed")));
        }
        let mut text = String::new();
        let (mut hash, mut next) = (self.hash.clone(), self.next);
        for record in records {
            let rec = serde_json::to_value(record)
                .map_err(|e| Error::failed("cannot encode a journal record").with_source(e))?;
            let rec_text = rec.to_string();
            hash = link(&hash, next, &rec_text);
            text.push_str(&format!(
                "{{\"n\":{next},\"hash\":\"{hash}\",\"rec\":{rec_text}}}\n"
            ));
            next += 1;
        }
        let written =
            fs::append(&mut self.file, text.as_bytes()).and_then(|()| fs::sync(&self.file));
        if let Err(error) = written {
            let error = broken(error);
            // A line that may or may not be there must not be followed by another one.
            self.torn = self.file.set_len(self.whole).is_err()
                || self.file.seek(SeekFrom::Start(self.whole)).is_err();
            return Err(error);
        }
        self.hash = hash;
        self.next = next;
        self.whole += text.len() as u64;
        self.story.records.extend_from_slice(records);
        Ok(())
    }

    /// Takes the file away: for an operation that did not begin a single step.
    pub fn forget(self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Appends the last record.
    pub fn end(&mut self, status: &str) -> Result<()> {
        self.append(&[Record::End {
            status: status.to_owned(),
            at: clock::now(),
        }])
    }

    /// Moves the file to the finished tasks; where that fails, whoever meets the ended journal next does it.
    pub fn shelve(self, task_dir: &Path) {
        let _ = shelve(&self.path, task_dir);
    }

    /// Appends the last record and moves the file to the finished tasks.
    pub fn finish(mut self, status: &str, task_dir: &Path) -> Result<()> {
        self.end(status)?;
        self.shelve(task_dir);
        Ok(())
    }
}

/// The open file still has this name (nobody shelved it between the opening and the lock).
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => open.ino() == named.ino() && open.dev() == named.dev(),
        _ => false,
    }
}

/// The plan in the first line, for a journal that is damaged further down.
pub fn plan_of(bytes: &[u8]) -> Option<Plan> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    match read_line(&bytes[..end], "", 0)? {
        (Record::Begin { plan, .. }, _) => Some(*plan),
        _ => None,
    }
}

/// Plans carry config texts twice or more; a config is at most 1 MiB.
pub const MAX_BYTES: u64 = 1 << 30;

/// Extension of a journal whose first line is not yet whole.
const UNBORN: &str = "unborn";

/// Removes unborn journals of dead processes: nothing was done under them.
pub fn remove_unborn(dir: &Path) -> Result<()> {
    for path in files_with(dir, UNBORN)? {
        let Ok(file) = File::open(&path) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Moves an ended journal to the finished tasks.
pub fn shelve(path: &Path, task_dir: &Path) -> Result<()> {
    fs::create_dirs(task_dir)?;
    let name = path.file_name().unwrap_or_default();
    fs::rename(path, &task_dir.join(name))
}

/// Journal files of a directory, oldest first.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    files_with(dir, "journal")
}

fn files_with(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(format!("cannot read '{}'", dir.display()), e)),
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == extension))
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Intent;

    fn sample(dir: &Path) -> Journal {
        let plan = Plan::new(Intent::VmUnlock {
            vmid: VmId::new(100).unwrap(),
        });
        let mut journal = Journal::begin(dir, OpId::parse("1-a").unwrap(), plan).unwrap();
        journal.append(&[Record::StepBegin { step: 0 }]).unwrap();
        journal
            .append(&[
                Record::StepDone {
                    step: 0,
                    outcome: Outcome::Changed,
                },
                Record::StepBegin { step: 1 },
            ])
            .unwrap();
        journal
    }

    #[test]
    fn every_prefix_of_a_journal_is_a_shorter_story() {
        let dir = tempfile::tempdir().unwrap();
        let journal = sample(dir.path());
        let bytes = std::fs::read(&journal.path).unwrap();
        for length in 0..=bytes.len() {
            match read(&bytes[..length], "test").expect("a torn tail is never damage") {
                Reading::Empty => assert!(!bytes[..length].contains(&b'\n')),
                Reading::Story { story, whole, .. } => {
                    assert!(whole <= length && story.records.len() <= 4);
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_before_the_last_line_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let journal = sample(dir.path());
        let bytes = std::fs::read(&journal.path).unwrap();
        let last_line = bytes[..bytes.len() - 1]
            .iter()
            .rposition(|b| *b == b'\n')
            .unwrap();
        let mut missed = 0;
        for at in 0..last_line {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let reading = read(&damaged, "test");
            if let Ok(Reading::Story { story, .. }) = &reading
                && story.records.len() == 4
            {
                missed += 1;
            }
        }
        assert_eq!(missed, 0);
    }

    #[test]
    fn a_torn_tail_is_cut_off_before_more_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = sample(dir.path()).path;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 5);
        std::fs::write(&path, &bytes).unwrap();
        let mut journal = Journal::take_over(&path).unwrap().unwrap();
        assert_eq!(journal.story.begun(), 1);
        journal.append(&[Record::UndoBegin { step: 0 }]).unwrap();
        assert!(
            Journal::take_over(&path).unwrap().is_none(),
            "two recoveries must not write to one journal"
        );
        drop(journal);
        let again = Journal::take_over(&path).unwrap().unwrap();
        assert!(again.story.undo_begun());
    }
}
