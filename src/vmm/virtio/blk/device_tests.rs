//! The device model without KVM: rings written straight into guest memory, by good drivers and by hostile ones.

use super::*;
use crate::block::Geometry;
use crate::model::{ByteCount, ErrorKind, Extent};
use crate::vmm::irq::new_event;
use crate::vmm::memory;
use crate::vmm::virtio::registers::feature;
use proptest::prelude::*;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize};

const TABLE: u64 = 0x1000;
const AVAIL: u64 = 0x3000;
const USED: u64 = 0x4000;
const DATA: u64 = 0x10000;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const SIZE: usize = 1 << 20;

/// A volume whose requests finish only while it is not stuck, and that remembers what it was asked.
struct Volume {
    bytes: Mutex<Vec<u8>>,
    log: Mutex<Vec<&'static str>>,
    stuck: AtomicBool,
    depth: usize,
}

struct Queue {
    volume: Arc<Volume>,
    waiting: Vec<(Op, u64)>,
    event: EventFd,
}

impl BlockDevice for Volume {
    fn geometry(&self) -> Geometry {
        Geometry {
            size: ByteCount(self.bytes.lock().unwrap().len() as u64),
            logical_block: 512,
            physical_block: 512,
            alignment: 1,
            read_only: false,
            can_discard: true,
        }
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.lock().unwrap();
        into.copy_from_slice(&bytes[offset as usize..][..into.len()]);
        Ok(())
    }
    fn write_at(&self, offset: u64, from: &[u8]) -> Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        bytes[offset as usize..][..from.len()].copy_from_slice(from);
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
        Ok(())
    }
    fn resize(&self, size: ByteCount) -> Result<()> {
        self.bytes.lock().unwrap().resize(size.get() as usize, 0);
        Ok(())
    }
    fn data_extents(&self) -> Result<Vec<Extent>> {
        Ok(Vec::new())
    }
    fn channel(self: Arc<Self>, _: u16) -> Result<Box<dyn IoChannel>> {
        let queue = Queue {
            volume: self,
            waiting: Vec::new(),
            event: new_event()?,
        };
        Ok(Box::new(queue))
    }
}

impl Queue {
    fn run(&self, op: &Op) -> Result<()> {
        let volume = &self.volume;
        let (name, result) = match op {
            Op::Read { offset, into } => {
                let mut at = *offset;
                for part in into.parts() {
                    // SAFETY: the buffers lie in the test's guest memory, which outlives the request.
                    let part = unsafe {
                        std::slice::from_raw_parts_mut(part.iov_base.cast(), part.iov_len)
                    };
                    volume.read_at(at, part)?;
                    at += part.len() as u64;
                }
                ("read", Ok(()))
            }
            Op::Write { offset, from } => {
                let mut at = *offset;
                for part in from.parts() {
                    // SAFETY: as above.
                    let part: &[u8] =
                        unsafe { std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len) };
                    volume.write_at(at, part)?;
                    at += part.len() as u64;
                }
                ("write", Ok(()))
            }
            Op::WriteZeroes { extent, .. } => ("zero", volume.write_zeroes(*extent, true)),
            Op::Discard { extent } => ("discard", volume.discard(*extent)),
            Op::Flush => ("flush", volume.flush()),
        };
        volume.log.lock().unwrap().push(name);
        result
    }
}

impl IoChannel for Queue {
    fn submit(&mut self, op: Op, token: u64) -> Result<()> {
        assert!(self.room() > 0, "submitted into a full channel");
        self.waiting.push((op, token));
        Ok(())
    }
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
    fn completions(&mut self, out: &mut Vec<Completion>) {
        if !self.volume.stuck.load(Ordering::SeqCst) {
            for (op, token) in std::mem::take(&mut self.waiting) {
                let result = self.run(&op);
                out.push(Completion { token, result });
            }
        }
    }
    fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }
    fn in_flight(&self) -> usize {
        self.waiting.len()
    }
    fn room(&self) -> usize {
        self.volume.depth - self.waiting.len()
    }
}

#[derive(Default)]
struct Rung {
    queue: AtomicUsize,
    config: AtomicUsize,
}

