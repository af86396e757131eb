//! Stories of the io_uring queue and of its blocking stand-in; test only.

use super::super::file::FileOptions;
use super::*;
use crate::model::{ByteCount, ByteOffset, ErrorKind};

fn part(bytes: &mut [u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }
}

/// Submits and waits on the eventfd until everything has completed.
fn run(channel: &mut dyn IoChannel, ops: Vec<Op>) -> Vec<Completion> {
    let wanted = ops.len();
    for (token, op) in ops.into_iter().enumerate() {
        channel.submit(op, token as u64).unwrap();
    }
    channel.commit().unwrap();
    let mut found = Vec::new();
    channel.completions(&mut found);
    while found.len() < wanted {
        // SAFETY: the channel keeps its eventfd open while it lives.
        let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(channel.event()) };
        let mut polled = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        assert_eq!(
            rustix::event::poll(&mut polled, Some(&limit)).unwrap(),
            1,
            "no completion in 10 s"
        );
        channel.completions(&mut found);
    }
    assert_eq!(channel.in_flight(), 0);
    found.sort_by_key(|c| c.token);
    found
}

fn story(uring: bool, direct: bool) {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    let raw = RawFile::open(
        &path,
        FileOptions {
            writable: true,
            direct,
        },
    );
    let raw = Arc::new(match raw {
        Ok(raw) if uring => raw,
        Ok(raw) => raw.without_uring(),
        Err(e) => return println!("SKIPPED: O_DIRECT is refused here: {}", e.full_text()),
    });
    if uring && UringChannel::open(raw.clone(), 4).unwrap().is_none() {
        return println!("SKIPPED: the kernel refuses io_uring");
    }
    let mut channel = raw.clone().channel(8).unwrap();
    let (mut one, mut two) = (vec![1u8; 700], vec![2u8; 3000]);
    let mut many: Vec<u8> = (0..3000u32 * 16).map(|n| n as u8).collect();
    let parts = many.chunks_mut(16).map(part).collect();
    let zeros = Extent::new(ByteOffset(500_000), ByteCount(9000)).unwrap();
    // SAFETY: the vectors outlive `run`, which waits for every completion.
    let ops = unsafe {
        vec![
            Op::Write {
                offset: 1000,
                from: Buffers::new(vec![part(&mut one), part(&mut two)]),
            },
            Op::Write {
                offset: 100_000,
                from: Buffers::new(parts),
            },
            Op::WriteZeroes {
                extent: zeros,
                may_unmap: true,
            },
        ]
    };
    assert!(run(&mut *channel, ops).iter().all(|c| c.result.is_ok()));
    let mut model = vec![7u8; 1 << 20];
    model[1000..1700].fill(1);
    model[1700..4700].fill(2);
    model[100_000..100_000 + many.len()].copy_from_slice(&many);
    model[500_000..509_000].fill(0);
    let mut seen = vec![0u8; 1 << 20];
    let mut outside = vec![0u8; 512];
    // SAFETY: as above.
    let ops = unsafe {
        let halves = seen.split_at_mut(600_001);
        vec![
            Op::Read {
                offset: 0,
                into: Buffers::new(vec![part(halves.0), part(halves.1)]),
            },
            Op::Read {
                offset: 1 << 20,
                into: Buffers::new(vec![part(&mut outside)]),
            },
            Op::Flush,
        ]
    };
    let done = run(&mut *channel, ops);
    assert!(done[0].result.is_ok() && done[2].result.is_ok());
    assert_eq!(
        done[1].result.as_ref().err().unwrap().kind(),
        ErrorKind::Usage
    );
    assert!(seen == model);
}

#[test]
fn a_queue_moves_the_right_bytes_with_and_without_io_uring() {
    story(true, false);
    story(true, true);
    story(false, false);
    story(false, true);
}

#[test]
fn a_full_queue_says_so_and_dropping_it_waits_for_the_kernel() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, vec![7; 1 << 20]).unwrap();
    let raw = RawFile::open(
        &path,
        FileOptions {
            writable: true,
            direct: false,
        },
    )
    .unwrap();
    let mut channel = Arc::new(raw).channel(2).unwrap();
    let mut memory = vec![9u8; 1 << 20];
    for token in 0..2 {
        // SAFETY: `memory` outlives the channel, whose drop waits.
        let from = unsafe { Buffers::new(vec![part(&mut memory)]) };
        channel
            .submit(Op::Write { offset: 0, from }, token)
            .unwrap();
    }
    assert_eq!(channel.room(), 0);
    channel.commit().unwrap();
    drop(channel);
    assert!(std::fs::read(&path).unwrap() == memory);
}

