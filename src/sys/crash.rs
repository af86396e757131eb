//! Numbered points before and after every call that changes the world, where a test may kill the process for real or make the
//! call fail; does nothing unless `VOLVISOR_TEST_CRASH_AT=N` (die with SIGKILL at the N-th point), `VOLVISOR_TEST_FAIL_AT=N` (the
//! N-th point fails, if it is a gate) or `VOLVISOR_TEST_CRASH_LOG=FILE` (append one line per point) is set, and nothing at all
//! in a build without debug assertions.

/// Declares a point. `what` names the call and whether it is before or after, `before rename`.
#[inline]
pub fn point(what: &str) {
    #[cfg(debug_assertions)]
    armed::point(what);
    #[cfg(not(debug_assertions))]
    let _ = what;
}

/// A point in front of a call that can fail: a test may also make it fail, with an I/O error.
#[inline]
pub fn gate(what: &str) -> std::io::Result<()> {
    #[cfg(debug_assertions)]
    if armed::point(what) {
        return Err(std::io::Error::from_raw_os_error(libc::EIO));
    }
    #[cfg(not(debug_assertions))]
    let _ = what;
    Ok(())
}

#[cfg(debug_assertions)]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        at: Option<u64>,
        fail: Option<u64>,
        log: Option<std::sync::Mutex<std::fs::File>>,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);

    fn arm() -> Option<Armed> {
        let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
        let at = number("VOLVISOR_TEST_CRASH_AT");
        let fail = number("VOLVISOR_TEST_FAIL_AT");
        let log = std::env::var_os("VOLVISOR_TEST_CRASH_LOG")
            .and_then(|path| {
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .ok()
            })
            .map(std::sync::Mutex::new);
        (at.is_some() || fail.is_some() || log.is_some()).then_some(Armed { at, fail, log })
    }

    /// True when this point shall fail.
    pub fn point(what: &str) -> bool {
        let Some(armed) = ARMED.get_or_init(arm) else {
            return false;
        };
        let number = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(log) = &armed.log
            && let Ok(mut file) = log.lock()
        {
            let _ = writeln!(file, "{number} {what}");
        }
        if armed.at == Some(number) {
            let _ = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            loop {
                std::thread::park();
            }
        }
        armed.fail == Some(number)
    }
}
