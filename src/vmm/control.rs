//! The control thread: sockets, serial log and signals; it answers queries itself, hands actions to the operator, and never waits for either.

use super::operator::Job;
use super::outbox::{Out, Outbox};
use super::protocol::{self, Command, Failure, Outcome, Query, Request};
use super::say;
use super::serial::Serial;
use super::socket::{CLIENT_LIMIT, Client, Heard, Listener};
use super::status::{RunState, Status};
use super::virtio::blk::{Blk, Counters};
use crate::model::{Error, Result};
use crate::sys::fs;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Longest line a client may send.
const LINE_LIMIT: usize = 64 << 10;
/// Answers and events a client may leave unread before it is cut off.
const OUTPUT_LIMIT: usize = 1 << 20;
/// Console output a serial client may leave unread before it misses some.
const CONSOLE_LIMIT: usize = 256 << 10;
/// How long the end waits for clients to take their last lines.
const FAREWELL: Duration = Duration::from_millis(500);

struct Talker {
    client: Client,
    input: Vec<u8>,
    /// An action of this client is being done; its next line waits.
    busy: bool,
    /// The client sends no more; it goes when its answers are out.
    leaving: bool,
    dead: bool,
}

/// What the control thread serves.
pub(super) struct Control {
    pub(super) name: String,
    pub(super) status: Arc<Status>,
    pub(super) devices: Vec<Arc<Blk>>,
    pub(super) serial: Arc<Serial>,
    pub(super) log: File,
    pub(super) signals: OwnedFd,
    pub(super) outbox: Arc<Outbox>,
    pub(super) jobs: Sender<Job>,
    pub(super) control: Listener,
    pub(super) console: Listener,
}

/// Control clients, console clients, and the number of the next one.
#[derive(Default)]
struct Clients {
    talkers: Vec<Talker>,
    consoles: Vec<Client>,
    next: u64,
    log_failed: bool,
}

impl Control {
    /// Serves until the operator says the machine has ended; the exit code.
    pub(super) fn run(mut self) -> Result<i32> {
        let mut clients = Clients::default();
        loop {
            self.wait(&clients)?;
            if self.signalled() {
                let _ = self.jobs.send(Job::Terminate);
            }
            self.serve_serial(&mut clients);
            if let Some(code) = self.deliver(&mut clients) {
                self.serve_serial(&mut clients);
                farewell(&mut clients);
                return Ok(code);
            }
            self.accept(&mut clients);
            self.listen(&mut clients);
            self.forget(&mut clients);
        }
    }

