//! Lines to the machine's own log (stderr): a log that cannot be written stops nobody, and a guest cannot fill it.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of one run that guests may cause; beyond them they are not heard any more.
const GUEST_LIMIT: u64 = 1 << 20;

static GUEST_BYTES: AtomicU64 = AtomicU64::new(0);

/// Something the host did or met. Unlike `eprintln!` this never panics: the disk below the log may be full.
pub(super) fn host(who: &str, text: &str) {
    let _ = std::io::stderr().write_all(format!("{who}: {text}\n").as_bytes());
}

/// Something a guest can cause as often as it likes.
pub(super) fn guest(who: &str, text: &str) {
    match admit(&GUEST_BYTES, (who.len() + text.len() + 3) as u64) {
        Admitted::Yes => host(who, text),
        Admitted::Last => host(who, "the guest causes too many messages; no more are shown"),
        Admitted::No => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Admitted {
    Yes,
    /// The first that is too much.
    Last,
    No,
}

fn admit(used: &AtomicU64, bytes: u64) -> Admitted {
    // A count that stands at the limit stays there, so that it never wraps.
    let add = |used: u64| (used <= GUEST_LIMIT).then(|| used.saturating_add(bytes));
    match used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
        Ok(before) if before.saturating_add(bytes) <= GUEST_LIMIT => Admitted::Yes,
        Ok(_) => Admitted::Last,
        Err(_) => Admitted::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_never_stops_talking_is_cut_off_once() {
        let used = AtomicU64::new(0);
        let mut shown = 0;
        let mut last = 0;
        for _ in 0..100_000 {
            match admit(&used, 100) {
                Admitted::Yes => shown += 100,
                Admitted::Last => last += 1,
                Admitted::No => {}
            }
        }
        assert!(shown <= GUEST_LIMIT && last == 1, "{shown} {last}");
        assert_eq!(admit(&used, u64::MAX), Admitted::No);
    }
}
