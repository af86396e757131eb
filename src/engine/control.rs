//! A client of a machine's control socket: one QMP-shaped command, one answer; it never interprets what a command means.

use crate::model::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// One connection. Dropping it ends what the machine does on its behalf (a begun snapshot resumes the guest).
#[derive(Debug)]
pub struct Control {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
    shown: String,
}

impl Control {
    /// Connects and reads the greeting.
    pub fn connect(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let fail = |e| {
            Error::io(format!("cannot reach the machine at '{shown}'"), e)
                .hint("is it running? see: qm list")
        };
        let stream = UnixStream::connect(path).map_err(fail)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .map_err(fail)?;
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .map_err(fail)?;
        let reader = BufReader::new(stream.try_clone().map_err(fail)?);
        let mut control = Control {
            reader,
            stream,
            shown: shown.clone(),
        };
        let greeting = control.read_message()?;
        if greeting.get("QMP").is_none() {
            return Err(Error::failed(format!(
                "what listens at '{shown}' is not a machine of this program"
            )));
        }
        Ok(control)
    }

    fn read_message(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self
            .reader
            .read_line(&mut line)
            .map_err(|e| Error::io(format!("no answer from the machine at '{}'", self.shown), e))?;
        if count == 0 {
            return Err(Error::failed(format!(
                "the machine at '{}' closed the connection",
                self.shown
            )));
        }
        serde_json::from_str(&line)
            .map_err(|e| Error::failed(format!("bad answer from '{}'", self.shown)).with_source(e))
    }

    /// Runs one command; events that come before the answer are skipped.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let text = format!(
            "{}\n",
            json!({ "execute": command, "arguments": arguments })
        );
        self.stream
            .write_all(text.as_bytes())
            .map_err(|e| Error::io(format!("cannot send '{command}' to '{}'", self.shown), e))?;
        loop {
            let message = self.read_message()?;
            if let Some(answer) = message.get("return") {
                return Ok(answer.clone());
            }
            if let Some(error) = message.get("error") {
                let class = error
                    .get("class")
                    .and_then(Value::as_str)
                    .unwrap_or("GenericError");
                let text = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("no description");
                let kind = match class {
                    "CommandNotFound" => ErrorKind::Unsupported,
                    "DeviceNotFound" => ErrorKind::NotFound,
                    "Conflict" => ErrorKind::Conflict,
                    _ => ErrorKind::Failed,
                };
                return Err(Error::new(
                    kind,
                    format!("machine refused '{command}': {text}"),
                ));
            }
        }
    }
}
