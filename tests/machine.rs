//! Whole machines on real KVM, driven through their sockets by guests of a few instructions written out as bytes.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use volvisor::block::{BlockDevice, BlockingChannel, Geometry, IoChannel, LiveSnapshots};
use volvisor::model::{ByteCount, Error, Extent, Result, SnapshotName};
use volvisor::vmm::{self, DriveSpec, Firmware, MachineSpec};

const LIMIT: Duration = Duration::from_secs(30);

/// False (and said so) where there is no KVM; on CI that is a failure.
pub fn kvm_or_skip() -> bool {
    match vmm::probe() {
        Ok(()) => true,
        Err(e) if std::env::var("CI").as_deref() == Ok("true") => panic!("{}", e.full_text()),
        Err(e) => {
            println!("SKIPPED: {}", e.full_text());
            false
        }
    }
}

/// A volume in memory that counts flushes and keeps whole copies as snapshots.
pub struct Memory {
    pub bytes: Mutex<Vec<u8>>,
    pub flushes: AtomicU32,
    snapshots: Mutex<Vec<(String, Vec<u8>)>>,
    /// Flushes fail while set.
    pub broken: AtomicBool,
}

impl Memory {
    pub fn new(size: usize) -> Arc<Self> {
        Arc::new(Memory {
            bytes: Mutex::new(vec![0; size]),
            flushes: AtomicU32::new(0),
            snapshots: Mutex::default(),
            broken: AtomicBool::new(false),
        })
    }
}

impl BlockDevice for Memory {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.bytes.lock().unwrap().len() as u64),
            logical_block: 512,
            physical_block: 4096,
            alignment: 1,
            read_only: false,
            can_discard: true,
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.lock().unwrap();
        into.copy_from_slice(&bytes[offset as usize..offset as usize + into.len()]);
        Ok(())
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        bytes[offset as usize..offset as usize + from.len()].copy_from_slice(from);
        Ok(())
    }
    fn write_zeroes(&self, extent: Extent, _: bool) -> Result<()> {
        self.bytes.lock().unwrap()[extent.start() as usize..extent.end() as usize].fill(0);
        Ok(())
    }
    fn discard(&self, extent: Extent) -> Result<()> {
        self.write_zeroes(extent, true)
    }
    fn flush(&self) -> Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::failed("the medium is broken"));
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        self.bytes.lock().unwrap().resize(size.get() as usize, 0);
        Ok(())
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        Ok(Vec::new())
    }
    fn live_snapshots(&self) -> Option<&dyn LiveSnapshots> {
        Some(self)
    }
    fn channel(self: Arc<Self>, depth: u16) -> Result<Box<dyn IoChannel>> {
        Ok(Box::new(BlockingChannel::new(self, depth)?))
    }
}

impl LiveSnapshots for Memory {
    fn create(&self, name: &SnapshotName, _: u64) -> Result<()> {
        let mut snapshots = self.snapshots.lock().unwrap();
        if snapshots.iter().any(|(n, _)| n == name.as_str()) {
            return Err(Error::conflict(format!("snapshot '{name}' exists")));
        }
        let copy = self.bytes.lock().unwrap().clone();
        snapshots.push((name.as_str().to_owned(), copy));
        Ok(())
    }
    fn delete(&self, name: &SnapshotName) -> Result<bool> {
        let mut snapshots = self.snapshots.lock().unwrap();
        let before = snapshots.len();
        snapshots.retain(|(n, _)| n != name.as_str());
        Ok(snapshots.len() < before)
    }
    fn names(&self) -> Result<Vec<String>> {
        let snapshots = self.snapshots.lock().unwrap();
        Ok(snapshots.iter().map(|(n, _)| n.clone()).collect())
    }
}

/// A ROM of 64 KiB whose reset vector runs `code` in 16-bit mode.
pub fn rom(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0xf4; 64 << 10];
    image[..code.len()].copy_from_slice(code);
    // jmp f000:0000
    image[0xfff0..0xfff5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    image
}

/// `mov dx, port; mov al, value; out dx, al`
fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0xba, low, high, 0xb0, value, 0xee]
}

/// Prints on the serial port.
fn print(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| out(0x3f8, byte)).collect()
}

/// `hlt; jmp $-1`
const SLEEP: &[u8] = &[0xf4, 0xeb, 0xfd];
/// `jmp $`
const SPIN: &[u8] = &[0xeb, 0xfe];

