//! The control protocol as values: one JSON line to a command and results back to lines; it does not touch sockets or machines.

use crate::model::{ByteCount, Error, ErrorKind, SnapshotName};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Longest pause a snapshot may hold the machine when the client does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// Answered at once, from the control thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Capabilities,
    Status,
    Block,
    BlockStats,
    Commands,
    Name,
}

/// Done by the operator, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Stop,
    Cont,
    Reset,
    PowerDown,
    Quit,
    Drain,
    Resize {
        device: String,
        size: ByteCount,
    },
    SnapshotBegin {
        timeout: Duration,
    },
    SnapshotVolume {
        device: String,
        name: SnapshotName,
        created: u64,
    },
    SnapshotDelete {
        device: String,
        name: SnapshotName,
    },
    SnapshotNames {
        device: String,
    },
    SnapshotEnd,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Query(Query),
    Action(Action),
}

/// One line from a client.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) id: Option<Value>,
    pub(super) command: Command,
}

/// What goes wrong, as QMP says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    class: &'static str,
    text: String,
}

impl Failure {
    pub(super) fn new(class: &'static str, text: impl Into<String>) -> Self {
        Failure {
            class,
            text: text.into(),
        }
    }
    fn generic(text: impl Into<String>) -> Self {
        Failure::new("GenericError", text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = match error.kind() {
            ErrorKind::Usage | ErrorKind::Failed => "GenericError",
            ErrorKind::NotFound => "NotFound",
            ErrorKind::Conflict => "Conflict",
            ErrorKind::Busy => "Busy",
            ErrorKind::NeedsConfirmation => "NeedsConfirmation",
            ErrorKind::NoSpace => "NoSpace",
            ErrorKind::Offline => "Offline",
            ErrorKind::Integrity => "Integrity",
            ErrorKind::Unsupported => "Unsupported",
        };
        Failure::new(class, error.full_text())
    }
}

pub(super) type Outcome = Result<Value, Failure>;

/// Names of all commands, for `query-commands`.
pub(super) const COMMANDS: &[&str] = &[
    "qmp_capabilities",
    "query-status",
    "query-block",
    "query-blockstats",
    "query-commands",
    "query-name",
    "stop",
    "cont",
    "system_reset",
    "system_powerdown",
    "quit",
    "drain",
    "block_resize",
    "x-snapshot-begin",
    "x-snapshot-volume",
    "x-snapshot-delete",
    "x-snapshot-names",
    "x-snapshot-end",
];

/// Reads one line; a failure keeps the id where there is one, so that the client can match the answer.
pub(super) fn parse(line: &[u8]) -> Result<Request, (Option<Value>, Failure)> {
    let value: Value = serde_json::from_slice(line)
        .map_err(|e| (None, Failure::generic(format!("invalid JSON: {e}"))))?;
    let Value::Object(mut object) = value else {
        return Err((None, Failure::generic("a command is a JSON object")));
    };
    let id = object.remove("id");
    match command_of(object) {
        Ok(command) => Ok(Request { id, command }),
        Err(failure) => Err((id, failure)),
    }
}

fn command_of(mut object: Map<String, Value>) -> Result<Command, Failure> {
    let Some(Value::String(name)) = object.remove("execute") else {
        return Err(Failure::generic("'execute' with a command name is missing"));
    };
    let arguments = match object.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(Failure::generic("'arguments' is a JSON object")),
    };
    if let Some(key) = object.keys().next() {
        return Err(Failure::generic(format!("unexpected member '{key}'")));
    }
    let mut arguments = Arguments(arguments);
    let command = match name.as_str() {
        // Whatever capabilities a client enables, there are none.
        "qmp_capabilities" => return Ok(Command::Query(Query::Capabilities)),
        "query-status" => Command::Query(Query::Status),
        "query-block" => Command::Query(Query::Block),
        "query-blockstats" => Command::Query(Query::BlockStats),
        "query-commands" => Command::Query(Query::Commands),
        "query-name" => Command::Query(Query::Name),
        name => Command::Action(action_of(name, &mut arguments)?),
    };
    match arguments.0.keys().next() {
        Some(key) => Err(Failure::generic(format!(
            "'{name}' has no argument '{key}'"
        ))),
        None => Ok(command),
    }
}

