//! One line of a config: exactly its bytes, and what kind of line it is; it knows nothing of sections.

use super::{is_key, trim, trimmed};
use std::sync::Arc;

/// What a line is; places count from the line's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Blank,
    /// `#text`: a line of the description.
    Description,
    Key {
        key_end: u32,
        value_start: u32,
        value_end: u32,
    },
    /// Kept, not understood.
    Odd,
}

/// A line with its end, exactly as in the file: a range of a shared text, so that reading and copying a config with thousands of
/// sections allocates little.
#[derive(Debug, Clone)]
pub(super) struct Line {
    text: Arc<[u8]>,
    start: u32,
    end: u32,
    pub kind: Kind,
}

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}

impl Eq for Line {}

fn kind(raw: &[u8]) -> Kind {
    let body = trimmed(raw);
    if body.is_empty() {
        return Kind::Blank;
    }
    if body[0] == b'#' {
        return Kind::Description;
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return Kind::Odd;
    };
    let Some((key, rest)) = text.split_once(':') else {
        return Kind::Odd;
    };
    let value = trim(rest);
    if !is_key(key) || value.is_empty() {
        return Kind::Odd;
    }
    // The value ends where the trimmed body ends.
    Kind::Key {
        key_end: key.len() as u32,
        value_start: (body.len() - value.len()) as u32,
        value_end: body.len() as u32,
    }
}

impl Line {
    pub fn new(raw: Vec<u8>) -> Self {
        let (end, kind) = (raw.len() as u32, kind(&raw));
        Line {
            text: raw.into(),
            start: 0,
            end,
            kind,
        }
    }
    /// The bytes from `start` to `end` of a shared text; configs are far below 4 GiB.
    pub fn within(text: &Arc<[u8]>, start: u32, end: u32) -> Self {
        let kind = kind(&text[start as usize..end as usize]);
        Line {
            text: Arc::clone(text),
            start,
            end,
            kind,
        }
    }
    pub fn raw(&self) -> &[u8] {
        &self.text[self.start as usize..self.end as usize]
    }
    /// Key and value, where the line is one.
    pub fn pair(&self) -> Option<(&str, &str)> {
        let Kind::Key {
            key_end,
            value_start,
            value_end,
        } = self.kind
        else {
            return None;
        };
        let part =
            |from: u32, to: u32| std::str::from_utf8(&self.raw()[from as usize..to as usize]).ok();
        Some((part(0, key_end)?, part(value_start, value_end)?))
    }
    pub fn is_key(&self, key: &str) -> bool {
        self.pair().is_some_and(|(k, _)| k == key)
    }
    /// Gives the line an end where it has none.
    pub fn finish(&mut self, end: &[u8]) {
        let mut raw = self.raw().to_vec();
        super::finish_line(&mut raw, end);
        if raw != self.raw() {
            *self = Line::new(raw);
        }
    }
}
