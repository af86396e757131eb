//! Lists, property strings and plain words inside storage.cfg values; knows no property by name but the two it describes.

use serde_json::Value;

/// Runs of comma, semicolon and blanks separate, empty items vanish; when the text has a NUL, only NUL separates.
pub fn split_list(text: &str) -> Vec<&str> {
    if text.contains('\0') {
        return text.split('\0').filter(|s| !s.is_empty()).collect();
    }
    text.split(|c: char| c == ',' || c == ';' || is_blank(c))
        .filter(|s| !s.is_empty())
        .collect()
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// `1 on yes true` and `0 off no false` in any case, as the command line accepts them.
pub fn parse_boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

/// Why a value does not fit its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatError {
    /// One sentence.
    Text(String),
    /// What is wrong with single keys of a property string.
    Keys(Vec<(String, String)>),
}

impl FormatError {
    pub(super) fn say<T>(text: impl Into<String>) -> Result<T, FormatError> {
        Err(FormatError::Text(text.into()))
    }
    /// As Proxmox prints it, newline included; keys are reported below `path`.
    pub fn text(&self, path: &str) -> String {
        match self {
            FormatError::Text(text) => format!("{text}\n"),
            FormatError::Keys(keys) => {
                let mut text = "format error\n".to_owned();
                for (key, message) in keys {
                    let dot = if path.is_empty() { "" } else { "." };
                    text.push_str(&format!("{path}{dot}{key}: {message}\n"));
                }
                text
            }
        }
    }
}

/// `key=value,key=value` in file order; no default key, no key twice.
pub fn property_list(text: &str) -> Result<Vec<(&str, &str)>, FormatError> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for part in text.split(',').filter(|p| !p.trim().is_empty()) {
        match part.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                if !seen.insert(key) {
                    return FormatError::say(format!(
                        "duplicate key in comma-separated list property: {key}"
                    ));
                }
                pairs.push((key, value));
            }
            Some(_) => return FormatError::say("missing key in comma-separated list property"),
            None => {
                return FormatError::say(
                    "value without key, but schema does not define a default key",
                );
            }
        }
    }
    Ok(pairs)
}

const NOT_DEFINED: &str =
    "property is not defined in schema and the schema does not allow additional properties";

/// Whole numbers as numbers, everything else as text.
fn number_or_text(text: &str) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| Value::from(text), Value::from)
}

fn finish(
    values: serde_json::Map<String, Value>,
    mut wrong: Vec<(String, String)>,
) -> Result<serde_json::Map<String, Value>, FormatError> {
    if wrong.is_empty() {
        return Ok(values);
    }
    wrong.sort();
    Err(FormatError::Keys(wrong))
}

/// `bwlimit`: KiB/s per kind of operation, 0 is unlimited.
pub fn bandwidth_limits(text: &str) -> Result<serde_json::Map<String, Value>, FormatError> {
    let (mut values, mut wrong) = (serde_json::Map::new(), Vec::new());
    for (key, value) in property_list(text)? {
        let known = ["default", "restore", "migration", "clone", "move"].contains(&key);
        match decimal(value) {
            _ if !known => wrong.push((key.to_owned(), NOT_DEFINED.to_owned())),
            None => wrong.push((
                key.to_owned(),
                format!("type check ('number') failed - got '{value}'"),
            )),
            Some(number) if number < 0.0 => wrong.push((
                key.to_owned(),
                "value must have a minimum value of 0".to_owned(),
            )),
            Some(_) => {
                values.insert(key.to_owned(), number_or_text(value));
            }
        }
    }
    finish(values, wrong)
}

fn decimal(text: &str) -> Option<f64> {
    let shape = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|n: &f64| shape && n.is_finite())
}

/// `prune-backups`: how many backups to keep. Nothing positive means keep all.
pub fn prune_backups(text: &str) -> Result<serde_json::Map<String, Value>, FormatError> {
    let (mut values, mut wrong) = (serde_json::Map::new(), Vec::new());
    let (mut keep_all, mut positive) = (false, false);
    for (key, value) in property_list(text)? {
        match key {
            "keep-all" => match parse_boolean(value) {
                Some(word) => keep_all = word,
                None => wrong.push((
                    key.to_owned(),
                    format!("type check ('boolean') failed - got '{value}'"),
                )),
            },
            "keep-last" | "keep-hourly" | "keep-daily" | "keep-weekly" | "keep-monthly"
            | "keep-yearly" => match super::integer(value) {
                None => wrong.push((
                    key.to_owned(),
                    format!("type check ('integer') failed - got '{value}'"),
                )),
                Some(number) if number < 0 => wrong.push((
                    key.to_owned(),
                    "value must have a minimum value of 0".to_owned(),
                )),
                Some(number) => {
                    positive |= number > 0;
                    values.insert(key.to_owned(), number_or_text(value));
                }
            },
            _ => wrong.push((key.to_owned(), NOT_DEFINED.to_owned())),
        }
    }
    let mut values = finish(values, wrong)?;
    if !positive {
        values.clear();
        values.insert("keep-all".to_owned(), Value::from(1));
    } else if keep_all {
        return FormatError::say("keep-all cannot be set together with other options.");
    }
    Ok(values)
}

/// A file name given by a client as it may be stored: last component, anything but letters, digits, `_.-` becomes `_`.
pub fn normalize_content_filename(name: &str) -> String {
    let name = name.strip_suffix('\n').unwrap_or(name);
    let last = name.rsplit(['/', '\\']).next().unwrap_or("");
    last.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}
