//! Argument lists as Proxmox VE takes them (`-opt v`, `--opt=v`, cut names, 1/0/yes/no) made plain for clap; knows no command.

use super::keys;
use super::verb::Keys;
use crate::model::{Error, Result};
use clap::{Arg, ArgAction, ArgMatches, Command};

/// An option with a value.
pub fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(value)
        .help(help)
        .num_args(1)
        .allow_hyphen_values(true)
        .action(ArgAction::Set)
}

/// An option that is on without a value, and also takes 1/0/yes/no/on/off/true/false.
pub fn flag_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("1")
        .value_name("BOOL")
        .hide_possible_values(true)
        .action(ArgAction::Set)
}

/// A positional argument.
pub fn positional(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .value_name(name)
        .help(help)
        .required(true)
        .allow_hyphen_values(true)
}

/// The value of an option or positional, if it was given.
pub fn text(matches: &ArgMatches, name: &str) -> Option<String> {
    matches
        .try_get_one::<String>(name)
        .ok()
        .flatten()
        .map(String::to_owned)
}

pub fn texts(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches
        .try_get_many::<String>(name)
        .ok()
        .flatten()
        .map(|all| all.cloned().collect())
        .unwrap_or_default()
}

/// Whether a flag is on. Values were checked by `normalise`.
pub fn flag(matches: &ArgMatches, name: &str) -> bool {
    flag_if_given(matches, name).unwrap_or(false)
}

pub fn flag_if_given(matches: &ArgMatches, name: &str) -> Option<bool> {
    text(matches, name).map(|word| boolean(&word).unwrap_or(true))
}

/// Proxmox's spellings.
pub fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "yes" | "on" | "true" => Some(true),
        "0" | "no" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// A wrong parameter, in the words Proxmox VE uses for it.
pub fn bad(name: &str, why: impl std::fmt::Display) -> Error {
    Error::usage(format!("400 Parameter verification failed.\n{name}: {why}"))
}

enum Meaning {
    Flag(String),
    Value(String),
    /// A config key or storage property; true when it is a boolean.
    Key(String, bool),
    Unknown,
}

/// Every token rewritten: options by their full name and joined to their value (`--name=value`), booleans as 1 or 0, open
/// keys as `--key=name=value`. Unknown options stay for clap to explain, or are refused where `strict` (applets).
pub fn normalise(
    command: &Command,
    keys: Keys,
    strict: bool,
    tokens: &[String],
) -> Result<Vec<String>> {
    let mut done = Vec::with_capacity(tokens.len());
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        if token == "--" {
            done.push(token.clone());
            done.extend(rest.cloned());
            break;
        }
        if !token.starts_with('-') || token.len() < 2 || token.as_bytes()[1].is_ascii_digit() {
            done.push(token.clone());
            continue;
        }
        let (name, joined) = match token.trim_start_matches('-').split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (token.trim_start_matches('-'), None),
        };
        let value = |rest: &mut std::iter::Peekable<std::slice::Iter<String>>| match &joined {
            Some(value) => Ok(value.clone()),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| bad(name, "option requires an argument")),
        };
        let boolean_value = |rest: &mut std::iter::Peekable<std::slice::Iter<String>>| match &joined
        {
            Some(word) => boolean(word).ok_or_else(|| {
                bad(
                    name,
                    format!("type check ('boolean') failed - got '{word}'"),
                )
            }),
            None => match rest.peek().and_then(|next| boolean(next)) {
                Some(known) => {
                    rest.next();
                    Ok(known)
                }
                None => Ok(true),
            },
        };
        match meaning(command, keys, name, token.starts_with("--"))? {
            Meaning::Flag(full) => {
                let on = boolean_value(&mut rest)?;
                done.push(format!("--{full}={}", u8::from(on)));
            }
            Meaning::Value(full) => done.push(format!("--{full}={}", value(&mut rest)?)),
            Meaning::Key(full, true) => {
                let on = boolean_value(&mut rest)?;
                done.push(format!("--key={full}={}", u8::from(on)));
            }
            Meaning::Key(full, false) => done.push(format!("--key={full}={}", value(&mut rest)?)),
            Meaning::Unknown if strict && !matches!(name, "h" | "help") => {
                return Err(bad(
                    name,
                    "property is not defined in schema and the schema does not allow additional properties",
                ));
            }
            Meaning::Unknown if name == "help" => done.push("--help".into()),
            Meaning::Unknown => done.push(token.clone()),
        }
    }
    Ok(done)
}