fn uring(size: usize) -> Option<(tempfile::TempDir, Arc<RawFile>, UringChannel)> {
    let dir = tempfile::tempdir_in(".").unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, vec![7; size]).unwrap();
    let options = FileOptions {
        writable: true,
        direct: false,
    };
    let raw = Arc::new(RawFile::open(&path, options).unwrap());
    let Some(channel) = UringChannel::open(raw.clone(), 4).unwrap() else {
        println!("SKIPPED: the kernel refuses io_uring");
        return None;
    };
    Some((dir, raw, channel))
}

fn write_of(bytes: &mut [u8], offset: u64) -> Op {
    // SAFETY: every caller keeps the bytes until all completions have been collected.
    let from = unsafe { Buffers::new(vec![part(bytes)]) };
    Op::Write { offset, from }
}

#[test]
fn a_kernel_that_is_short_of_memory_is_asked_again() {
    let Some((_dir, raw, mut channel)) = uring(1 << 16) else {
        return;
    };
    let mut bytes = vec![9u8; 512];
    channel.refuse = Some(libc::EAGAIN);
    let done = run(&mut channel, vec![write_of(&mut bytes, 512)]);
    assert!(done[0].result.is_ok());
    let mut back = [0; 512];
    raw.read_at(512, &mut back).unwrap();
    assert_eq!(back, [9; 512]);
}

#[test]
fn a_broken_ring_fails_what_it_holds_and_the_disk_goes_on_without_it() {
    let Some((_dir, raw, mut channel)) = uring(1 << 16) else {
        return;
    };
    let mut bytes = [vec![1u8; 512], vec![2u8; 512]];
    for (token, bytes) in bytes.iter_mut().enumerate() {
        channel.submit(write_of(bytes, 0), token as u64).unwrap();
    }
    channel.refuse = Some(libc::EBADFD);
    assert!(channel.commit().is_err());
    let mut done = Vec::new();
    channel.completions(&mut done);
    assert_eq!(done.len(), 2);
    assert!(done.iter().all(|c| c.result.is_err()));
    assert_eq!((channel.in_flight(), channel.room()), (0, 4));
    let [first, second] = &mut bytes;
    let done = run(
        &mut channel,
        vec![write_of(first, 0), write_of(second, 512), Op::Flush],
    );
    assert!(done.iter().all(|c| c.result.is_ok()));
    drop(channel);
    drop(bytes);
    let mut back = [0; 1024];
    raw.read_at(0, &mut back).unwrap();
    assert!(back[..512] == [1; 512] && back[512..] == [2; 512]);
}

#[test]
fn after_a_failed_sync_no_sync_claims_success() {
    let Some((_dir, raw, mut channel)) = uring(1 << 16) else {
        return;
    };
    raw.flush().unwrap();
    let judged = channel.judge(&mut Work::Flush, -libc::EIO);
    assert!(judged.unwrap().is_err());
    assert!(raw.flush().is_err(), "the blocking way");
    let done = run(&mut channel, vec![Op::Flush]);
    assert!(done[0].result.is_err(), "the way through the ring");
    assert!(raw.read_at(0, &mut [0; 512]).is_ok());
}

#[test]
fn reads_from_the_page_cache_and_around_it_give_the_same() {
    let Some((_dir, raw, mut channel)) = uring(1 << 18) else {
        return;
    };
    for (at, value) in [(0u64, 3u8), (100_000, 4), (261_632, 5)] {
        raw.write_at(at, &[value; 512]).unwrap();
    }
    for blind in [0, u8::MAX] {
        channel.blind = blind;
        let mut back = [[0u8; 512]; 3];
        let ops = [0u64, 100_000, 261_632].iter().zip(&mut back);
        let ops = ops.map(|(offset, into)| {
            let (one, two) = into.split_at_mut(100);
            // SAFETY: `run` waits for every completion before `back` is looked at.
            let into = unsafe { Buffers::new(vec![part(one), part(two)]) };
            Op::Read {
                offset: *offset,
                into,
            }
        });
        let ops: Vec<Op> = ops.collect();
        assert!(run(&mut channel, ops).iter().all(|c| c.result.is_ok()));
        assert_eq!(back, [[3; 512], [4; 512], [5; 512]]);
    }
}