impl Interrupts for Rung {
    fn queue(&self, _: u16) {
        self.queue.fetch_add(1, Ordering::SeqCst);
    }
    fn config(&self, _: u16) {
        self.config.fetch_add(1, Ordering::SeqCst);
    }
}

/// A driver that can do anything.
struct Driver {
    blk: Blk,
    ram: Ram,
    volume: Arc<Volume>,
    rung: Arc<Rung>,
    offered: u16,
}

type Part = (u64, u32, u16);

impl Driver {
    fn new(write_cache: bool, depth: usize) -> Self {
        let volume = Arc::new(Volume {
            bytes: Mutex::new(vec![0; SIZE]),
            log: Mutex::default(),
            stuck: AtomicBool::new(false),
            depth,
        });
        let spec = BlkSpec {
            id: "scsi0".into(),
            device: Arc::clone(&volume) as Arc<dyn BlockDevice>,
            serial: "0123456789abcdefghijklmnop".into(),
            read_only: false,
            write_cache,
        };
        let ram = memory::allocate(2).unwrap();
        let rung = Arc::new(Rung::default());
        let wires = Arc::clone(&rung) as Arc<dyn Interrupts>;
        let blk = Blk::new(spec, Arc::clone(&ram), new_event().unwrap(), wires, 2);
        blk.open_channel().unwrap();
        let mut driver = Driver {
            blk,
            ram,
            volume,
            rung,
            offered: 0,
        };
        driver.set_up(feature::VERSION_1 | feature::INDIRECT_DESC | FLUSH | CONFIG_WCE);
        driver
    }

    fn common(&self, offset: u64, bytes: &[u8]) {
        self.blk.write_common(offset, bytes);
    }

    fn status(&self) -> u8 {
        let mut byte = [0];
        self.blk.read_common(20, &mut byte);
        byte[0]
    }

    fn set_up(&mut self, features: u64) {
        let mut offered = [0; 4];
        let mut both = 0u64;
        for half in [0u32, 1] {
            self.common(0, &half.to_le_bytes());
            self.blk.read_common(4, &mut offered);
            both |= u64::from(u32::from_le_bytes(offered)) << (32 * half);
        }
        let features = features & both;
        self.common(20, &[0]);
        self.common(20, &[3]);
        self.common(8, &0u32.to_le_bytes());
        self.common(12, &(features as u32).to_le_bytes());
        self.common(8, &1u32.to_le_bytes());
        self.common(12, &((features >> 32) as u32).to_le_bytes());
        self.common(20, &[3 | 8]);
        self.common(24, &16u16.to_le_bytes());
        self.common(26, &1u16.to_le_bytes());
        for (offset, area) in [(32, TABLE), (40, AVAIL), (48, USED)] {
            self.common(offset, &area.to_le_bytes());
        }
        let zeros = [0u8; 0x1000];
        self.ram.write_slice(&zeros, GuestAddress(AVAIL)).unwrap();
        self.ram.write_slice(&zeros, GuestAddress(USED)).unwrap();
        self.common(28, &[1, 0]);
        self.common(20, &[3 | 8 | 4]);
        self.offered = 0;
        assert_eq!(self.status(), 15);
    }

    fn descriptor(&self, index: u16, part: Part, next: u16) {
        let at = GuestAddress(TABLE + 16 * u64::from(index));
        self.ram.write_obj(part.0, at).unwrap();
        self.ram.write_obj(part.1, GuestAddress(at.0 + 8)).unwrap();
        self.ram.write_obj(part.2, GuestAddress(at.0 + 12)).unwrap();
        self.ram.write_obj(next, GuestAddress(at.0 + 14)).unwrap();
    }

    fn offer(&mut self, head: u16) {
        let entry = AVAIL + 4 + 2 * u64::from(self.offered % 16);
        self.ram.write_obj(head, GuestAddress(entry)).unwrap();
        self.offered = self.offered.wrapping_add(1);
        self.ram
            .write_obj(self.offered, GuestAddress(AVAIL + 2))
            .unwrap();
    }

