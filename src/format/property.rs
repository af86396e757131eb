//! Property strings (`net0`, `agent`, `boot`, `memory`, `machine`, ...): one reader driven by tables of sub-keys; knows no key of
//! its own and never completes what is missing.
//!
//! A text is a comma list of `key=value`; one sub-key may stand without its name (the default key). Errors are the original's
//! sentences, because scripts match them.

pub mod cpu;
pub mod scalar;
pub mod tables;

use scalar::check_format;
use std::collections::BTreeMap;

/// What a sub-key's value may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Bool,
    Int(Option<i64>, Option<i64>),
    Num(Option<f64>, Option<f64>),
    Enum(Vec<&'static str>),
    /// Any text of at most so many characters.
    Text(usize),
    /// A named format, checked by `scalar`; at most so many characters.
    Format(&'static str, usize),
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct SubKey {
    pub name: &'static str,
    pub kind: Kind,
    pub is_default: bool,
    pub required: bool,
}

/// A table, read from its text form in `tables`.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub keys: Vec<SubKey>,
    /// Other spelling, real sub-key.
    aliases: Vec<(&'static str, &'static str)>,
    /// `virtio=MAC` of networks: the name is the value of `model`, the value that of `macaddr`.
    key_aliases: Vec<&'static str>,
    /// (sub-key, sub-key it needs).
    requires: Vec<(&'static str, &'static str)>,
    /// What holds between valid sub-keys; `Err` is the original's text.
    pub validator: Option<Validator>,
}

fn duplicate(key: &str) -> String {
    format!("duplicate key in comma-separated list property: {key}\n")
}

/// White space as the original's patterns see it.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Says what is wrong between valid sub-keys.
pub type Validator = fn(&Values) -> Result<(), String>;

/// Sub-keys and stored values (booleans as `0`/`1`), sorted by name.
pub type Values = BTreeMap<String, String>;

impl Table {
    /// One sub-key a line: `name kind...`; `*` marks the default key, `!` a required one; `other = name` is an alias;
    /// `a needs b`; `names => keyalias`.
    pub fn read(text: &'static str) -> Table {
        let mut table = Table::default();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let (name, rest) = line.split_once(' ').unwrap_or((line, "text"));
            let words: Vec<&'static str> = rest.split_whitespace().collect();
            match words.as_slice() {
                ["=", real] => table.aliases.push((name, real)),
                ["needs", other] => table.requires.push((name, other)),
                ["=>", "model"] => table.key_aliases.push(name),
                _ => table.keys.push(SubKey {
                    name: name.trim_end_matches(['*', '!']),
                    kind: read_kind(&words),
                    is_default: name.contains('*'),
                    required: name.contains('!'),
                }),
            }
        }
        table
    }

    fn find(&self, name: &str) -> Option<&SubKey> {
        self.keys.iter().find(|k| k.name == name)
    }

    /// Takes a text apart and checks it. `Err` is the original's text, with its line ends.
    pub fn parse(&self, text: &str) -> Result<Values, String> {
        self.parse_without(text, &[])
    }

    /// As `parse`, but items `name=...` of these names are passed over unread.
    pub fn parse_without(&self, text: &str, skipped: &[&str]) -> Result<Values, String> {
        let mut raw: BTreeMap<String, String> = BTreeMap::new();
        let mut bare = false;
        for part in text.split(',') {
            if part.bytes().all(is_space) {
                continue;
            }
            match part.split_once('=') {
                Some((key, value)) if !key.is_empty() && !value.is_empty() => {
                    if !skipped.contains(&key) {
                        self.take(&mut raw, key, value)?;
                    }
                }
                Some(_) => return Err("missing key in comma-separated list property\n".to_owned()),
                None => {
                    let default = self.keys.iter().find(|k| k.is_default).ok_or_else(|| {
                        "value without key, but schema does not define a default key\n".to_owned()
                    })?;
                    if bare || raw.contains_key(default.name) {
                        return Err(duplicate(default.name));
                    }
                    bare = true;
                    raw.insert(default.name.to_owned(), part.to_owned());
                }
            }
        }
        let values = self.check(raw)?;
        match self.validator {
            Some(validator) => validator(&values).map(|()| values),
            None => Ok(values),
        }
    }

    /// One `key=value`, under its real name.
    fn take(
        &self,
        raw: &mut BTreeMap<String, String>,
        key: &str,
        value: &str,
    ) -> Result<(), String> {
        if raw.contains_key(key) {
            return Err(duplicate(key));
        }
        let is_key_alias = self.key_aliases.contains(&key);
        let real = match self.aliases.iter().find(|(name, _)| *name == key) {
            Some((_, real)) => *real,
            None if is_key_alias => "macaddr",
            None => {
                raw.insert(key.to_owned(), value.to_owned());
                return Ok(());
            }
        };
        if is_key_alias && raw.insert("model".to_owned(), key.to_owned()).is_some() {
            return Err("key alias 'model' is already defined\n".to_owned());
        }
        match raw.insert(real.to_owned(), value.to_owned()) {
            Some(_) => Err(format!("key '{real}' is already defined (via alias)\n")),
            None => Ok(()),
        }
    }

    fn check(&self, raw: BTreeMap<String, String>) -> Result<Values, String> {
        let mut values = Values::new();
        let mut errors: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in raw {
            match self.find(&key) {
                None => {
                    let text = "property is not defined in schema and the schema does not allow additional properties";
                    errors.insert(key, text.to_owned());
                }
                Some(sub) => match check_kind(&sub.kind, &value) {
                    Ok(stored) => {
                        values.insert(key, stored);
                    }
                    Err(text) => {
                        errors.insert(key, text);
                    }
                },
            }
        }
        for sub in self.keys.iter().filter(|k| k.required) {
            if !values.contains_key(sub.name) && !errors.contains_key(sub.name) {
                errors.insert(
                    sub.name.to_owned(),
                    "property is missing and it is not optional".to_owned(),
                );
            }
        }
        for (key, other) in &self.requires {
            if values.contains_key(*key)
                && !values.contains_key(*other)
                && !errors.contains_key(*other)
            {
                errors.insert(
                    (*other).to_owned(),
                    format!("missing property required by '{key}'"),
                );
            }
        }
        if errors.is_empty() {
            return Ok(values);
        }
        let lines: String = errors
            .iter()
            .map(|(key, text)| format!("{key}: {text}\n"))
            .collect();
        Err(format!("format error\n{lines}"))
    }

    /// The default key's value first and bare, then required sub-keys, then the others; each group sorted.
    pub fn print(&self, values: &Values) -> String {
        let default = self.keys.iter().find(|k| k.is_default).map(|k| k.name);
        let has_key_alias = !self.key_aliases.is_empty() && values.contains_key("model");
        let mut parts: Vec<(u8, String)> = Vec::new();
        for (key, value) in values {
            if has_key_alias && key == "macaddr" {
                continue;
            }
            let is_required = self.find(key).is_some_and(|sub| sub.required);
            if Some(key.as_str()) == default {
                let mac = values.get("macaddr").filter(|_| has_key_alias);
                let text = mac.map_or_else(|| value.clone(), |mac| format!("{value}={mac}"));
                parts.push((0, text));
            } else {
                parts.push((if is_required { 1 } else { 2 }, format!("{key}={value}")));
            }
        }
        parts.sort_by_key(|(group, _)| *group);
        let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        texts.join(",")
    }

    /// Whether the sub-key is a boolean, for JSON.
    pub fn is_bool(&self, key: &str) -> bool {
        self.find(key).is_some_and(|sub| sub.kind == Kind::Bool)
    }
}