fn action_of(name: &str, arguments: &mut Arguments) -> Result<Action, Failure> {
    Ok(match name {
        "stop" => Action::Stop,
        "cont" => Action::Cont,
        "system_reset" => Action::Reset,
        "system_powerdown" => Action::PowerDown,
        "quit" => Action::Quit,
        "drain" => Action::Drain,
        "block_resize" => Action::Resize {
            device: arguments.text("device")?,
            size: ByteCount(arguments.number("size")?),
        },
        "x-snapshot-begin" => {
            let timeout = match arguments.0.contains_key("timeout_ms") {
                true => Duration::from_millis(arguments.number("timeout_ms")?),
                false => DEFAULT_TIMEOUT,
            };
            Action::SnapshotBegin {
                timeout: timeout.min(LONGEST_TIMEOUT),
            }
        }
        "x-snapshot-volume" => Action::SnapshotVolume {
            device: arguments.text("device")?,
            name: arguments.snapshot()?,
            created: arguments.number("created")?,
        },
        "x-snapshot-delete" => Action::SnapshotDelete {
            device: arguments.text("device")?,
            name: arguments.snapshot()?,
        },
        "x-snapshot-names" => Action::SnapshotNames {
            device: arguments.text("device")?,
        },
        "x-snapshot-end" => Action::SnapshotEnd,
        unknown => {
            return Err(Failure::new(
                "CommandNotFound",
                format!("the command '{unknown}' does not exist"),
            ));
        }
    })
}

struct Arguments(Map<String, Value>);

impl Arguments {
    fn text(&mut self, key: &str) -> Result<String, Failure> {
        match self.0.remove(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Failure::generic(format!("argument '{key}' is a string"))),
        }
    }
    fn number(&mut self, key: &str) -> Result<u64, Failure> {
        self.0
            .remove(key)
            .and_then(|value| value.as_u64())
            .ok_or_else(|| {
                Failure::generic(format!("argument '{key}' is a whole number, not negative"))
            })
    }
    fn snapshot(&mut self) -> Result<SnapshotName, Failure> {
        Ok(SnapshotName::parse(&self.text("name")?)?)
    }
}

/// The first line a client sees.
pub(super) fn greeting() -> Value {
    json!({"QMP": {"version": {"volvisor": env!("CARGO_PKG_VERSION")}, "capabilities": []}})
}

pub(super) fn answer(id: Option<Value>, outcome: Outcome) -> Value {
    let mut line = match outcome {
        Ok(value) => json!({"return": value}),
        Err(failure) => json!({"error": {"class": failure.class, "desc": failure.text}}),
    };
    if let (Some(id), Some(object)) = (id, line.as_object_mut()) {
        object.insert("id".to_owned(), id);
    }
    line
}

/// `micros` since 1970.
pub(super) fn event(name: &str, data: Value, micros: u64) -> Value {
    let mut line = json!({
        "event": name,
        "timestamp": {"seconds": micros / 1_000_000, "microseconds": micros % 1_000_000},
    });
    if let (false, Some(object)) = (data.is_null(), line.as_object_mut()) {
        object.insert("data".to_owned(), data);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(line: &str) -> &'static str {
        parse(line.as_bytes()).unwrap_err().1.class
    }

    #[test]
    fn commands_are_read_with_their_arguments() {
        let line =
            br#"{"execute":"block_resize","arguments":{"device":"scsi0","size":4096},"id":7}"#;
        let request = parse(line).unwrap();
        assert_eq!(request.id, Some(json!(7)));
        let resize = Action::Resize {
            device: "scsi0".into(),
            size: ByteCount(4096),
        };
        assert_eq!(request.command, Command::Action(resize));
        let line = br#"{"execute":"x-snapshot-begin","arguments":{"timeout_ms":50}}"#;
        let begin = Action::SnapshotBegin {
            timeout: Duration::from_millis(50),
        };
        assert_eq!(parse(line).unwrap().command, Command::Action(begin));
    }

    #[test]
    fn every_listed_command_is_known() {
        for name in COMMANDS {
            let line = json!({"execute": name}).to_string();
            if let Err((_, failure)) = parse(line.as_bytes()) {
                assert_ne!(failure.class, "CommandNotFound", "{name}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        assert_eq!(class(r#"{"execute":"fly"}"#), "CommandNotFound");
        assert_eq!(
            class(r#"{"execute":"stop","arguments":{"x":1}}"#),
            "GenericError"
        );
        assert_eq!(class("[]"), "GenericError");
        assert_eq!(class("{"), "GenericError");
        let bad = r#"{"execute":"x-snapshot-volume","arguments":{"device":"scsi0","name":"../x","created":1}}"#;
        assert_eq!(class(bad), "GenericError");
    }

    proptest! {
        #[test]
        fn any_line_is_answered(line: Vec<u8>) {
            if let Err((id, failure)) = parse(&line) {
                prop_assert!(answer(id, Err(failure)).get("error").is_some());
            }
        }
    }
}