pub struct Running {
    dir: tempfile::TempDir,
    thread: JoinHandle<Result<i32>>,
}

pub fn spec(dir: &std::path::Path, firmware: Firmware, drives: Vec<DriveSpec>) -> MachineSpec {
    MachineSpec {
        name: "test".into(),
        vmid: 100,
        memory_mib: 16,
        cpus: 1,
        firmware,
        drives,
        serial_log: dir.join("serial.log"),
        serial_socket: dir.join("serial"),
        control_socket: dir.join("control"),
        paused: false,
    }
}

pub fn drive(id: &str, device: Arc<Memory>) -> DriveSpec {
    DriveSpec {
        id: id.into(),
        device,
        serial: "SERIAL-1".into(),
        read_only: false,
        write_cache: true,
    }
}

impl Running {
    pub fn start(code: &[u8], drives: Vec<DriveSpec>) -> Self {
        Self::start_with(code, drives, |_| {})
    }

    pub fn start_with(
        code: &[u8],
        drives: Vec<DriveSpec>,
        change: impl FnOnce(&mut MachineSpec),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path(), Firmware::TestRom(rom(code)), drives);
        change(&mut spec);
        let thread = std::thread::spawn(move || vmm::run(spec));
        Running { dir, thread }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn client(&self) -> Client {
        let stream = connect(&self.path("control"));
        let mut client = Client {
            lines: BufReader::new(stream),
            events: Vec::new(),
        };
        assert!(client.line().get("QMP").is_some(), "greeting first");
        client
    }

