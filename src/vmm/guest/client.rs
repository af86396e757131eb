//! The host's side of the test guest's serial protocol: typed calls with a deadline over any byte stream; never starts a machine.

use crate::model::{Error, ErrorKind, Result};
use std::io::{ErrorKind as Io, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// One conversation with a guest. Reads of the stream must return now and then (a read timeout), so that deadlines hold.
pub struct Guest<S> {
    stream: S,
    timeout: Duration,
    pending: Vec<u8>,
    last_echo: u64,
}

/// One line of the guest, `ok` or `err`, and the words behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub ok: bool,
    pub words: Vec<String>,
}

/// A device as the guest sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Sectors of 512 bytes.
    pub capacity: u64,
    pub offered: u64,
    pub negotiated: u64,
    pub queue_size: u64,
}

impl Device {
    /// VIRTIO_BLK_F_RO is offered.
    pub fn read_only(&self) -> bool {
        self.offered & (1 << 5) != 0
    }
}

/// What `bench` measured inside the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BenchRun {
    pub requests: u64,
    /// Time stamp counter of the guest, from before the first doorbell to after the last completion.
    pub ticks: u64,
    pub interrupts: u64,
}

/// What the device did with a hostile request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvilOutcome {
    /// Completions seen.
    pub used: u64,
    /// The status byte; 0xff: the device did not write it.
    pub status: u8,
    pub device_status: u8,
}

/// Direction of a benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Read,
    Write,
}

/// How the guest learns of completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    Poll,
    Interrupt,
}

/// Every kind `evil` knows.
pub const EVIL_KINDS: [&str; 13] = [
    "loop", "past", "len", "short", "notready", "garbage", "type", "indirect", "odd", "ro", "jump",
    "rings", "beyond",
];

impl Guest<UnixStream> {
    /// Connects to a machine's serial socket, which may not exist yet, and waits until the guest answers.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() >= deadline => {
                    let what = format!("cannot connect to serial socket '{}'", path.display());
                    return Err(Error::io(what, error));
                }
                Err(_) => sleep(Duration::from_millis(5)),
            }
        };
        let tick = Some(Duration::from_millis(20));
        stream
            .set_read_timeout(tick)
            .and_then(|()| stream.set_write_timeout(Some(timeout)))
            .map_err(|e| Error::io("cannot set the serial socket's timeouts", e))?;
        let mut guest = Guest::new(stream, timeout);
        guest.sync()?;
        Ok(guest)
    }
}