    fn chain(&mut self, first: u16, parts: &[Part]) {
        for (index, part) in (first..).zip(parts) {
            let last = index - first + 1 == parts.len() as u16;
            let flags = part.2 | if last { 0 } else { NEXT };
            self.descriptor(index, (part.0, part.1, flags), index + 1);
        }
        self.offer(first);
    }

    fn header(&self, at: u64, kind: u32, sector: u64) {
        self.ram.write_obj(kind, GuestAddress(at)).unwrap();
        self.ram.write_obj(sector, GuestAddress(at + 8)).unwrap();
    }

    fn byte(&self, at: u64) -> u8 {
        self.ram.read_obj(GuestAddress(at)).unwrap()
    }

    fn used(&self) -> u16 {
        self.ram.read_obj(GuestAddress(USED + 2)).unwrap()
    }

    /// A whole request with 512 bytes of data at DATA; its status byte afterwards.
    fn request(&mut self, kind: u32, sector: u64, data: u16) -> u8 {
        let (header, status) = (DATA - 0x100, DATA - 0x80);
        self.header(header, kind, sector);
        self.ram.write_obj(0xeeu8, GuestAddress(status)).unwrap();
        let mut parts = vec![(header, 16, 0)];
        if kind != 4 {
            parts.push((DATA, 512, data));
        }
        parts.push((status, 1, WRITE));
        self.chain(0, &parts);
        self.blk.process();
        self.byte(status)
    }

    fn works(&mut self) {
        self.ram.write_slice(&[7; 512], GuestAddress(DATA)).unwrap();
        assert_eq!(self.request(1, 3, 0), 0);
        self.ram.write_slice(&[0; 512], GuestAddress(DATA)).unwrap();
        assert_eq!(self.request(0, 3, WRITE), 0);
        assert_eq!(self.byte(DATA + 511), 7);
    }
}

#[test]
fn data_goes_there_and_back() {
    let mut driver = Driver::new(true, 16);
    driver.works();
    assert_eq!(driver.used(), 2);
    assert_eq!(driver.rung.queue.load(Ordering::SeqCst), 2);
    assert_eq!(driver.blk.counters().write.bytes, 512);
}

#[test]
fn any_cut_of_header_and_data_is_the_same_request() {
    let mut driver = Driver::new(true, 16);
    driver.header(DATA, 1, 1);
    driver
        .ram
        .write_slice(&[9; 512], GuestAddress(DATA + 16))
        .unwrap();
    let cuts = [
        (DATA, 5, 0),
        (DATA + 5, 100, 0),
        (DATA + 105, 423, 0),
        (DATA + 600, 1, WRITE),
    ];
    driver.chain(0, &cuts);
    driver.blk.process();
    assert_eq!(driver.byte(DATA + 600), 0);
    assert_eq!(driver.volume.bytes.lock().unwrap()[512..1024], [9; 512]);
}

#[test]
fn refused_requests_are_answered_and_the_device_goes_on() {
    let mut driver = Driver::new(true, 16);
    assert_eq!(driver.request(0x55, 0, WRITE), 2, "unknown type");
    assert_eq!(driver.request(0, u64::MAX, WRITE), 1, "overflow");
    assert_eq!(
        driver.request(0, (SIZE / 512) as u64, WRITE),
        1,
        "past the end"
    );
    assert_eq!(
        driver.request(1, 0, WRITE),
        1,
        "a write without data to write"
    );
    driver.works();
    assert_eq!(driver.blk.counters().invalid, 4);
}

#[test]
fn the_serial_number_is_twenty_bytes() {
    let mut driver = Driver::new(true, 16);
    assert_eq!(driver.request(8, 0, WRITE), 0);
    let mut serial = [0; 20];
    driver
        .ram
        .read_slice(&mut serial, GuestAddress(DATA))
        .unwrap();
    assert_eq!(&serial, b"0123456789abcdefghij");
}

