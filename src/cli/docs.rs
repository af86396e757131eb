//! Help, completions and manual pages, all from the command definitions; runs no command.

use super::args::{flag_arg, option, positional, text};
use super::context::Context;
use super::verb::{Face, Lost, Verb};
use super::{finish_text, native, output, pvesm, qm};
use crate::model::{Error, Result};
use clap::{ArgMatches, Command};
use std::path::Path;

pub const COMPLETIONS: Verb = Verb::reads(
    "completions",
    "Shell completions for volvisor, pvesm and qm",
    |c| {
        c.args([
            positional("shell", "bash, zsh, fish, elvish or powershell"),
            option("program", "NAME", "volvisor (default), pvesm or qm"),
        ])
    },
    completions,
);

pub const MAN: Verb = Verb::reads(
    "man",
    "Manual pages, to standard output or one file a page",
    |c| {
        c.args([
            option(
                "dir",
                "DIR",
                "Write volvisor.1, pvesm.1, qm.1 and a page a command here",
            ),
            option("program", "NAME", "volvisor (default), pvesm or qm"),
            flag_arg("list", "Only list the pages"),
        ])
    },
    man,
);

/// One line a command below these words (`""`: all).
pub fn overview(face: &Face, below: &str) -> String {
    let wide = face.verbs.iter().map(|v| v.words.len()).max().unwrap_or(0);
    let mut text = format!(
        "{}\n\nUsage: {} <COMMAND> [ARGS] [OPTIONS]\n\nCommands:\n",
        face.about, face.name
    );
    for verb in face.verbs.iter().filter(|v| !v.hidden) {
        let inside = below.is_empty() || verb.words.split(' ').next() == Some(below);
        if inside {
            text.push_str(&format!("  {:<wide$}  {}\n", verb.words, verb.about));
        }
    }
    text.push_str(&format!("\nMore: {} help <COMMAND>\n", face.name));
    if !face.applet && below.is_empty() {
        text.push_str(
            "Applets: volvisor pvesm ..., volvisor qm ... (or a link to this program with that name)\n\
             Everywhere: --root DIR, -o table|json, --quiet; changing commands: --dry-run, --save-plan FILE\n\
             Exit codes: 0 ok, 1 failed, 2 usage, 3 findings, 5 busy, 6 confirmation needed, 7 not found, 8 conflict,\n\
             9 no space, 10 storage offline, 11 integrity\n",
        );
    }
    text
}

/// `help`, `help disk`, `help disk resize`.
pub fn help(face: &Face, words: &[String]) -> i32 {
    if words.is_empty() {
        return finish_text(&overview(face, ""));
    }
    match face.find(words) {
        Ok((verb, _)) => finish_text(&verb.command(face).render_long_help().to_string()),
        Err(Lost::Incomplete(path, _)) => finish_text(&overview(face, &path)),
        Err(other) => {
            output::complain(&lost(face, &other));
            if face.applet { 255 } else { 2 }
        }
    }
}

/// What to say to words that name no command.
pub fn lost(face: &Face, lost: &Lost) -> String {
    let what = match lost {
        Lost::Unknown(words) => format!("unknown command '{} {words}'", face.name),
        Lost::Ambiguous(word, all) => {
            format!("command '{word}' is ambiguous: {}", all.join(", "))
        }
        Lost::Incomplete(path, _) if path.is_empty() => "no command specified".to_owned(),
        Lost::Incomplete(path, all) => format!(
            "no sub-command of '{} {path}' specified: {}",
            face.name,
            all.join(", ")
        ),
    };
    if face.applet {
        return format!("ERROR: {what}\n{}", overview(face, ""));
    }
    let nouns = |word: &str| {
        face.verbs
            .iter()
            .any(|v| v.words.split(' ').next() == Some(word))
    };
    let help = match lost {
        Lost::Incomplete(path, _) if path.is_empty() => return overview(face, ""),
        Lost::Unknown(words) => match words.split(' ').next().filter(|word| nouns(word)) {
            Some(noun) => format!("see what there is with: {} help {noun}", face.name),
            None => format!("see the commands with: {} help", face.name),
        },
        _ => format!("see the commands with: {} help", face.name),
    };
    output::native_error(&Error::usage(what).hint(help), output::colour())
}

