//! Sizes in text: `32G` of drive strings, `10G` and `+2G` of command lines, KiB of `pvesm alloc`; never rounds silently.

use crate::model::{ByteCount, Error, Result};

/// The sentence Proxmox gives for a parameter that does not fit its pattern.
const NO_MATCH: &str = "value does not match the regex pattern";

/// A drive's `size=` text (`8G`, `528K`, `1.5T`, `100`, `1GiB`): bytes. `None` when it is not a size or does not fit 64 bits.
/// A fraction of a byte is dropped, as Proxmox does (the value is informative only).
pub fn parse_disk_size(text: &str) -> Option<ByteCount> {
    let without_ib = text.strip_suffix("iB");
    let (bytes, unit) = decimal_size(without_ib.unwrap_or(text))?;
    // `iB` belongs to a unit: `1KiB`, not `1iB`.
    (without_ib.is_none() || unit).then_some(bytes)
}

/// `N[.N][KMGT]` as bytes, and whether there was a unit letter. Exact: no floating point in between.
fn decimal_size(text: &str) -> Option<(ByteCount, bool)> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !fraction.is_none_or(all_digits) {
        return None;
    }
    let unit = 1u128 << shift;
    let mut bytes = u128::from(whole.parse::<u64>().ok()?) * unit;
    // 20 decimal places are below one byte even of a terabyte; more cannot change the result.
    let places = &fraction.unwrap_or("")[..fraction.map_or(0, |f| f.len().min(20))];
    if !places.is_empty() {
        let scale = 10u128.pow(u32::try_from(places.len()).ok()?);
        bytes += mul_div(places.parse::<u128>().ok()?, unit, scale);
    }
    u64::try_from(bytes)
        .ok()
        .map(|b| (ByteCount(b), shift != 0))
}

/// `part * unit / scale` for part < scale <= 10^20 and a unit that is a power of two, one binary digit at a time so that
/// nothing overflows.
fn mul_div(part: u128, unit: u128, scale: u128) -> u128 {
    let (mut rest, mut result, mut left) = (part, 0u128, unit);
    while left > 1 {
        rest *= 2;
        result = result * 2 + rest / scale;
        rest %= scale;
        left /= 2;
    }
    result
}

/// `qm resize` argument: `10G` (absolute) or `+2G` (relative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeChange {
    To(ByteCount),
    Plus(ByteCount),
}

pub fn parse_size_change(text: &str) -> Result<SizeChange> {
    let (relative, size) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (bytes, _) = decimal_size(size).ok_or_else(|| {
        Error::usage(NO_MATCH).hint(format!(
            "'{}' is not a size; use 32G (new size) or +2G (growth), units K, M, G, T",
            shown(text)
        ))
    })?;
    Ok(if relative {
        SizeChange::Plus(bytes)
    } else {
        SizeChange::To(bytes)
    })
}

/// `pvesm alloc` size: `\d+[MG]?`, plain numbers are KiB.
pub fn parse_alloc_size(text: &str) -> Result<ByteCount> {
    let (digits, kib) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], 1u64 << 10),
        Some(b'G') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bad = || {
        Error::usage(NO_MATCH).hint(format!(
            "'{}' is not a size; use a number of KiB, or a number with M or G",
            shown(text)
        ))
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(kib))
        .and_then(ByteCount::from_kib)
        .ok_or_else(|| Error::usage(format!("size '{}' is too large", shown(text))))
}

/// Rounded up to a multiple of `granularity` (any positive number); `None` on overflow or a granularity of zero.
pub fn align_size_up(size: ByteCount, granularity: u64) -> Option<ByteCount> {
    match size.get().checked_rem(granularity)? {
        0 => Some(size),
        rest => size.get().checked_add(granularity - rest).map(ByteCount),
    }
}

fn shown(text: &str) -> String {
    text.chars()
        .take(40)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drive_sizes_are_exact_and_odd_spellings_are_refused() {
        let bytes = |t: &str| parse_disk_size(t).map(ByteCount::get);
        assert_eq!(bytes("8G"), Some(8 << 30));
        assert_eq!(bytes("528K"), Some(528 << 10));
        assert_eq!(bytes("1.5T"), Some(3 << 39));
        assert_eq!(bytes("0.1G"), Some(107_374_182));
        assert_eq!(bytes("1.9"), Some(1));
        assert_eq!(bytes("1GiB"), Some(1 << 30));
        assert_eq!(bytes("0.5G"), Some(1 << 29));
        for bad in [
            "",
            "8g",
            "1P",
            "1GB",
            "10 G",
            "G",
            ".5G",
            "1.G",
            "-1",
            "1iB",
            "1\n",
            "٣",
            "99999999999T",
            "1.5.5G",
            "+1",
        ] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_very_long_fraction_is_read_without_overflow() {
        let long = format!("1.{}G", "9".repeat(100_000));
        assert_eq!(
            parse_disk_size(&long).map(ByteCount::get),
            Some((2 << 30) - 1)
        );
    }

    #[test]
    fn resize_knows_growth_from_target() {
        assert_eq!(
            parse_size_change("+2G").ok(),
            Some(SizeChange::Plus(ByteCount(2 << 30)))
        );
        assert_eq!(
            parse_size_change("10G").ok(),
            Some(SizeChange::To(ByteCount(10 << 30)))
        );
        for bad in ["-1G", "++1", "1g", "", "+", "1GiB", "1G\n"] {
            assert!(parse_size_change(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn alloc_sizes_are_kib_and_never_wrap() {
        let kib = |t: &str| parse_alloc_size(t).map(ByteCount::whole_kib).ok();
        assert_eq!(kib("1"), Some(1));
        assert_eq!(kib("4G"), Some(4 << 20));
        assert_eq!(kib("10M"), Some(10240));
        for bad in [
            "",
            "1.5G",
            "4096K",
            "1T",
            "-1",
            "1 ",
            "18014398509481984",
            "99999999999G",
        ] {
            assert_eq!(kib(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sizes_align_to_any_granularity() {
        assert_eq!(align_size_up(ByteCount(1000), 1024), Some(ByteCount(1024)));
        assert_eq!(align_size_up(ByteCount(0), 1024), Some(ByteCount(0)));
        assert_eq!(align_size_up(ByteCount(10), 3), Some(ByteCount(12)));
        assert_eq!(align_size_up(ByteCount(u64::MAX), 2), None);
        assert_eq!(align_size_up(ByteCount(1), 0), None);
    }
}