#[test]
fn write_through_flushes_after_each_write_and_write_back_does_not() {
    let mut through = Driver::new(false, 1);
    through.works();
    assert_eq!(
        *through.volume.log.lock().unwrap(),
        ["write", "flush", "read"]
    );
    let mut back = Driver::new(true, 1);
    back.works();
    assert_eq!(*back.volume.log.lock().unwrap(), ["write", "read"]);
    back.blk.write_config(32, &[0]);
    back.volume.log.lock().unwrap().clear();
    back.works();
    assert_eq!(*back.volume.log.lock().unwrap(), ["write", "flush", "read"]);
    // A driver that never agreed to flush gets every write made durable.
    back.set_up(feature::VERSION_1);
    back.volume.log.lock().unwrap().clear();
    back.works();
    assert_eq!(*back.volume.log.lock().unwrap(), ["write", "flush", "read"]);
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let mut driver = Driver::new(true, 16);
    driver
        .ram
        .write_obj(NO_INTERRUPT, GuestAddress(AVAIL))
        .unwrap();
    driver.works();
    assert_eq!(driver.rung.queue.load(Ordering::SeqCst), 0);
    driver.set_up(feature::VERSION_1 | feature::EVENT_IDX);
    // Interrupt only after the second request.
    driver
        .ram
        .write_obj(1u16, GuestAddress(AVAIL + 4 + 32))
        .unwrap();
    assert_eq!(driver.request(0, 0, WRITE), 0);
    assert_eq!(driver.rung.queue.load(Ordering::SeqCst), 0);
    assert_eq!(driver.request(0, 0, WRITE), 0);
    assert_eq!(driver.rung.queue.load(Ordering::SeqCst), 1);
}

#[test]
fn more_requests_than_the_channel_takes_are_all_answered() {
    let mut driver = Driver::new(true, 2);
    for index in 0..5u16 {
        let status = DATA + 0x1000 + u64::from(index);
        driver.header(DATA, 0, 0);
        let first = index * 3;
        let parts = [
            (DATA, 16, 0),
            (DATA + 0x2000, 512, WRITE),
            (status, 1, WRITE),
        ];
        driver.chain(first, &parts);
    }
    driver.blk.process();
    assert_eq!(driver.used(), 5);
}

#[test]
fn a_loop_a_missing_status_and_a_ring_that_jumps_stop_the_device_until_reset() {
    let spoil: [fn(&mut Driver); 5] = [
        |driver| {
            driver.descriptor(0, (DATA, 16, NEXT), 0);
            driver.offer(0);
        },
        |driver| driver.chain(0, &[(DATA, 16, 0)]),
        |driver| driver.chain(0, &[(DATA, 16, 0), (1 << 40, 512, WRITE), (DATA, 1, WRITE)]),
        |driver| driver.chain(0, &[(DATA, 1, WRITE), (DATA, 16, 0)]),
        |driver| {
            driver
                .ram
                .write_obj(1000u16, GuestAddress(AVAIL + 2))
                .unwrap()
        },
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut driver = Driver::new(true, 16);
        spoil(&mut driver);
        driver.blk.process();
        assert_eq!(driver.status() & 0x40, 0x40, "case {number}");
        assert_eq!(driver.rung.config.load(Ordering::SeqCst), 1);
        assert_eq!(driver.used(), 0);
        driver.set_up(feature::VERSION_1);
        driver.works();
    }
}

#[test]
fn a_reset_waits_for_what_is_in_flight_and_answers_nothing_afterwards() {
    let mut driver = Driver::new(true, 16);
    driver.volume.stuck.store(true, Ordering::SeqCst);
    assert_eq!(driver.request(0, 0, WRITE), 0xee, "not answered yet");
    let busy = driver.blk.reset(Duration::from_millis(1)).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert_ne!(
        driver.status(),
        0,
        "a polling driver sees that the reset goes on"
    );
    driver.volume.stuck.store(false, Ordering::SeqCst);
    driver.blk.process();
    assert_eq!(driver.status(), 0);
    assert_eq!(driver.used(), 0);
    driver.set_up(feature::VERSION_1);
    driver.works();
}

