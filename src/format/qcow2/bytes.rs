//! Big-endian numbers inside byte slices; reading past the end gives `None`, never a panic.

/// The four bytes at `at`.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let part = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(part.try_into().ok()?))
}

/// The two bytes at `at`.
pub fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let part = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(part.try_into().ok()?))
}

/// The eight bytes at `at`.
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(part.try_into().ok()?))
}

/// A table of 64-bit entries (L1, L2, refcount table) from its bytes; an incomplete last entry is left out.
pub fn entries(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(|part| be64(part, 0).unwrap_or(0))
        .collect()
}

/// The bytes of a table of 64-bit entries.
pub fn entry_bytes(entries: &[u64]) -> Vec<u8> {
    entries
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect()
}