fn limits(words: &[&'static str]) -> (Option<&'static str>, Option<&'static str>) {
    let range = words.get(1).and_then(|w| w.split_once(".."));
    let given = |w: &'static str| (!w.is_empty()).then_some(w);
    range.map_or((None, None), |(low, high)| (given(low), given(high)))
}

fn read_kind(words: &[&'static str]) -> Kind {
    let max = words
        .iter()
        .find_map(|w| w.strip_prefix("max="))
        .and_then(|n| n.parse().ok())
        .unwrap_or(usize::MAX);
    let (low, high) = limits(words);
    match words.first().copied().unwrap_or("text") {
        "bool" => Kind::Bool,
        "int" => Kind::Int(
            low.and_then(|w| w.parse().ok()),
            high.and_then(|w| w.parse().ok()),
        ),
        "num" => Kind::Num(
            low.and_then(|w| w.parse().ok()),
            high.and_then(|w| w.parse().ok()),
        ),
        "enum" => Kind::Enum(words[1..].to_vec()),
        "text" => Kind::Text(max),
        format => Kind::Format(format, max),
    }
}

/// The stored form of a value, or the original's sentence without line end.
pub fn check_kind(kind: &Kind, value: &str) -> Result<String, String> {
    let too_long = |max: usize| {
        (value.chars().count() > max).then(|| format!("value may only be {max} characters long"))
    };
    let bounds =
        |low: Option<f64>, high: Option<f64>, shown: (String, String)| match value.parse::<f64>() {
            Ok(n) if high.is_some_and(|high| n > high) => {
                Err(format!("value must have a maximum value of {}", shown.1))
            }
            Ok(n) if low.is_some_and(|low| n < low) => {
                Err(format!("value must have a minimum value of {}", shown.0))
            }
            _ => Ok(value.to_owned()),
        };
    match kind {
        Kind::Bool => scalar::boolean(value)
            .map(|on| u8::from(on).to_string())
            .ok_or_else(|| format!("type check ('boolean') failed - got '{value}'")),
        Kind::Int(low, high) => {
            let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("type check ('integer') failed - got '{value}'"));
            }
            let shown = |n: &Option<i64>| n.map(|n| n.to_string()).unwrap_or_default();
            bounds(
                low.map(|n| n as f64),
                high.map(|n| n as f64),
                (shown(low), shown(high)),
            )
        }
        Kind::Num(low, high) => {
            if !scalar::is_number(value) {
                return Err(format!("type check ('number') failed - got '{value}'"));
            }
            let shown = |n: &Option<f64>| n.map(|n| n.to_string()).unwrap_or_default();
            bounds(*low, *high, (shown(low), shown(high)))
        }
        Kind::Enum(words) if words.contains(&value) => Ok(value.to_owned()),
        Kind::Enum(words) => Err(format!(
            "value '{value}' does not have a value in the enumeration '{}'",
            words.join(", ")
        )),
        Kind::Text(max) => too_long(*max).map_or(Ok(value.to_owned()), Err),
        Kind::Format(name, max) => {
            check_format(name, value)?;
            too_long(*max).map_or(Ok(value.to_owned()), Err)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tables;

    fn answer(table: &str, text: &str) -> String {
        let table = tables::by_name(table).unwrap();
        table
            .parse(text)
            .map_or_else(|e| e, |values| table.print(&values))
    }

    #[test]
    fn required_keys_are_printed_before_the_others() {
        assert_eq!(answer("ivshmem", "name=x,size=4"), "size=4,name=x");
        assert_eq!(
            answer("net", "bridge=vmbr0,firewall=yes,virtio=AA:BB:CC:00:11:22"),
            "virtio=AA:BB:CC:00:11:22,bridge=vmbr0,firewall=1"
        );
    }

    #[test]
    fn a_key_given_twice_is_refused_in_the_originals_words() {
        for (table, text, words) in [
            (
                "agent",
                "1,enabled=1",
                "duplicate key in comma-separated list property: enabled\n",
            ),
            (
                "agent",
                "freeze-fs=1,guest-fsfreeze=1",
                "key 'freeze-fs' is already defined (via alias)\n",
            ),
            (
                "net",
                "virtio,e1000=AA:BB:CC:00:11:22",
                "key alias 'model' is already defined\n",
            ),
            (
                "scsi",
                "st:a,volume=st:b",
                "key 'file' is already defined (via alias)\n",
            ),
        ] {
            assert_eq!(answer(table, text), words, "{text}");
        }
    }

    #[test]
    fn a_machine_names_a_known_model_and_harmless_flags() {
        assert_eq!(
            answer("cpu", "host,flags=+aes;-pcid"),
            "host,flags=+aes;-pcid"
        );
        assert_eq!(answer("cpu", "custom-lab"), "custom-lab");
        assert!(answer("cpu", "hosst").contains("Built-in cputype 'hosst' is not defined"));
        assert!(answer("cpu", "host,flags=+vmx").starts_with("VM-specific CPU flags"));
        assert_eq!(answer("cpu", "hidden=1"), "CPU is missing cputype\n");
        assert_eq!(
            answer("pve-cpu-conf", "custom-lab,flags=+vmx"),
            "custom-lab,flags=+vmx"
        );
    }

    #[test]
    fn numbers_take_every_usual_spelling_within_their_range() {
        for good in ["1.", ".5", "1e2", "+3", "0.5e-1"] {
            assert_eq!(
                answer("net", &format!("virtio,rate={good}")),
                format!("virtio,rate={good}")
            );
        }
        for bad in [".", "1e", "e1", "1.2.3", "-1"] {
            assert!(
                answer("net", &format!("virtio,rate={bad}")).starts_with("format error\nrate: ")
            );
        }
    }
}