/// The whole tree of a face as one clap command.
pub fn tree(face: &'static Face) -> Command {
    tree_under(face, "")
}

/// The same below other words: `prefix` is empty or `volvisor `.
fn tree_under(face: &'static Face, prefix: &str) -> Command {
    let mut root = Command::new(face.name)
        .bin_name(format!("{prefix}{}", face.name))
        .about(face.about);
    let mut groups: Vec<(&'static str, Vec<Command>)> = Vec::new();
    for verb in face.verbs.iter().filter(|v| !v.hidden) {
        let (first, second) = verb.words.split_once(' ').unwrap_or((verb.words, ""));
        let leaf = |name: &'static str| {
            let command = verb
                .command(face)
                .name(name)
                .bin_name(format!("{prefix}{} {}", face.name, verb.words))
                .no_binary_name(false);
            super::keys::complete(command, verb.keys)
        };
        match second {
            "" => root = root.subcommand(leaf(first)),
            second => match groups.iter_mut().find(|(name, _)| *name == first) {
                Some((_, all)) => all.push(leaf(second)),
                None => groups.push((first, vec![leaf(second)])),
            },
        }
    }
    for (name, all) in groups {
        let about = all
            .iter()
            .map(|c| c.get_name().to_owned())
            .collect::<Vec<_>>()
            .join(", ");
        root = root.subcommand(Command::new(name).about(about).subcommands(all));
    }
    root
}

fn face(m: &ArgMatches) -> Result<&'static Face> {
    match text(m, "program").as_deref() {
        None | Some("volvisor") => Ok(&native::FACE),
        Some("pvesm") => Ok(&pvesm::FACE),
        Some("qm") => Ok(&qm::FACE),
        Some(other) => {
            Err(Error::usage(format!("no program '{other}'")).hint("use volvisor, pvesm or qm"))
        }
    }
}

fn completions(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let word = super::parse::required(m, "shell")?;
    let shell: clap_complete::Shell = word.parse().map_err(|_| {
        Error::usage(format!("no completions for shell '{word}'"))
            .hint("use bash, zsh, fish, elvish or powershell")
    })?;
    let face = face(m)?;
    let mut bytes = Vec::new();
    let mut all = tree(face);
    if !face.applet {
        all = all.subcommands([&pvesm::FACE, &qm::FACE].map(|f| tree_under(f, "volvisor ")));
    }
    clap_complete::generate(shell, &mut all, face.name, &mut bytes);
    ctx.text(String::from_utf8_lossy(&bytes));
    Ok(0)
}

/// Name and text of every page of a face: the program, then its commands.
fn pages(face: &'static Face) -> Result<Vec<(String, Vec<u8>)>> {
    let render = |command: Command| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut bytes)
            .map_err(|e| Error::io("cannot make a manual page", e))?;
        Ok(bytes)
    };
    let mut all = vec![(format!("{}.1", face.name), render(tree(face))?)];
    for verb in face.verbs.iter().filter(|v| !v.hidden) {
        let name = format!("{}-{}", face.name, verb.words.replace(' ', "-"));
        let command = verb.command(face).name(name.clone());
        all.push((format!("{name}.1"), render(command)?));
    }
    Ok(all)
}

fn man(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let faces = match text(m, "program") {
        Some(_) => vec![face(m)?],
        None => vec![&native::FACE, &pvesm::FACE, &qm::FACE],
    };
    let dir = text(m, "dir");
    if dir.is_none() && !super::args::flag(m, "list") {
        let page = pages(face(m)?)?.swap_remove(0).1;
        ctx.text(String::from_utf8_lossy(&page));
        return Ok(0);
    }
    for face in faces {
        for (name, bytes) in pages(face)? {
            if let Some(dir) = &dir {
                crate::sys::fs::replace_file(&Path::new(dir).join(&name), &bytes, 0o644)?;
            }
            ctx.line(name);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_sound_and_has_a_page() {
        for face in [&native::FACE, &pvesm::FACE, &qm::FACE] {
            tree(face).debug_assert();
            for verb in face.verbs {
                verb.command(face).debug_assert();
            }
            assert_eq!(
                pages(face).unwrap().len(),
                1 + face.verbs.iter().filter(|v| !v.hidden).count()
            );
        }
    }
}
