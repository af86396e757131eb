//! One text file goes from the text that was seen to the one that is wanted; what somebody else changed meanwhile is kept, or the
//! write is refused with the way out. It never overwrites a text it has not looked at.

use crate::model::{Error, ErrorKind, Outcome, Result, Text};
use crate::sys::fs;
use std::path::{Path, PathBuf};

/// Repeats the edit `from` -> `to` on a third text; `Err` says which value stands in the way.
pub(super) type Replay =
    fn(from: &[u8], to: &[u8], current: &[u8]) -> std::result::Result<Vec<u8>, String>;

pub(super) struct Swap<'a> {
    pub path: &'a Path,
    /// `config of VM 100`.
    pub what: String,
    pub journals: PathBuf,
    /// `None`: any other text is refused.
    pub replay: Option<Replay>,
}

impl Swap<'_> {
    /// `None` stands for no file. `AlreadySo` when it is as wanted; the caller holds the file's lock.
    pub fn run(&self, from: Option<&Text>, to: Option<&Text>) -> Result<Outcome> {
        let current = match fs::read_file(self.path, super::MAX_CONFIG_BYTES * 4) {
            Ok(bytes) => Some(Text(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if current.as_ref() == to {
            // A crash may have left the half-written successor.
            fs::remove_file(&fs::temporary_name(self.path))?;
            return Ok(Outcome::AlreadySo);
        }
        if current.as_ref() == from {
            return self.write(to.map(|text| text.0.as_slice()));
        }
        let Some(replay) = self.replay else {
            return Err(Error::conflict(format!(
                "{} was changed by somebody else meanwhile",
                self.what
            ))
            .hint("nothing was written; give the command again"));
        };
        match (from, to, current) {
            (Some(from), Some(to), Some(current)) => {
                let merged = replay(&from.0, &to.0, &current.0)
                    .map_err(|why| self.in_the_way(&why, "correct that by hand"))?;
                if merged == current.0 {
                    fs::remove_file(&fs::temporary_name(self.path))?;
                    return Ok(Outcome::AlreadySo);
                }
                self.write(Some(&merged))
            }
            (_, _, None) => Err(self.in_the_way("the file was removed", "put it back")),
            (_, None, _) => Err(self.in_the_way(
                "the file would be removed, but its text is another one now",
                "keep a copy if you need it, remove the file",
            )),
            (None, _, _) => {
                Err(self.in_the_way("another file has its place", "move that file away"))
            }
        }
    }

    fn in_the_way(&self, why: &str, cure: &str) -> Error {
        Error::conflict(format!(
            "{} was changed by somebody else while an operation on it was under way: {why}",
            self.what
        ))
        .hint(format!(
            "in '{}' {cure}, then run: volvisor recover; or give the operation up: move its journal out of '{}' and look with: volvisor audit",
            self.path.display(),
            self.journals.display()
        ))
    }

    fn write(&self, text: Option<&[u8]>) -> Result<Outcome> {
        match text {
            Some(text) => {
                if let Some(dir) = self.path.parent() {
                    fs::create_dirs(dir)?;
                }
                fs::replace_file(self.path, text, 0o640)?;
            }
            None => {
                fs::remove_file(self.path)?;
            }
        }
        Ok(Outcome::Changed)
    }
}
