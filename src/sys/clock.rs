//! Time and randomness from the kernel; the only place that asks for them.

/// Seconds since 1970 UTC.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Microseconds since 1970 UTC.
pub fn now_micros() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as u64)
}

pub fn entropy() -> [u8; 32] {
    let mut bytes = [0u8; 32];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => break,
        }
    }
    bytes
}

/// Seconds that local time (`TZ`, else /etc/localtime) is ahead of UTC at this moment; 0 when unknown.
pub fn local_offset(seconds: u64) -> i64 {
    let Ok(time) = libc::time_t::try_from(seconds) else {
        return 0;
    };
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; localtime_r writes the whole struct or returns null and writes nothing,
    // and an all-zero `tm` is a valid value.
    let parts = unsafe {
        if libc::localtime_r(&time, parts.as_mut_ptr()).is_null() {
            return 0;
        }
        parts.assume_init()
    };
    parts.tm_gmtoff
}
