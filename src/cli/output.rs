//! Tables, sizes and errors as people and scripts read them; knows nothing of what is in them.

use crate::model::calendar::date_time;
use crate::model::{ByteCount, Error};
use std::io::{IsTerminal, Write};

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell, two blanks between; no line ends in a blank.
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|(name, _)| name.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let names: Vec<String> = head.iter().map(|(name, _)| (*name).to_owned()).collect();
    for row in std::iter::once(&names).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(head) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            match align {
                Align::Left => line.extend([cell.as_str(), &pad]),
                Align::Right => line.extend([pad.as_str(), cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `32.0 GiB`, `1.5 TiB`, `512 B`.
pub fn human(size: ByteCount) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = size.get() as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{} B", size.get()),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

pub fn human_or_unknown(size: Option<ByteCount>) -> String {
    size.map_or_else(|| "-".to_owned(), human)
}

/// `2023-11-14 22:13:20` in UTC.
pub fn utc(seconds: u64) -> String {
    date_time(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Whether text for people on standard error may carry colour.
pub fn colour() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Native form: `error:`, `cause:`, `help:`, one line each.
pub fn native_error(error: &Error, colour: bool) -> String {
    let (red, blue, off) = match colour {
        true => ("\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let message = error
        .message()
        .strip_prefix("400 Parameter verification failed.\n")
        .unwrap_or(error.message());
    let mut text = format!("{red}error:{off} {message}\n");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!("{blue}cause:{off} {cause}\n"));
        next = cause.source();
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("{blue}help:{off} {hint}\n"));
    }
    text
}

/// The error as one JSON object, for `-o json`.
pub fn json_error(error: &Error) -> String {
    let value = serde_json::json!({
        "schema": 1,
        "error": {
            "kind": format!("{:?}", error.kind()),
            "message": error.message(),
            "text": error.full_text(),
            "help": error.hint_text(),
            "exit_code": error.kind().exit_code(),
        }
    });
    format!("{value}\n")
}

/// Writes to standard error; nobody there is no error.
pub fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_readable() {
        assert_eq!(human(ByteCount(34_359_738_368)), "32.0 GiB");
        assert_eq!(human(ByteCount(1023)), "1023 B");
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(1_700_000_000), "2023-11-14 22:13:20");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
    }

    #[test]
    fn tables_align_and_do_not_end_in_blanks() {
        let text = table(
            &[("NAME", Align::Left), ("SIZE", Align::Right)],
            &[
                vec!["a".into(), "10".into()],
                vec!["long".into(), "1".into()],
            ],
        );
        assert_eq!(text, "NAME  SIZE\na       10\nlong     1\n");
    }

    #[test]
    fn an_error_names_what_why_and_the_next_step() {
        let error = Error::busy("VM 100 is locked (snapshot)").hint("volvisor recover");
        assert_eq!(
            native_error(&error, false),
            "error: VM 100 is locked (snapshot)\nhelp: volvisor recover\n"
        );
    }
}