    /// Waits for the end; exit code and what the guest printed.
    pub fn end(self) -> (i32, String) {
        let begun = Instant::now();
        while !self.thread.is_finished() {
            assert!(begun.elapsed() < LIMIT, "the machine does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let printed = std::fs::read_to_string(self.path("serial.log")).unwrap();
        let code = self.thread.join().unwrap().unwrap();
        for socket in ["control", "serial"] {
            assert!(!self.dir.path().join(socket).exists(), "{socket} is left");
        }
        (code, printed)
    }
}

fn connect(path: &std::path::Path) -> UnixStream {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                return stream;
            }
            Err(e) => assert!(begun.elapsed() < LIMIT, "{}: {e}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub struct Client {
    lines: BufReader<UnixStream>,
    pub events: Vec<String>,
}

impl Client {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the machine hung up");
        serde_json::from_str(&line).unwrap()
    }
    fn send(&mut self, text: &str) {
        let stream = self.lines.get_mut();
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    /// The answer to the last command; events on the way are kept.
    fn answer(&mut self) -> Value {
        loop {
            let line = self.line();
            match line.get("event") {
                Some(name) => self.events.push(name.as_str().unwrap().to_owned()),
                None => return line,
            }
        }
    }
    pub fn call(&mut self, command: &str, arguments: Value) -> Value {
        self.send(&json!({"execute": command, "arguments": arguments, "id": 1}).to_string());
        let answer = self.answer();
        assert_eq!(answer["id"], 1);
        answer
    }
    pub fn ok(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.call(command, arguments);
        assert!(answer.get("return").is_some(), "{command}: {answer}");
        answer["return"].clone()
    }
    fn error(&mut self, command: &str, arguments: Value) -> String {
        let answer = self.call(command, arguments);
        answer["error"]["class"]
            .as_str()
            .unwrap_or_else(|| panic!("{command}: {answer}"))
            .to_owned()
    }
    fn status(&mut self) -> String {
        self.ok("query-status", json!({}))["status"]
            .as_str()
            .unwrap()
            .to_owned()
    }
    pub fn until(&mut self, wanted: &str) {
        let begun = Instant::now();
        while self.status() != wanted {
            assert!(begun.elapsed() < LIMIT, "never {wanted}: {}", self.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_guest_prints_and_ends_with_its_code() {
    if !kvm_or_skip() {
        return;
    }
    let code = [
        print("hello\n"),
        out(0xe9, b'!'),
        out(0xe9, b'\n'),
        out(0xf4, 2),
        SLEEP.into(),
    ];
    let (code, printed) = Running::start(&code.concat(), Vec::new()).end();
    assert_eq!((code, printed.as_str()), (5, "hello\n"));
}

#[test]
fn switching_off_through_acpi_ends_with_zero() {
    if !kvm_or_skip() {
        return;
    }
    // mov dx, 0x604; mov ax, 0x2000; out dx, ax
    let code = [&[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef][..], SLEEP].concat();
    let device = Memory::new(1 << 20);
    let running = Running::start(&code, vec![drive("scsi0", Arc::clone(&device))]);
    assert_eq!(running.end().0, 0);
    assert!(
        device.flushes.load(Ordering::Relaxed) > 0,
        "flushed at the end"
    );
}

#[test]
fn a_failed_last_flush_is_not_success() {
    if !kvm_or_skip() {
        return;
    }
    let device = Memory::new(1 << 20);
    device.broken.store(true, Ordering::Relaxed);
    let running = Running::start(SLEEP, vec![drive("scsi0", device)]);
    assert_eq!(running.client().error("quit", json!({})), "GenericError");
    assert_eq!(running.end().0, 1);
}

#[test]
fn the_power_button_reaches_a_polling_guest() {
    if !kvm_or_skip() {
        return;
    }
    let poll = [
        &[0xba, 0x00, 0x06][..], // mov dx, 0x600
        &[0xed],                 // in ax, dx
        &[0xf6, 0xc4, 0x01],     // test ah, 1
        &[0x74, 0xfa],           // jz back to in
        &out(0xf4, 7),
        SLEEP,
    ];
    let running = Running::start(&poll.concat(), Vec::new());
    let mut client = running.client();
    client.ok("system_powerdown", json!({}));
    assert!(client.events.contains(&"POWERDOWN".to_owned()));
    assert_eq!(running.end().0, 15);
}

#[test]
fn stop_and_cont_hold_and_release_a_spinning_guest() {
    if !kvm_or_skip() {
        return;
    }
    // Print dots for ever.
    let code = [out(0x3f8, b'.'), vec![0xeb, 0xf8]].concat();
    let running = Running::start_with(&code, Vec::new(), |spec| spec.paused = true);
    let mut client = running.client();
    let length = || std::fs::metadata(running.path("serial.log")).map_or(0, |m| m.len());
    assert_eq!(client.status(), "prelaunch");
    assert_eq!(length(), 0);
    client.ok("cont", json!({}));
    let begun = Instant::now();
    while length() == 0 {
        assert!(begun.elapsed() < LIMIT);
    }
    client.ok("stop", json!({}));
    assert_eq!(client.status(), "paused");
    std::thread::sleep(Duration::from_millis(100));
    let stopped = length();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(length(), stopped, "it printed while stopped");
    client.ok("cont", json!({}));
    let begun = Instant::now();
    while length() == stopped {
        assert!(begun.elapsed() < LIMIT);
    }
    assert_eq!(client.events, ["RESUME", "STOP", "RESUME"]);
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn console_clients_talk_to_the_guest() {
    if !kvm_or_skip() {
        return;
    }
    // Echo every byte plus one; end at 'q'.
    let echo = [
        &[0xba, 0xfd, 0x03][..], // mov dx, 0x3fd
        &[0xec],                 // in al, dx
        &[0xa8, 0x01],           // test al, 1
        &[0x74, 0xfb],           // jz back to in
        &[0xba, 0xf8, 0x03],     // mov dx, 0x3f8
        &[0xec],                 // in al, dx
        &[0x3c, b'q'],           // cmp al, 'q'
        &[0x74, 0x05],           // je end
        &[0xfe, 0xc0],           // inc al
        &[0xee],                 // out dx, al
        &[0xeb, 0xeb],           // jmp start
        &out(0xf4, 0),
        SLEEP,
    ];
    let running = Running::start(&echo.concat(), Vec::new());
    let mut console = connect(&running.path("serial"));
    console.write_all(b"abc").unwrap();
    let mut back = [0; 3];
    console.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"bcd");
    console.write_all(b"q").unwrap();
    assert_eq!(running.end(), (1, "bcd".to_owned()));
}

#[test]
fn a_cpu_that_cannot_go_on_stops_the_machine_but_not_its_control() {
    if !kvm_or_skip() {
        return;
    }
    // Load an empty interrupt table, then cause an exception: triple fault.
    let code = [
        &[0x2e, 0x0f, 0x01, 0x1e, 0x08, 0x00][..], // lidt cs:[8]
        &[0x0f, 0x0b],                             // ud2
        &[0, 0, 0, 0, 0, 0],
    ];
    let running = Running::start(&code.concat(), Vec::new());
    let mut client = running.client();
    client.until("internal-error");
    assert_eq!(client.error("cont", json!({})), "GenericError");
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_reset_starts_the_guest_over() {
    if !kvm_or_skip() {
        return;
    }
    let code = [print("boot\n"), SLEEP.into()].concat();
    let running = Running::start(&code, Vec::new());
    let mut client = running.client();
    let wait_for = |text: &str| {
        let begun = Instant::now();
        while std::fs::read_to_string(running.path("serial.log")).unwrap_or_default() != text {
            assert!(begun.elapsed() < LIMIT, "never printed {text:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait_for("boot\n");
    client.ok("system_reset", json!({}));
    wait_for("boot\nboot\n");
    assert_eq!(client.status(), "running");
    assert!(client.events.contains(&"RESET".to_owned()));
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_guest_resets_itself_through_the_keyboard_controller() {
    if !kvm_or_skip() {
        return;
    }
    // Count boots in CMOS-free fashion: a byte of RAM at 0x500 survives a reset.
    let code = [
        &[0x31, 0xc0, 0x8e, 0xd8][..],   // xor ax, ax; mov ds, ax
        &[0xfe, 0x06, 0x00, 0x05],       // inc byte [0x500]
        &[0x80, 0x3e, 0x00, 0x05, 0x03], // cmp byte [0x500], 3
        &[0x73, 0x09],                   // jae end
        &out(0x64, 0xfe),
        SLEEP,
        &out(0xf4, 1),
        SLEEP,
    ];
    assert_eq!(Running::start(&code.concat(), Vec::new()).end().0, 3);
}

#[test]
fn snapshots_of_a_running_machine_pause_it_and_report_times() {
    if !kvm_or_skip() {
        return;
    }
    let (a, b) = (Memory::new(1 << 20), Memory::new(1 << 20));
    let drives = vec![drive("scsi0", Arc::clone(&a)), drive("scsi1", b)];
    let running = Running::start(SPIN, drives);
    let mut client = running.client();
    let volume = |device: &str| json!({"device": device, "name": "s1", "created": 1});
    assert_eq!(
        client.error("x-snapshot-volume", volume("scsi0")),
        "GenericError"
    );
    let begun = client.ok("x-snapshot-begin", json!({"timeout_ms": 10000}));
    assert!(begun["drain_us"].is_u64());
    assert!(a.flushes.load(Ordering::Relaxed) > 0);
    client.ok("x-snapshot-volume", volume("scsi0"));
    client.ok("x-snapshot-volume", volume("scsi1"));
    assert_eq!(
        client.error("x-snapshot-volume", volume("scsi1")),
        "Conflict"
    );
    assert_eq!(
        client.error("x-snapshot-volume", volume("scsi9")),
        "DeviceNotFound"
    );
    let mut other = running.client();
    assert_eq!(other.error("x-snapshot-end", json!({})), "Busy");
    assert_eq!(other.error("x-snapshot-begin", json!({})), "Busy");
    assert_eq!(other.error("cont", json!({})), "Busy");
    let end = client.ok("x-snapshot-end", json!({}));
    assert!(end["pause_us"].as_u64().unwrap() > 0);
    assert!(end["skew_us"].is_u64());
    let names = client.ok("x-snapshot-names", json!({"device": "scsi0"}));
    assert_eq!(names, json!(["s1"]));
    let delete = json!({"device": "scsi0", "name": "s1"});
    assert_eq!(
        client.ok("x-snapshot-delete", delete.clone())["deleted"],
        true
    );
    assert_eq!(client.ok("x-snapshot-delete", delete)["deleted"], false);
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_client_that_dies_in_a_snapshot_or_takes_too_long_does_not_keep_the_machine_stopped() {
    if !kvm_or_skip() {
        return;
    }
    // Dots for ever show whether the CPU runs.
    let code = [out(0x3f8, b'.'), vec![0xeb, 0xf8]].concat();
    let running = Running::start(&code, vec![drive("scsi0", Memory::new(1 << 20))]);
    let runs = || {
        let length = || std::fs::metadata(running.path("serial.log")).map_or(0, |m| m.len());
        let before = length();
        let begun = Instant::now();
        while length() == before {
            assert!(begun.elapsed() < LIMIT, "the guest stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut dying = running.client();
    dying.ok("x-snapshot-begin", json!({}));
    drop(dying);
    runs();
    let mut slow = running.client();
    slow.ok("x-snapshot-begin", json!({"timeout_ms": 50}));
    runs();
    assert_eq!(slow.error("x-snapshot-end", json!({})), "GenericError");
    slow.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_stuck_or_babbling_client_stops_nobody_else() {
    if !kvm_or_skip() {
        return;
    }
    let running = Running::start(SPIN, Vec::new());
    let mut stuck = connect(&running.path("control"));
    stuck.set_nonblocking(true).unwrap();
    // Ask for more than the buffers hold and never read.
    let line = b"{\"execute\":\"query-commands\"}\n".repeat(100);
    for _ in 0..1000 {
        let _ = stuck.write(&line);
    }
    let mut babbling = connect(&running.path("control"));
    let _ = babbling.write_all(&[b'x'; 200 << 10]);
    let mut client = running.client();
    assert_eq!(client.status(), "running");
    assert_eq!(client.error("no-such-thing", json!({})), "CommandNotFound");
    client.send("this is not JSON");
    assert_eq!(client.answer()["error"]["class"], "GenericError");
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn drives_are_listed_and_grow() {
    if !kvm_or_skip() {
        return;
    }
    let device = Memory::new(1 << 20);
    let running = Running::start(SPIN, vec![drive("virtio0", Arc::clone(&device))]);
    let mut client = running.client();
    let size = |client: &mut Client| client.ok("query-block", json!({}))[0]["size"].as_u64();
    assert_eq!(size(&mut client), Some(1 << 20));
    client.ok(
        "block_resize",
        json!({"device": "virtio0", "size": 2 << 20}),
    );
    assert_eq!(size(&mut client), Some(2 << 20));
    let shrink = json!({"device": "virtio0", "size": 1 << 20});
    assert_eq!(client.error("block_resize", shrink), "GenericError");
    let stats = client.ok("query-blockstats", json!({}));
    assert_eq!(stats[0]["stats"]["wr_bytes"], 0);
    client.ok("drain", json!({}));
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn two_machines_cannot_share_a_socket() {
    if !kvm_or_skip() {
        return;
    }
    let running = Running::start(SPIN, Vec::new());
    let mut client = running.client();
    let mut second = spec(running.dir.path(), Firmware::TestRom(rom(SPIN)), Vec::new());
    second.serial_log = running.path("other.log");
    let refused = vmm::run(second).unwrap_err();
    assert_eq!(refused.kind(), volvisor::model::ErrorKind::Busy);
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

#[test]
fn two_cpus_start_stop_and_end() {
    if !kvm_or_skip() {
        return;
    }
    let running = Running::start_with(SPIN, Vec::new(), |spec| spec.cpus = 2);
    let mut client = running.client();
    for _ in 0..20 {
        client.ok("stop", json!({}));
        client.ok("cont", json!({}));
    }
    client.ok("system_reset", json!({}));
    client.ok("quit", json!({}));
    assert_eq!(running.end().0, 0);
}

/// Not a test by itself: the machine that `a_signal_ends_the_machine_in_order` runs in a process of its own.
#[test]
#[ignore = "the other half of a test"]
fn machine_in_a_child() {
    if let Some(dir) = std::env::var_os("VOLVISOR_TEST_MACHINE") {
        let firmware = Firmware::TestRom(rom(SPIN));
        let code = vmm::run(spec(dir.as_ref(), firmware, Vec::new())).unwrap();
        std::process::exit(40 + code);
    }
}

#[test]
fn a_signal_ends_the_machine_in_order_and_a_killed_one_leaves_nothing_in_the_way() {
    if !kvm_or_skip() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "machine::machine_in_a_child", "--ignored"])
            .env("VOLVISOR_TEST_MACHINE", dir.path())
            .stdout(std::process::Stdio::null());
        // The test harness's own thread must not take the signal.
        // SAFETY: only calls that are safe between fork and exec, on a set of this frame.
        unsafe {
            command.pre_exec(|| {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGTERM);
                libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        let mut line = [0; 7];
        connect(&dir.path().join("control"))
            .read_exact(&mut line)
            .unwrap();
        assert_eq!(&line, b"{\"QMP\":");
        child
    };
    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(
        dir.path().join("control").exists(),
        "SIGKILL cleans nothing up"
    );
    let mut ended = start();
    let pid = rustix::process::Pid::from_raw(ended.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(40));
    assert!(!dir.path().join("control").exists());
}