#[test]
fn a_held_device_takes_nothing_and_a_stuck_one_is_not_held_for_ever() {
    let mut driver = Driver::new(true, 16);
    driver.blk.hold(Duration::ZERO).unwrap();
    assert_eq!(driver.request(0, 0, WRITE), 0xee);
    driver.blk.release();
    driver.blk.process();
    assert_eq!(driver.used(), 1);
    driver.volume.stuck.store(true, Ordering::SeqCst);
    driver.request(0, 0, WRITE);
    let busy = driver.blk.hold(Duration::from_millis(5)).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    driver.volume.stuck.store(false, Ordering::SeqCst);
    driver.blk.process();
    driver.works();
}

#[test]
fn growth_is_announced_and_usable() {
    let mut driver = Driver::new(true, 16);
    let end = (SIZE / 512) as u64;
    driver.blk.resize(ByteCount(2 * SIZE as u64)).unwrap();
    assert_eq!(driver.rung.config.load(Ordering::SeqCst), 1);
    let mut sectors = [0; 8];
    driver.blk.read_config(0, &mut sectors);
    assert_eq!(u64::from_le_bytes(sectors), 2 * end);
    assert_eq!(driver.request(0, end, WRITE), 0);
    assert!(driver.blk.resize(ByteCount(SIZE as u64)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_ring_content_hurts_the_host(
        table in proptest::collection::vec((0u64..0x40000, 0u32..0x4000, 0u16..8, 0u16..20), 16),
        wild in proptest::collection::vec((0usize..256, any::<u8>()), 0..24),
        heads in proptest::collection::vec(0u16..18, 1..16),
        index in prop_oneof![9 => 0u16..16, 1 => any::<u16>()],
        header: [u8; 32],
    ) {
        let mut driver = Driver::new(true, 4);
        for (number, (address, length, flags, next)) in (0u16..).zip(table) {
            driver.descriptor(number, (address, length, flags), next);
        }
        for (at, byte) in wild {
            driver.ram.write_obj(byte, GuestAddress(TABLE + at as u64)).unwrap();
        }
        for address in (0..0x40000).step_by(0x1000) {
            driver.ram.write_slice(&header, GuestAddress(address + 0x10000)).unwrap();
        }
        for head in heads {
            driver.offer(head);
        }
        driver.ram.write_obj(index, GuestAddress(AVAIL + 2)).unwrap();
        driver.blk.process();
        prop_assert_eq!(driver.blk.lock().in_flight(), 0);
        driver.set_up(feature::VERSION_1 | feature::EVENT_IDX);
        driver.ram.write_obj(0u16, GuestAddress(AVAIL)).unwrap();
        driver.works();
    }
}

#[test]
fn a_guest_that_refills_the_ring_does_not_catch_the_io_thread() {
    let mut driver = Driver::new(true, 16);
    driver.header(DATA, 0x7777, 0);
    for head in 0..8 {
        driver.chain(head * 2, &[(DATA, 16, 0), (DATA + 0x100, 1, WRITE)]);
    }
    let (blk, ram) = (&driver.blk, &driver.ram);
    let limit = Duration::from_secs(10);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let io = scope.spawn(|| blk.process());
        // A second CPU: every refused request is offered again as soon as it was answered.
        while !io.is_finished() && begun.elapsed() < limit {
            let used: u16 = ram.load(GuestAddress(USED + 2), Ordering::Acquire).unwrap();
            let offered = used.wrapping_add(8);
            ram.store(offered, GuestAddress(AVAIL + 2), Ordering::Release)
                .unwrap();
        }
    });
    assert!(begun.elapsed() < limit, "the I/O thread was caught");
    assert_eq!(driver.status(), 15);
}

#[test]
fn a_hold_cuts_a_batch_short() {
    let mut driver = Driver::new(true, 16);
    driver.blk.hold(Duration::from_secs(1)).unwrap();
    let before = driver.used();
    driver.header(DATA, 0x7777, 0);
    driver.chain(0, &[(DATA, 16, 0), (DATA + 0x100, 1, WRITE)]);
    driver.blk.process();
    assert_eq!(driver.used(), before, "nothing is taken while held");
    driver.blk.release();
    driver.blk.process();
    assert_eq!(driver.used(), before + 1);
}