impl<S: Read + Write> Guest<S> {
    /// `timeout` is for each call. Call [`Guest::sync`] first.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Guest {
            stream,
            timeout,
            pending: Vec::new(),
            last_echo: 0,
        }
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Waits until the guest answers, also while it boots or after a reset; whatever it said before is dropped.
    pub fn sync(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.timeout;
        loop {
            self.last_echo += 1;
            self.send(&format!("\necho {:x}", self.last_echo))?;
            let patience = (Instant::now() + Duration::from_millis(250)).min(deadline);
            let wanted = format!("ok pong {:x}", self.last_echo);
            loop {
                match self.line(patience) {
                    Ok(line) if line == wanted => return Ok(()),
                    Ok(line) if line.starts_with("err fault") => return Err(said(&line)),
                    Ok(_) => continue,
                    Err(error) if error.kind() != ErrorKind::Busy => return Err(error),
                    Err(error) if Instant::now() >= deadline => return Err(error),
                    Err(_) => break,
                }
            }
        }
    }

    /// Sends a line without waiting for an answer.
    pub fn send(&mut self, line: &str) -> Result<()> {
        self.stream
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(|e| Error::io(format!("cannot send '{}' to the guest", line.trim()), e))
    }

    /// The next line of the guest.
    pub fn receive(&mut self) -> Result<Reply> {
        let line = self.line(Instant::now() + self.timeout)?;
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("ok") => Ok(Reply {
                ok: true,
                words: words.collect(),
            }),
            Some("err") => Ok(Reply {
                ok: false,
                words: words.collect(),
            }),
            _ => Err(said(&line)),
        }
    }

    /// One command, one answer, whatever it is.
    pub fn ask(&mut self, line: &str) -> Result<Reply> {
        self.send(line)?;
        self.receive()
    }

    /// One command whose answer must be `ok` with `least` numbers or more.
    fn numbers(&mut self, line: &str, least: usize) -> Result<Vec<u64>> {
        let reply = self.ask(line)?;
        let numbers: Option<Vec<u64>> = reply
            .words
            .iter()
            .map(|word| u64::from_str_radix(word, 16).ok())
            .collect();
        match numbers {
            Some(numbers) if reply.ok && numbers.len() >= least => Ok(numbers),
            _ => Err(Error::failed(format!(
                "the guest answered '{line}' with '{} {}'",
                if reply.ok { "ok" } else { "err" },
                reply.words.join(" ")
            ))),
        }
    }

    pub fn devices(&mut self) -> Result<Vec<Device>> {
        let numbers = self.numbers("devs", 1)?;
        let device = |n: &[u64]| Device {
            capacity: n[0],
            offered: n[1],
            negotiated: n[2],
            queue_size: n[3],
        };
        Ok(numbers[1..].chunks_exact(4).map(device).collect())
    }

    /// The device's serial (GET_ID), without the padding.
    pub fn id(&mut self, device: u32) -> Result<String> {
        let reply = self.ask(&format!("id {device:x}"))?;
        let digits = match reply.words.as_slice() {
            [digits] if reply.ok && digits.len() == 40 && digits.is_ascii() => digits,
            _ => return Err(said(&reply.words.join(" "))),
        };
        let bytes: Vec<u8> = (0..20)
            .filter_map(|i| u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).ok())
            .take_while(|byte| *byte != 0)
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fills sectors with the pattern of `seed`.
    pub fn write(&mut self, device: u32, lba: u64, count: u64, seed: u64) -> Result<()> {
        self.numbers(&format!("write {device:x} {lba:x} {count:x} {seed:x}"), 1)?;
        Ok(())
    }

    /// Reads sectors and compares them with the pattern: the first bad one, if any.
    pub fn verify(&mut self, device: u32, lba: u64, count: u64, seed: u64) -> Result<Option<u64>> {
        let line = format!("verify {device:x} {lba:x} {count:x} {seed:x}");
        let reply = self.ask(&line)?;
        match reply.words.as_slice() {
            [_] if reply.ok => Ok(None),
            [code, bad] if code == "mismatch" => u64::from_str_radix(bad, 16)
                .map(Some)
                .map_err(|_| said(bad)),
            words => Err(said(&words.join(" "))),
        }
    }

    /// [`super::pattern::digest`] of what the guest reads.
    pub fn digest(&mut self, device: u32, lba: u64, count: u64) -> Result<u64> {
        Ok(self.numbers(&format!("digest {device:x} {lba:x} {count:x}"), 1)?[0])
    }

    /// WRITE_ZEROES; `unmap` allows the device to give the space back.
    pub fn zero(&mut self, device: u32, lba: u64, count: u64, unmap: bool) -> Result<()> {
        let unmap = u8::from(unmap);
        self.numbers(&format!("zero {device:x} {lba:x} {count:x} {unmap}"), 1)?;
        Ok(())
    }

    pub fn discard(&mut self, device: u32, lba: u64, count: u64) -> Result<()> {
        self.numbers(&format!("discard {device:x} {lba:x} {count:x}"), 1)?;
        Ok(())
    }

    pub fn flush(&mut self, device: u32) -> Result<()> {
        self.numbers(&format!("flush {device:x}"), 0)?;
        Ok(())
    }

    /// Starts the background writer; until [`Guest::loop_stop`] no other call is allowed.
    pub fn loop_start(&mut self, device: u32, lba: u64, seed: u64) -> Result<()> {
        let reply = self.ask(&format!("loop {device:x} {lba:x} {seed:x}"))?;
        match reply.ok && reply.words == ["running"] {
            true => Ok(()),
            false => Err(said(&reply.words.join(" "))),
        }
    }

    /// Ends the background writer: the last generation written.
    pub fn loop_stop(&mut self) -> Result<u64> {
        Ok(self.numbers("", 1)?[0])
    }

    /// 4 KiB requests at `depth` (a power of two) random places below sector `span`, `batches` times.
    pub fn bench(
        &mut self,
        device: u32,
        direction: Direction,
        depth: u64,
        batches: u64,
        waiting: Waiting,
        span: u64,
    ) -> Result<BenchRun> {
        let direction = match direction {
            Direction::Read => "r",
            Direction::Write => "w",
        };
        let waiting = match waiting {
            Waiting::Poll => "poll",
            Waiting::Interrupt => "irq",
        };
        let line = format!("bench {device:x} {direction} {depth:x} {batches:x} {waiting} {span:x}");
        let n = self.numbers(&line, 3)?;
        Ok(BenchRun {
            requests: n[0],
            ticks: n[1],
            interrupts: n[2],
        })
    }

    /// One of [`EVIL_KINDS`]; the device works again afterwards.
    pub fn evil(&mut self, device: u32, kind: &str) -> Result<EvilOutcome> {
        let n = self.numbers(&format!("evil {device:x} {kind}"), 3)?;
        Ok(EvilOutcome {
            used: n[0],
            status: n[1] as u8,
            device_status: n[2] as u8,
        })
    }

    /// The features the driver accepts from now on (low 32 bits); every device is set up again.
    pub fn wants(&mut self, mask: u32) -> Result<()> {
        self.numbers(&format!("wants {mask:x}"), 0)?;
        Ok(())
    }

    /// Whether the power button was pressed.
    pub fn power_button(&mut self) -> Result<bool> {
        Ok(self.numbers("power", 1)?[0] != 0)
    }

    /// Resets the machine and waits until the guest is back.
    pub fn reset(&mut self) -> Result<()> {
        self.send("reset")?;
        let deadline = Instant::now() + self.timeout;
        while self.line(deadline)? != "volvisor-guest 1 ready" {}
        self.sync()
    }

    /// Switches the machine off; the stream ends.
    pub fn off(&mut self) -> Result<()> {
        self.send("off")
    }

    /// Ends the machine through port 0xf4.
    pub fn exit(&mut self, code: u8) -> Result<()> {
        self.send(&format!("exit {code:x}"))
    }

    /// One line without its end. `Busy` when the deadline passes.
    fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim().to_owned());
            }
            let mut chunk = [0; 512];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::failed("the guest's serial port was closed")),
                Ok(n) => self.pending.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), Io::WouldBlock | Io::TimedOut | Io::Interrupted) => {}
                Err(e) => return Err(Error::io("cannot read the guest's serial port", e)),
            }
            if Instant::now() >= deadline && !self.pending.contains(&b'\n') {
                return Err(Error::busy("the guest did not answer in time"));
            }
        }
    }
}

fn said(line: &str) -> Error {
    Error::failed(format!("the guest said '{line}'"))
}
