//! Unix stream sockets of a machine: listening, and one client's buffers; a client that does not read costs bounded memory and no time.

use crate::model::{Error, Result};
use crate::sys::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Clients of one socket at a time; more are turned away.
pub(super) const CLIENT_LIMIT: usize = 64;

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A listening socket; its name is removed when this is dropped.
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// A name left by a machine that was killed is replaced; one that somebody listens on is `Busy`.
    pub(super) fn bind(path: &Path) -> Result<Self> {
        let place = || format!("cannot listen on '{}'", shown(path));
        if path.exists() {
            if UnixStream::connect(path).is_ok() {
                return Err(
                    Error::busy(format!("another machine listens on '{}'", shown(path)))
                        .hint("stop it first"),
                );
            }
            fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path).map_err(|e| Error::io(place(), e))?;
        let listener = Listener {
            socket,
            path: path.to_owned(),
        };
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(|e| Error::io(place(), e))?;
        listener
            .socket
            .set_nonblocking(true)
            .map_err(|e| Error::io(place(), e))?;
        Ok(listener)
    }

    /// The next client that waits, if any.
    pub(super) fn accept(&self) -> Option<UnixStream> {
        let (stream, _) = self.socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What reading from a client gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Bytes(Vec<u8>),
    Nothing,
    Gone,
}

/// One connection with an output buffer of bounded size.
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) stream: UnixStream,
    output: Vec<u8>,
    limit: usize,
}

impl Client {
    pub(super) fn new(id: u64, stream: UnixStream, limit: usize) -> Self {
        Client {
            id,
            stream,
            output: Vec::new(),
            limit,
        }
    }

    /// At most `most` bytes that have arrived.
    pub(super) fn read(&mut self, most: usize) -> Heard {
        let mut buffer = vec![0u8; most.min(16 << 10)];
        match self.stream.read(&mut buffer) {
            Ok(0) => Heard::Gone,
            Ok(count) => {
                buffer.truncate(count);
                Heard::Bytes(buffer)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Heard::Nothing
            }
            Err(_) => Heard::Gone,
        }
    }

    /// Queues all of `bytes`, or nothing when the client is too far behind (false).
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        if self.output.len() + bytes.len() > self.limit {
            return false;
        }
        self.output.extend_from_slice(bytes);
        true
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Writes what the client takes now; false when the connection is gone.
    pub(super) fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(count) => drop(self.output.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        drop(UnixListener::bind(&path).unwrap());
        let live = Listener::bind(&path).unwrap();
        let second = Listener::bind(&path).err().unwrap();
        assert_eq!(second.kind(), crate::model::ErrorKind::Busy);
        drop(live);
        assert!(!path.exists());
    }

    #[test]
    fn a_client_that_never_reads_costs_bounded_memory() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut client = Client::new(1, ours, 1000);
        while client.send(&[0; 100]) {
            assert!(client.output.len() <= 1000);
        }
        assert!(client.flush());
    }
}
