//! What a command gets: the engine, the common options and one buffered standard output; it knows no command.

use super::globals::Globals;
use crate::engine::{Engine, Paths};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::io::Write;

pub struct Context {
    pub engine: Engine,
    pub globals: Globals,
    /// `pvesm` or `qm`: print and fail as Proxmox VE does.
    pub applet: bool,
    out: RefCell<Vec<u8>>,
}

impl Context {
    pub fn new(globals: Globals, applet: bool) -> Self {
        Context {
            engine: Engine::open(Paths::new(globals.root.clone())),
            globals,
            applet,
            out: RefCell::new(Vec::new()),
        }
    }
    pub fn json(&self) -> bool {
        self.globals.json
    }
    /// One line on standard output.
    pub fn line(&self, text: impl AsRef<str>) {
        let mut out = self.out.borrow_mut();
        out.extend_from_slice(text.as_ref().as_bytes());
        out.push(b'\n');
    }
    /// Text that has its own line ends.
    pub fn text(&self, text: impl AsRef<str>) {
        self.out
            .borrow_mut()
            .extend_from_slice(text.as_ref().as_bytes());
    }
    /// One JSON object with `schema` first.
    pub fn object(&self, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        let mut map = Map::new();
        map.insert("schema".into(), Value::from(1));
        for (name, value) in fields {
            map.insert(name.into(), value);
        }
        match serde_json::to_string_pretty(&Value::Object(map)) {
            Ok(text) => self.line(text),
            Err(error) => self.note(&format!("cannot print JSON: {error}")),
        }
    }
    /// One line on standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.globals.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
    /// Gives what was printed to the terminal or pipe. A reader that went away is no error.
    pub fn flush(&self) -> std::io::Result<()> {
        let bytes = std::mem::take(&mut *self.out.borrow_mut());
        let mut out = std::io::stdout().lock();
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }
}