fn meaning(command: &Command, keys: Keys, name: &str, double: bool) -> Result<Meaning> {
    let of = |arg: &Arg| {
        let full = arg.get_long().unwrap_or_default().to_owned();
        match arg.get_num_args().map(|n| n.min_values()) {
            Some(0) => Meaning::Flag(full),
            _ => Meaning::Value(full),
        }
    };
    let named = |arg: &&Arg| {
        arg.get_long() == Some(name)
            || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
            || (!double && arg.get_short().is_some_and(|c| name == c.to_string()))
    };
    if let Some(arg) = command.get_arguments().find(named) {
        return Ok(of(arg));
    }
    if let Some(boolean) = keys::known(keys, name) {
        return Ok(Meaning::Key(name.to_owned(), boolean));
    }
    if name.is_empty() || matches!(name, "h" | "help") {
        return Ok(Meaning::Unknown);
    }
    // Cut names: the command's own options before the common ones.
    let common = |long: &str| super::globals::LEADING.iter().any(|(l, _)| *l == long);
    let starts = |arg: &&Arg| arg.get_long().is_some_and(|long| long.starts_with(name));
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|a| starts(a) && !a.get_long().is_some_and(common))
        .collect();
    let keyed = keys::beginning(keys, name);
    match (own.as_slice(), keyed.as_slice()) {
        ([one], []) => return Ok(of(one)),
        ([], [one]) => {
            return Ok(Meaning::Key(
                one.clone(),
                keys::known(keys, one).unwrap_or(false),
            ));
        }
        ([], []) => {}
        _ => {
            let all: Vec<String> = own
                .iter()
                .filter_map(|a| a.get_long().map(str::to_owned))
                .chain(keyed)
                .collect();
            return Err(bad(
                name,
                format!("option is ambiguous ({})", all.join(", ")),
            ));
        }
    }
    let shared: Vec<&Arg> = command.get_arguments().filter(starts).collect();
    match shared.as_slice() {
        [one] => Ok(of(one)),
        _ => Ok(Meaning::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &[&str]) -> Result<Vec<String>> {
        let qm = &super::super::qm::FACE;
        let words: Vec<String> = line.iter().map(|w| (*w).to_owned()).collect();
        let (verb, used) = qm.find(&words).unwrap();
        normalise(&verb.command(qm), verb.keys, true, &words[used..])
    }

    #[test]
    fn every_spelling_of_an_option_means_the_same() {
        for line in [
            ["set", "100", "--digest", "abc"].as_slice(),
            &["set", "100", "-digest", "abc"],
            &["set", "100", "--digest=abc"],
            &["set", "100", "-dig", "abc"],
        ] {
            assert_eq!(plain(line).unwrap(), ["100", "--digest=abc"], "{line:?}");
        }
    }

    #[test]
    fn flags_take_a_word_only_when_it_is_a_boolean() {
        assert_eq!(
            plain(&["destroy", "--purge", "100"]).unwrap(),
            ["--purge=1", "100"]
        );
        assert_eq!(
            plain(&["destroy", "100", "-purge", "no"]).unwrap(),
            ["100", "--purge=0"]
        );
        assert_eq!(
            plain(&["set", "100", "--onboot"]).unwrap(),
            ["100", "--key=onboot=1"]
        );
        assert_eq!(
            plain(&["set", "100", "--onboot", "off"]).unwrap(),
            ["100", "--key=onboot=0"]
        );
        assert!(plain(&["destroy", "100", "--purge=perhaps"]).is_err());
    }

    #[test]
    fn values_are_never_taken_for_options() {
        assert_eq!(
            plain(&[
                "set",
                "100",
                "--args",
                "-bios test-guest",
                "-net0",
                "virtio,bridge=vmbr0"
            ])
            .unwrap(),
            [
                "100",
                "--key=args=-bios test-guest",
                "--key=net0=virtio,bridge=vmbr0"
            ]
        );
        assert!(
            plain(&["set", "100", "--args"]).is_err(),
            "a value is missing"
        );
        assert!(
            plain(&["set", "100", "--scsi31", "x"]).is_err(),
            "no such slot"
        );
        assert!(
            plain(&["set", "100", "--unused07", "x"]).is_err(),
            "no such slot"
        );
    }

    #[test]
    fn cut_names_find_the_commands_own_options_first() {
        assert_eq!(plain(&["rescan", "--dry"]).unwrap(), ["--dryrun=1"]);
        assert_eq!(
            plain(&["unlock", "100", "--dry"]).unwrap(),
            ["100", "--dry-run=1"]
        );
        assert_eq!(
            plain(&["set", "100", "--memo", "1"]).unwrap(),
            ["100", "--key=memory=1"]
        );
        assert!(plain(&["set", "100", "--s", "1"]).is_err(), "ambiguous");
    }
}