    fn wait(&self, clients: &Clients) -> Result<()> {
        let input_room = self.serial.input_room() > 0;
        let mut fds = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(event_fd(self.outbox.event()), PollFlags::IN),
            PollFd::from_borrowed_fd(event_fd(self.serial.host_event()), PollFlags::IN),
            PollFd::new(&self.control.socket, PollFlags::IN),
            PollFd::new(&self.console.socket, PollFlags::IN),
        ];
        for talker in &clients.talkers {
            let mut flags = PollFlags::empty();
            flags.set(
                PollFlags::IN,
                !talker.leaving && talker.input.len() <= LINE_LIMIT,
            );
            flags.set(PollFlags::OUT, talker.client.wants_to_write());
            watch(&mut fds, &talker.client.stream, flags);
        }
        for console in &clients.consoles {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, input_room);
            flags.set(PollFlags::OUT, console.wants_to_write());
            watch(&mut fds, &console.stream, flags);
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(Error::io("cannot wait for clients", e.into())),
        }
    }

    fn signalled(&self) -> bool {
        let mut info = [0u8; 128];
        let mut any = false;
        while matches!(rustix::io::read(&self.signals, &mut info), Ok(n) if n > 0) {
            any = true;
        }
        any
    }

    /// Console output to the log and to every console client; their input to the guest.
    fn serve_serial(&mut self, clients: &mut Clients) {
        let _ = self.serial.host_event().read();
        let output = self.serial.take_output();
        if !output.is_empty() {
            if let Err(e) = fs::append(&mut self.log, &output) {
                if !clients.log_failed {
                    say::host(
                        &self.name,
                        &format!("the serial log cannot be written: {e}"),
                    );
                    clients.log_failed = true;
                }
            }
            for console in &mut clients.consoles {
                // One that is too far behind misses this part; the log has it.
                let _ = console.send(&output);
            }
        }
        clients.consoles.retain_mut(|console| {
            let room = self.serial.input_room();
            if room > 0 {
                match console.read(room) {
                    Heard::Bytes(bytes) => self.serial.push_input(&bytes),
                    Heard::Nothing => {}
                    Heard::Gone => return false,
                }
            }
            console.flush()
        });
    }

    /// What the operator has to say; the exit code when that was its last word.
    fn deliver(&self, clients: &mut Clients) -> Option<i32> {
        let mut end = None;
        for out in self.outbox.take() {
            match out {
                Out::Reply { client, line } => {
                    let talker = clients.talkers.iter_mut().find(|t| t.client.id == client);
                    if let Some(talker) = talker {
                        talker.busy = false;
                        talker.say(&line);
                    }
                }
                Out::Event(line) => {
                    for talker in &mut clients.talkers {
                        talker.say(&line);
                    }
                }
                Out::Finish(code) => end = end.or(Some(code)),
            }
        }
        end
    }

    fn accept(&self, clients: &mut Clients) {
        while let Some(stream) = self.control.accept() {
            if clients.talkers.len() >= CLIENT_LIMIT {
                continue;
            }
            clients.next += 1;
            let mut talker = Talker {
                client: Client::new(clients.next, stream, OUTPUT_LIMIT),
                input: Vec::new(),
                busy: false,
                leaving: false,
                dead: false,
            };
            talker.say(&protocol::greeting());
            clients.talkers.push(talker);
        }
        while let Some(stream) = self.console.accept() {
            if clients.consoles.len() < CLIENT_LIMIT {
                clients.next += 1;
                let console = Client::new(clients.next, stream, CONSOLE_LIMIT);
                clients.consoles.push(console);
            }
        }
    }

    fn listen(&self, clients: &mut Clients) {
        for talker in &mut clients.talkers {
            if !talker.leaving && talker.input.len() <= LINE_LIMIT {
                match talker.client.read(LINE_LIMIT) {
                    Heard::Bytes(bytes) => talker.input.extend_from_slice(&bytes),
                    Heard::Nothing => {}
                    Heard::Gone => talker.leaving = true,
                }
            }
            let mut start = 0;
            while !talker.busy && !talker.dead {
                let Some(end) = talker.line(start) else {
                    break;
                };
                let line = talker.input[start..end].trim_ascii().to_vec();
                start = end;
                if !line.is_empty() {
                    self.obey(talker, &line);
                }
            }
            talker.input.drain(..start);
            let endless = talker.input.len() > LINE_LIMIT && !talker.input.contains(&b'\n');
            if endless {
                let text = format!("a line is longer than {LINE_LIMIT} bytes");
                talker.say(&protocol::answer(
                    None,
                    Err(Failure::new("GenericError", text)),
                ));
                talker.input.clear();
                talker.leaving = true;
            }
            if !talker.client.flush() {
                talker.dead = true;
            }
        }
    }

    fn obey(&self, talker: &mut Talker, line: &[u8]) {
        match protocol::parse(line) {
            Err((id, failure)) => talker.say(&protocol::answer(id, Err(failure))),
            Ok(Request { id, command }) => match command {
                Command::Query(query) => talker.say(&protocol::answer(id, self.query(query))),
                Command::Action(action) => {
                    talker.busy = true;
                    let client = talker.client.id;
                    let _ = self.jobs.send(Job::Command { client, id, action });
                }
            },
        }
    }

    fn query(&self, query: Query) -> Outcome {
        Ok(match query {
            Query::Capabilities => json!({}),
            Query::Status => {
                let state = self.status.get();
                let running = state == RunState::Running;
                json!({"status": state.name(), "running": running, "singlestep": false})
            }
            Query::Block => self.devices.iter().map(|blk| block(blk)).collect(),
            Query::BlockStats => {
                let stats =
                    |blk: &Arc<Blk>| json!({"device": blk.id(), "stats": stats(&blk.counters())});
                self.devices.iter().map(stats).collect()
            }
            Query::Commands => {
                let name = |name: &&str| json!({"name": name});
                protocol::COMMANDS.iter().map(name).collect()
            }
            Query::Name => json!({"name": self.name}),
        })
    }

    /// Lets go of clients that are done, telling the operator.
    fn forget(&self, clients: &mut Clients) {
        clients.talkers.retain(|talker| {
            let said_all = !talker.busy && !talker.client.wants_to_write();
            let gone = talker.dead || (talker.leaving && said_all);
            if gone {
                let _ = self.jobs.send(Job::ClientGone(talker.client.id));
            }
            !gone
        });
    }
}

/// A client nothing is wanted of is left out: poll reports a hang-up whether asked or not, again and again.
fn watch<'a>(fds: &mut Vec<PollFd<'a>>, stream: &'a UnixStream, flags: PollFlags) {
    if !flags.is_empty() {
        fds.push(PollFd::new(stream, flags));
    }
}

