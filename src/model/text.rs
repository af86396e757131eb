//! The exact bytes of a small file (a config) inside plans and journals; never interpreted here.

use serde::{Deserialize, Serialize};

/// Bytes that are nearly always UTF-8: JSON string when they are, `{"hex": "..."}` when not, so that nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Text(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Saved {
    Plain(String),
    Hex { hex: String },
}

impl From<Text> for Saved {
    fn from(text: Text) -> Saved {
        match String::from_utf8(text.0) {
            Ok(plain) => Saved::Plain(plain),
            Err(error) => Saved::Hex {
                hex: error
                    .as_bytes()
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect(),
            },
        }
    }
}

impl From<Saved> for Text {
    fn from(saved: Saved) -> Text {
        match saved {
            Saved::Plain(plain) => Text(plain.into_bytes()),
            Saved::Hex { hex } => Text(
                hex.as_bytes()
                    .chunks(2)
                    .map(|pair| {
                        std::str::from_utf8(pair)
                            .ok()
                            .and_then(|p| u8::from_str_radix(p, 16).ok())
                            .unwrap_or(0)
                    })
                    .collect(),
            ),
        }
    }
}

impl Text {
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}
