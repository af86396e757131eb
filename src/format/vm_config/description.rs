//! Descriptions as they stand in the file: percent-encoded, one `#` line a line (pve-vm 1.4); knows nothing of sections.

/// Undoes `encode_description`; what is no escape stays.
pub fn decode_description(text: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let pair = text
            .get(at + 1..at + 3)
            .filter(|p| p.iter().all(u8::is_ascii_hexdigit))
            .and_then(|p| std::str::from_utf8(p).ok())
            .and_then(|p| u8::from_str_radix(p, 16).ok());
        match (text[at], pair) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                at += 3;
            }
            (byte, _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes everything but printable ASCII without `%` and `:` (also newlines).
pub fn encode_description(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            0x20..=0x24 | 0x26..=0x39 | 0x3b..=0x7e => encoded.push(byte as char),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