impl Talker {
    /// The next whole line from `start` on; what was handed out is cut off by the caller.
    fn line(&self, start: usize) -> Option<usize> {
        let rest = self.input.get(start..)?;
        rest.iter()
            .position(|byte| *byte == b'\n')
            .map(|at| start + at + 1)
    }

    fn say(&mut self, line: &Value) {
        let mut text = line.to_string();
        text.push_str("\r\n");
        // A client that does not read its answers is cut off.
        if !self.client.send(text.as_bytes()) || !self.client.flush() {
            self.dead = true;
        }
    }
}

fn event_fd(event: &vmm_sys_util::eventfd::EventFd) -> BorrowedFd<'_> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as the eventfd that is borrowed here.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

fn block(blk: &Blk) -> Value {
    let geometry = blk.device().geometry();
    json!({
        "device": blk.id(),
        "size": geometry.size.get(),
        "type": "unknown",
        "removable": false,
        "locked": false,
        "read-only": blk.read_only(),
        "inserted": {
            "device": blk.id(),
            "ro": blk.read_only(),
            "drv": "unknown",
            "image": {"virtual-size": geometry.size.get(), "format": "unknown"},
        },
        "live-snapshots": blk.device().live_snapshots().is_some(),
    })
}

fn stats(counters: &Counters) -> Value {
    json!({
        "rd_bytes": counters.read.bytes,
        "rd_operations": counters.read.operations,
        "rd_total_time_ns": counters.read.nanoseconds,
        "failed_rd_operations": counters.read.failed,
        "wr_bytes": counters.write.bytes,
        "wr_operations": counters.write.operations,
        "wr_total_time_ns": counters.write.nanoseconds,
        "failed_wr_operations": counters.write.failed,
        "flush_operations": counters.flush.operations,
        "flush_total_time_ns": counters.flush.nanoseconds,
        "failed_flush_operations": counters.flush.failed,
        "unmap_bytes": counters.unmap.bytes,
        "unmap_operations": counters.unmap.operations,
        "unmap_total_time_ns": counters.unmap.nanoseconds,
        "failed_unmap_operations": counters.unmap.failed,
        "invalid_operations": counters.invalid,
    })
}

/// Gives every client a moment to take what it is owed.
fn farewell(clients: &mut Clients) {
    let begun = Instant::now();
    loop {
        clients.talkers.retain_mut(|talker| talker.client.flush());
        clients.consoles.retain_mut(Client::flush);
        let owed = clients.talkers.iter().any(|t| t.client.wants_to_write())
            || clients.consoles.iter().any(Client::wants_to_write);
        if !owed || begun.elapsed() > FAREWELL {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::super::irq::new_event;
    use super::*;
    use std::io::Write;

    #[test]
    fn clients_that_hung_up_while_nothing_is_read_from_them_cost_no_time() {
        let dir = tempfile::tempdir().unwrap();
        let [control, console] = ["control", "console"].map(|name| dir.path().join(name));
        let serial = Serial::new(new_event().unwrap(), new_event().unwrap());
        let outbox = Arc::new(Outbox::new().unwrap());
        let (jobs, _work) = std::sync::mpsc::channel();
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let served = Control {
            name: "test".into(),
            status: Arc::new(Status::new(RunState::Running)),
            devices: Vec::new(),
            serial: Arc::clone(&serial),
            log: tempfile::tempfile().unwrap(),
            signals: rustix::event::eventfd(0, flags).unwrap(),
            outbox: Arc::clone(&outbox),
            jobs,
            control: Listener::bind(&control).unwrap(),
            console: Listener::bind(&console).unwrap(),
        };
        let thread = std::thread::spawn(move || {
            let code = served.run().unwrap();
            let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            (code, spent)
        });
        // More than the guest, which never reads, has room for; and an action that nobody finishes.
        let mut typist = UnixStream::connect(&console).unwrap();
        typist.write_all(&[b'x'; 6000]).unwrap();
        let mut boss = UnixStream::connect(&control).unwrap();
        boss.write_all(b"{\"execute\":\"stop\"}\n").unwrap();
        while serial.input_room() > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop((typist, boss));
        std::thread::sleep(Duration::from_millis(600));
        outbox.push(Out::Finish(7));
        let (code, spent) = thread.join().unwrap();
        assert_eq!(code, 7);
        let spent = Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32);
        assert!(spent < Duration::from_millis(250), "it ran for {spent:?}");
    }
}
