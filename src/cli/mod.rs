//! The command line: arguments to intents, results to tables, JSON and exit codes; decides nothing about storage.

mod args;
mod context;
pub mod demo;
mod docs;
mod explain;
pub mod explain_plan;
pub mod explain_storage;
pub mod explain_vm;
mod globals;
mod keys;
mod machine;
mod native;
mod output;
mod parse;
mod pvesm;
mod qm;
mod run;
mod storages;
mod verb;
pub mod vm_run;

use crate::model::{Error, ErrorKind};
use context::Context;
use std::ffi::OsString;
use verb::{Face, Lost, Verb};

/// Runs the program and returns its exit code.
pub fn main(args: Vec<OsString>) -> i32 {
    let mut words = Vec::with_capacity(args.len());
    for (index, arg) in args.into_iter().enumerate() {
        match arg.into_string() {
            Ok(word) => words.push(word),
            Err(raw) if index == 0 => words.push(raw.to_string_lossy().into_owned()),
            Err(raw) => {
                output::complain(&format!("error: argument {index} is not UTF-8: {raw:?}\n"));
                return 2;
            }
        }
    }
    let program = words
        .first()
        .map(|p| p.rsplit('/').next().unwrap_or(p).to_owned());
    let mut rest = words.split_off(words.len().min(1));
    let leading = take_leading(&mut rest);
    let face = match (program.as_deref(), rest.first().map(String::as_str)) {
        (Some("pvesm"), _) => &pvesm::FACE,
        (Some("qm"), _) => &qm::FACE,
        (_, Some("pvesm")) => {
            rest.remove(0);
            &pvesm::FACE
        }
        (_, Some("qm")) => {
            rest.remove(0);
            &qm::FACE
        }
        _ => &native::FACE,
    };
    dispatch(face, rest, leading)
}

/// Common options before the command (`volvisor --root DIR vm list`), taken out to be put behind it.
fn take_leading(rest: &mut Vec<String>) -> Vec<String> {
    let mut leading = Vec::new();
    while let Some(first) = rest.first() {
        let name = first.trim_start_matches('-');
        let (name, joined) = name
            .split_once('=')
            .map_or((name, false), |(n, _)| (n, true));
        let known = globals::LEADING
            .iter()
            .find(|(long, _)| *long == name || (name == "o" && *long == "output"))
            .filter(|_| first.starts_with('-'));
        let Some((_, takes_value)) = known else { break };
        let count = if *takes_value && !joined { 2 } else { 1 };
        leading.extend(rest.drain(..count.min(rest.len())));
    }
    leading
}

fn dispatch(face: &'static Face, mut rest: Vec<String>, leading: Vec<String>) -> i32 {
    let failed = if face.applet { 255 } else { 2 };
    match rest.first().map(String::as_str) {
        Some("help" | "--help" | "-h") => {
            rest.remove(0);
            return docs::help(face, &rest);
        }
        Some("--version" | "-V" | "version") => {
            return finish_text(&format!("volvisor {}\n", env!("CARGO_PKG_VERSION")));
        }
        _ => {}
    }
    let (verb, used) = match face.find(&rest) {
        Ok(found) => found,
        Err(Lost::Incomplete(path, _)) if rest.iter().any(|w| w == "--help" || w == "-h") => {
            return finish_text(&docs::overview(face, &path));
        }
        Err(lost) => {
            output::complain(&docs::lost(face, &lost));
            return failed;
        }
    };
    let mut tokens = rest.split_off(used);
    let at = tokens
        .iter()
        .position(|t| t == "--")
        .unwrap_or(tokens.len());
    tokens.splice(at..at, leading);
    run_verb(face, verb, &tokens)
}

fn run_verb(face: &Face, verb: &Verb, tokens: &[String]) -> i32 {
    let mut command = verb.command(face);
    let usage = |command: &mut clap::Command| {
        let text = command.render_usage().to_string();
        text.trim_start_matches("Usage: ").trim().to_owned()
    };
    let matches = args::normalise(&command, verb.keys, face.applet, tokens).and_then(|plain| {
        command
            .try_get_matches_from_mut(plain)
            .map_err(|error| match error.kind() {
                clap::error::ErrorKind::DisplayHelp => {
                    Error::new(ErrorKind::Failed, error.to_string())
                }
                clap::error::ErrorKind::MissingRequiredArgument if face.applet => {
                    Error::usage("400 not enough arguments")
                }
                clap::error::ErrorKind::UnknownArgument | clap::error::ErrorKind::TooManyValues
                    if face.applet =>
                {
                    Error::usage("400 too many arguments")
                }
                _ => {
                    let text = error.to_string();
                    Error::usage(text.trim_start_matches("error: ").trim_end().to_owned())
                }
            })
    });
    let matches = match matches {
        Ok(matches) => matches,
        Err(help) if help.kind() == ErrorKind::Failed => return finish_text(help.message()),
        Err(error) => {
            return match face.applet {
                true => {
                    output::complain(&format!("{error}\n{}\n", usage(&mut command)));
                    255
                }
                false => {
                    output::complain(&output::native_error(&error, output::colour()));
                    2
                }
            };
        }
    };
    let globals = match globals::read(&matches, verb.changes) {
        Ok(globals) => globals,
        Err(error) => return fail(face, &error, false),
    };
    let json = globals.json;
    let ctx = Context::new(globals, face.applet);
    let mut outcome = (verb.run)(&ctx, &matches);
    if let Err(error) = ctx.flush() {
        outcome = outcome.and(Err(Error::io("cannot write to standard output", error)));
    }
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let code = fail(face, &error, json);
            if face.applet && error.message().starts_with("400 ") {
                output::complain(&format!("{}\n", usage(&mut command)));
            }
            code
        }
    }
}

fn fail(face: &Face, error: &Error, json: bool) -> i32 {
    let text = match (json, face.applet) {
        (true, _) => output::json_error(error),
        (false, true) => {
            let mut text = format!("{}\n", error.full_text());
            if let Some(hint) = error.hint_text() {
                text.push_str(&format!("help: {hint}\n"));
            }
            text
        }
        (false, false) => output::native_error(error, output::colour()),
    };
    output::complain(&text);
    match face.applet {
        true => 255,
        false => error.kind().exit_code(),
    }
}

/// Prints text and returns success.
fn finish_text(text: &str) -> i32 {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
        Err(_) => 1,
    }
}
