//! One property's value in its type, from text and back; which properties exist stands in the kind table.

use crate::format::storage_kind::KindTable;
use crate::format::value::{self, PropertyType};
use crate::model::{ContentType, ImageFormat};

/// A value after its rule was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    Flag(bool),
    Number(i64),
    Text(String),
    /// `content` and `nodes`: sorted, each word once.
    Words(Vec<String>),
    /// `content-dirs`: sorted by content type.
    Pairs(Vec<(String, String)>),
}

impl Setting {
    /// The text of the value of `key` as Proxmox writes it, lists in sorted order; no content at all is `none`.
    pub fn text(&self, key: &str) -> String {
        match self {
            Setting::Words(words) if words.is_empty() && key == "content" => "none".to_owned(),
            Setting::Flag(on) => if *on { "1" } else { "0" }.to_owned(),
            Setting::Number(number) => number.to_string(),
            Setting::Text(text) => text.clone(),
            Setting::Words(words) => words.join(","),
            Setting::Pairs(pairs) => pairs
                .iter()
                .map(|(content, directory)| format!("{content}={directory}"))
                .collect::<Vec<_>>()
                .join(","),
        }
    }
    /// A `content` setting from content types.
    pub fn content(types: &[ContentType]) -> Self {
        sorted(types.iter().map(|c| c.as_str()))
    }
    pub fn content_types(&self) -> Vec<ContentType> {
        match self {
            Setting::Words(words) => words
                .iter()
                .filter_map(|word| ContentType::parse(word))
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Setting {
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort_unstable();
    words.dedup();
    Setting::Words(words)
}

/// Turns a checked text into its setting for one kind. `Ok(None)`: dropped with a warning. Texts are Proxmox's.
pub(super) fn decode(
    table: &KindTable,
    key: &str,
    text: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Setting>, String> {
    let supported =
        |word: &str| ContentType::parse(word).is_some_and(|c| table.content.contains(&c));
    Ok(Some(match key {
        "content" => {
            let words = value::split_list(text);
            let (good, bad): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| supported(w));
            warnings.extend(
                bad.iter()
                    .map(|word| format!("storage does not support content type '{word}'")),
            );
            if good.contains(&"none") && good.iter().any(|word| *word != "none") {
                return Err("unable to combine 'none' with other content types".to_owned());
            }
            if good.is_empty() && !supported("none") {
                return Err("storage does not support content type 'none'".to_owned());
            }
            sorted(good.into_iter())
        }
        "nodes" => sorted(value::split_list(text).into_iter()),
        "content-dirs" => {
            let mut pairs: Vec<(String, String)> = Vec::new();
            for item in value::split_list(text) {
                let (content, directory) = item.split_once('=').unwrap_or((item, ""));
                if !supported(content) {
                    warnings.push(format!("storage does not support content type '{content}'"));
                    continue;
                }
                pairs.retain(|(known, _)| known != content);
                pairs.push((content.to_owned(), directory.to_owned()));
            }
            pairs.sort();
            Setting::Pairs(pairs)
        }
        "format" => {
            let known = ImageFormat::parse(text).is_some_and(|f| table.formats.contains(&f));
            if !known {
                warnings.push(format!("storage does not support format '{text}'"));
                return Ok(None);
            }
            Setting::Text(text.to_owned())
        }
        _ => match value::property_type(key) {
            Some(PropertyType::Boolean) => Setting::Flag(text == "1"),
            Some(PropertyType::Integer { .. }) => text
                .trim_start_matches('+')
                .parse()
                .map_or_else(|_| Setting::Text(text.to_owned()), Setting::Number),
            _ => Setting::Text(text.to_owned()),
        },
    }))
}
