//! One command as data (words, definition, function) and how words on the command line find it; runs nothing by itself.

use super::context::Context;
use crate::model::Result;
use clap::{ArgMatches, Command};

/// Options that are not listed in a command's definition because a table elsewhere holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    None,
    /// Every key of a VM config.
    Vm,
    /// Every storage property.
    StorageAdd,
    /// Every storage property that can change after creation.
    StorageSet,
}

/// One command.
#[derive(Clone, Copy)]
pub struct Verb {
    /// `disk resize`, `status`.
    pub words: &'static str,
    pub about: &'static str,
    pub keys: Keys,
    /// Has `--dry-run` and `--save-plan`.
    pub changes: bool,
    pub hidden: bool,
    /// Adds the command's own arguments.
    pub define: fn(Command) -> Command,
    pub run: fn(&Context, &ArgMatches) -> Result<i32>,
}

impl Verb {
    pub const fn reads(
        words: &'static str,
        about: &'static str,
        define: fn(Command) -> Command,
        run: fn(&Context, &ArgMatches) -> Result<i32>,
    ) -> Self {
        Verb {
            words,
            about,
            keys: Keys::None,
            changes: false,
            hidden: false,
            define,
            run,
        }
    }
    pub const fn changes(
        words: &'static str,
        about: &'static str,
        define: fn(Command) -> Command,
        run: fn(&Context, &ArgMatches) -> Result<i32>,
    ) -> Self {
        let mut verb = Verb::reads(words, about, define, run);
        verb.changes = true;
        verb
    }
    pub const fn with_keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
    /// The same command under other words.
    pub const fn named(mut self, words: &'static str) -> Self {
        self.words = words;
        self
    }
    /// The command's definition, named `qm disk resize`, with the options every command has.
    pub fn command(&self, face: &Face) -> Command {
        let name = format!("{} {}", face.name, self.words);
        let command = Command::new(name.clone())
            .bin_name(name)
            .about(self.about)
            .no_binary_name(true)
            .disable_help_subcommand(true)
            .infer_long_args(true);
        let command = super::globals::define((self.define)(command), self.changes);
        super::keys::define(command, self.keys)
    }
}

/// A set of commands under one program name.
pub struct Face {
    pub name: &'static str,
    pub about: &'static str,
    /// Compatible with Proxmox VE: its tables, messages and exit codes.
    pub applet: bool,
    pub verbs: &'static [Verb],
}

/// Words that name no command, or several.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    Unknown(String),
    Ambiguous(String, Vec<String>),
    /// More words are needed after these.
    Incomplete(String, Vec<String>),
}

impl Face {
    /// The command these words name and how many words it took. Words may be cut to a unique prefix.
    pub fn find(&self, words: &[String]) -> std::result::Result<(&Verb, usize), Lost> {
        let mut left: Vec<&Verb> = self.verbs.iter().collect();
        let mut path = String::new();
        for depth in 0.. {
            if let Some(done) = left
                .iter()
                .find(|v| v.words.split(' ').count() == depth && depth > 0)
                .copied()
                && left.len() == 1
            {
                return Ok((done, depth));
            }
            let choices = |verbs: &[&Verb]| -> Vec<String> {
                let mut all: Vec<String> = verbs
                    .iter()
                    .filter(|v| !v.hidden)
                    .filter_map(|v| v.words.split(' ').nth(depth))
                    .map(str::to_owned)
                    .collect();
                all.sort();
                all.dedup();
                all
            };
            let Some(word) = words.get(depth).filter(|w| !w.starts_with('-')) else {
                return match left.iter().find(|v| v.words == path) {
                    Some(done) => Ok((done, depth)),
                    None => Err(Lost::Incomplete(path, choices(&left))),
                };
            };
            let word = match pick(&left, depth, word) {
                Ok(word) => word,
                Err(Lost::Unknown(_)) if left.iter().any(|v| v.words == path) => {
                    let done = left
                        .iter()
                        .find(|v| v.words == path)
                        .copied()
                        .ok_or_else(|| Lost::Unknown(path.clone()))?;
                    return Ok((done, depth));
                }
                Err(Lost::Unknown(_)) => {
                    return Err(Lost::Unknown(format!("{path} {word}").trim().to_owned()));
                }
                Err(other) => return Err(other),
            };
            left.retain(|v| v.words.split(' ').nth(depth) == Some(word));
            if !path.is_empty() {
                path.push(' ');
            }
            path.push_str(word);
        }
        Err(Lost::Unknown(path))
    }
}

/// The word at this depth that `typed` means: itself, or the only one it begins.
fn pick<'a>(verbs: &[&'a Verb], depth: usize, typed: &str) -> std::result::Result<&'a str, Lost> {
    let mut found: Vec<&str> = verbs
        .iter()
        .filter_map(|v| v.words.split(' ').nth(depth))
        .filter(|w| w.starts_with(typed))
        .collect();
    if let Some(exact) = found.iter().find(|w| **w == typed) {
        return Ok(exact);
    }
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Lost::Unknown(typed.to_owned())),
        many => Err(Lost::Ambiguous(
            typed.to_owned(),
            many.iter().map(|w| (*w).to_owned()).collect(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_may_be_cut_to_a_unique_prefix() {
        let qm = &super::super::qm::FACE;
        let found = |text: &str| qm.find(&words(text)).map(|(v, n)| (v.words, n));
        assert_eq!(found("lists 100"), Ok(("listsnapshot", 1)));
        assert_eq!(found("list"), Ok(("list", 1)));
        assert_eq!(found("disk resi 100 scsi0 +1G"), Ok(("disk resize", 2)));
        assert!(
            matches!(found("st 100"), Err(Lost::Ambiguous(_, all)) if all.contains(&"start".to_owned()))
        );
        assert_eq!(found("explode 100"), Err(Lost::Unknown("explode".into())));
        assert!(matches!(found("disk"), Err(Lost::Incomplete(_, _))));
    }
}
