//! Requests against their limits: whatever a chain says, what comes out lies inside the volume and inside memory.

use super::*;
use proptest::prelude::*;

fn limits() -> Limits {
    let geometry = Geometry {
        size: ByteCount(1 << 20),
        logical_block: 512,
        physical_block: 4096,
        alignment: 1,
        read_only: false,
        can_discard: true,
    };
    Limits::new(&geometry, 2048, false)
}

fn chain(kind: u32, sector: u64, readable: &[u32], writable: &[u32]) -> Chain {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    let spans = |lengths: &[u32]| {
        let span = |length: &u32| Span {
            address: 0x1000,
            length: *length,
        };
        lengths.iter().map(span).collect()
    };
    Chain {
        head: 0,
        header,
        ranges: Vec::new(),
        readable: spans(readable),
        writable: spans(writable),
        status: 0x500,
    }
}

fn with_ranges(kind: u32, ranges: &[(u64, u32, u32)]) -> Chain {
    let mut bytes = Vec::new();
    for (sector, count, flags) in ranges {
        bytes.extend_from_slice(&sector.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&flags.to_le_bytes());
    }
    let mut chain = chain(kind, 0, &[bytes.len() as u32], &[]);
    chain.ranges = bytes;
    chain
}

fn refused(chain: Chain, limits: &Limits) -> Status {
    Request::parse(chain, limits).unwrap_err().status
}

#[test]
fn a_read_fills_its_parts_and_reports_every_byte() {
    let request = Request::parse(chain(0, 8, &[], &[512, 1536]), &limits()).unwrap();
    assert_eq!(request.bytes(), 2048);
    assert_eq!(request.answer().used(Status::Ok), 2049);
    assert_eq!(request.answer().used(Status::IoError), 0);
    let kind = request.into_kind();
    assert!(matches!(kind, Kind::Read { offset: 4096, into } if into.len() == 2));
}

#[test]
fn what_does_not_fit_the_volume_is_an_io_error() {
    let limits = limits();
    for (sector, lengths) in [
        (2048, vec![512]),
        (2047, vec![1024]),
        (0, vec![511]),
        (0, vec![]),
        (u64::MAX, vec![512]),
        (u64::MAX / 512, vec![512]),
        (0, vec![u32::MAX; 3]),
    ] {
        assert_eq!(
            refused(chain(0, sector, &[], &lengths), &limits),
            Status::IoError
        );
        assert_eq!(
            refused(chain(1, sector, &lengths, &[]), &limits),
            Status::IoError
        );
    }
}

#[test]
fn large_blocks_are_read_whole() {
    let geometry = Geometry {
        size: ByteCount(1 << 20),
        logical_block: 4096,
        physical_block: 4096,
        alignment: 1,
        read_only: false,
        can_discard: false,
    };
    let limits = Limits::new(&geometry, 2048, false);
    assert_eq!(refused(chain(0, 1, &[], &[4096]), &limits), Status::IoError);
    assert_eq!(refused(chain(0, 8, &[], &[512]), &limits), Status::IoError);
    assert!(Request::parse(chain(0, 8, &[], &[4096]), &limits).is_ok());
    assert_eq!(
        refused(with_ranges(11, &[(0, 8, 0)]), &limits),
        Status::Unsupported
    );
}

#[test]
fn a_read_only_volume_refuses_every_change_and_still_reads() {
    let limits = Limits {
        read_only: true,
        ..limits()
    };
    assert_eq!(refused(chain(1, 0, &[512], &[]), &limits), Status::IoError);
    for kind in [11, 13] {
        assert_eq!(
            refused(with_ranges(kind, &[(0, 1, 0)]), &limits),
            Status::IoError
        );
    }
    assert!(Request::parse(chain(0, 0, &[], &[512]), &limits).is_ok());
}

#[test]
fn ranges_are_checked_one_by_one() {
    let limits = limits();
    let request = Request::parse(with_ranges(13, &[(0, 8, 1), (16, 8, 0)]), &limits).unwrap();
    assert_eq!(request.bytes(), 8192);
    let Kind::WriteZeroes(ranges) = request.into_kind() else {
        panic!("not zeroes");
    };
    assert_eq!((ranges[0].1, ranges[1].1), (true, false));
    assert_eq!(
        refused(with_ranges(11, &[(0, 8, 1)]), &limits),
        Status::Unsupported
    );
    assert_eq!(
        refused(with_ranges(13, &[(0, 8, 2)]), &limits),
        Status::Unsupported
    );
    assert_eq!(
        refused(with_ranges(13, &[(0, 8, 0), (2048, 1, 0)]), &limits),
        Status::IoError
    );
    assert_eq!(
        refused(with_ranges(11, &[(0, 0, 0)]), &limits),
        Status::IoError
    );
    assert_eq!(
        refused(with_ranges(11, &[(u64::MAX, 1, 0)]), &limits),
        Status::IoError
    );
    assert_eq!(
        refused(with_ranges(11, &[(0, 1, 0); 17]), &limits),
        Status::IoError
    );
    assert_eq!(refused(with_ranges(11, &[]), &limits), Status::IoError);
}

proptest! {
    #[test]
    fn an_accepted_request_lies_inside_the_volume(
        kind in 0u32..16,
        sector in prop_oneof![0u64..4096, any::<u64>()],
        lengths in proptest::collection::vec(prop_oneof![Just(512u32), 1u32..2048, any::<u32>()], 0..5),
        ranges in proptest::collection::vec((prop_oneof![0u64..4096, any::<u64>()], 0u32..4096, 0u32..3), 0..4),
    ) {
        let limits = limits();
        let inside = |end: u64| end <= 1 << 20;
        for chain in [chain(kind, sector, &lengths, &lengths), with_ranges(kind, &ranges)] {
            let Ok(request) = Request::parse(chain, &limits) else { continue };
            let bytes = request.bytes();
            match request.into_kind() {
                Kind::Read { offset, into: parts } | Kind::Write { offset, from: parts } => {
                    prop_assert!(inside(offset + bytes));
                    prop_assert_eq!(total(&parts), bytes);
                    prop_assert_eq!(bytes % 512, 0);
                }
                Kind::Discard(runs) => prop_assert!(runs.iter().all(|run| inside(run.end()))),
                Kind::WriteZeroes(runs) => prop_assert!(runs.iter().all(|(run, _)| inside(run.end()))),
                Kind::Flush | Kind::GetId { .. } => {}
            }
        }
    }
}
