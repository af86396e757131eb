//! Checks of whole sections and of command parameters (pve-storage 1.2, 1.6); changes nothing.

use super::setting::{Setting, decode};
use crate::format::storage_kind::table;
use crate::format::value::{self, PropertyType};
use crate::model::{Error, Result, StorageKind};

/// Settings of one section in file order.
pub(super) type Settings = Vec<(String, Setting)>;

/// What a section is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Read from a file or created: everything required must be there.
    Whole,
    /// Some properties are changed: fixed ones must not be among them.
    Change,
}

/// Proxmox's `check_config`: every property must belong to the kind, values are decoded, required ones must be there.
pub(super) fn check_section(
    kind: StorageKind,
    id: &str,
    mut config: Vec<(String, String)>,
    purpose: Purpose,
    warnings: &mut Vec<String>,
) -> std::result::Result<Settings, String> {
    let table = table(kind);
    let has = |config: &[(String, String)], key: &str| config.iter().any(|(k, _)| k == key);
    let mounted = matches!(
        kind,
        StorageKind::Nfs | StorageKind::Cifs | StorageKind::Cephfs
    );
    if purpose == Purpose::Whole && mounted && !has(&config, "path") {
        config.push(("path".to_owned(), format!("/mnt/pve/{id}")));
    }
    let mut settings = Settings::new();
    for (key, text) in &config {
        let property = table.property(key);
        if purpose == Purpose::Change && property.is_some_and(|p| p.fixed) {
            return Err(format!("can't change value of fixed parameter '{key}'"));
        }
        if property.is_none() {
            return Err(format!("unexpected property '{key}'"));
        }
        if let Some(setting) = decode(table, key, text, warnings)? {
            settings.push((key.clone(), setting));
        }
    }
    if purpose == Purpose::Change {
        return Ok(settings);
    }
    if let Some(missing) = table.required_keys().find(|key| !has(&config, key)) {
        return Err(format!("missing value for required option '{missing}'"));
    }
    if matches!(kind, StorageKind::Dir | StorageKind::Btrfs) {
        directory_path(&mut settings)?;
    }
    Ok(settings)
}

/// The root of a directory storage: a narrow alphabet, then double slashes, `/.` and a trailing slash removed.
fn directory_path(settings: &mut Settings) -> std::result::Result<(), String> {
    let Some((_, Setting::Text(path))) = settings.iter_mut().find(|(key, _)| key == "path") else {
        return Ok(());
    };
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b"-/_.@".contains(&b);
    if path.len() < 2 || !path.starts_with('/') || !path.bytes().all(alphabet) {
        return Err(format!("illegal path for directory storage: {path}"));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    // Nothing is above the root, so leading `..` vanish; inner ones are kept, they may cross a symbolic link.
    let first = parts.iter().position(|part| *part != "..");
    let kept = first.map_or(&[][..], |at| &parts[at..]);
    *path = format!("/{}", kept.join("/"));
    Ok(())
}

/// What the parameters of `pvesm add` (or `set`, with `update`) violate, as Proxmox words it: property and text.
pub fn parameter_errors(properties: &[(String, String)], update: bool) -> Vec<(String, String)> {
    let mut wrong: Vec<(String, String)> = properties
        .iter()
        .filter_map(|(key, text)| {
            let rule = value::property_type(key).filter(|_| {
                !matches!(key.as_str(), "type" | "storage")
                    && (!update || value::is_updatable(key))
            });
            let problem = match rule {
                None => Some(
                    "property is not defined in schema and the schema does not allow additional properties"
                        .to_owned(),
                ),
                // An empty list of nodes lifts the restriction.
                Some(rule) => value::check(rule, text, key).err(),
            };
            problem.map(|text| (key.clone(), text))
        })
        .collect();
    wrong.sort();
    wrong
}

/// `parameter_errors` as one error.
pub(super) fn refuse_parameters(properties: &[(String, String)], update: bool) -> Result<()> {
    let wrong = parameter_errors(properties, update);
    if wrong.is_empty() {
        return Ok(());
    }
    let mut message = "400 Parameter verification failed.".to_owned();
    for (key, text) in wrong {
        message.push_str(&format!("\n{key}: {}", text.trim_end()));
    }
    Err(Error::usage(message))
}

/// A value as typed on a command line (`yes`, `on`, nothing) as the file holds it; `None` is an option without value.
pub fn cli_value(key: &str, typed: Option<&str>) -> Result<String> {
    match (value::property_type(key), typed) {
        (Some(PropertyType::Boolean), None) => Ok("1".to_owned()),
        (Some(PropertyType::Boolean), Some(word)) => Ok(match value::parse_boolean(word) {
            Some(true) => "1".to_owned(),
            Some(false) => "0".to_owned(),
            // Left as it is: the check names it.
            None => word.to_owned(),
        }),
        (_, Some(text)) => Ok(text.to_owned()),
        (_, None) => Err(Error::usage(format!("option '{key}' requires an argument"))),
    }
}

/// Passwords and keys never reach the file through a command.
pub(super) fn is_secret(kind: StorageKind, key: &str) -> bool {
    use StorageKind as K;
    matches!(
        (kind, key),
        (K::Cifs | K::Pbs | K::Esxi, "password")
            | (K::Rbd | K::Cephfs, "keyring")
            | (K::Pbs, "encryption-key" | "master-pubkey")
    )
}

/// Why a text cannot stand on one line of the file, if so.
pub(super) fn unwritable(key: &str, text: &str) -> Option<Error> {
    if text.contains(['\n', '\r']) {
        return Some(Error::usage(format!(
            "property '{key}' contains a line feed"
        )));
    }
    let blank = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    if text.is_empty() {
        return Some(
            Error::usage(format!(
                "value of '{key}' is empty, the file cannot hold that"
            ))
            .hint(format!("delete the property instead: --delete {key}")),
        );
    }
    if text.starts_with(blank) || text.ends_with(blank) {
        return Some(Error::usage(format!(
            "value of '{key}' begins or ends with a blank, the file cannot hold that"
        )));
    }
    None
}
