//! Values of storage.cfg properties: which rule each property follows and what Proxmox says when it is broken; holds no section.

mod lists;
mod rules;

pub use lists::{
    FormatError, bandwidth_limits, normalize_content_filename, parse_boolean, property_list,
    prune_backups, split_list,
};
pub use rules::{check_format, known_format};

/// What a property's value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyType {
    Boolean,
    /// A whole number within bounds, or one of the words when there are any.
    Integer {
        min: Option<i64>,
        max: Option<i64>,
        words: &'static [&'static str],
    },
    Text(TextRule),
}

/// The rule of a text property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRule {
    Any,
    MaxLength(usize),
    Words(&'static [&'static str]),
    /// 32 hex pairs with colons.
    Fingerprint,
    /// A named format, see `check_format`.
    Format(&'static str),
    /// A list of items of a named format.
    List(&'static str),
}

use PropertyType as P;
use TextRule as T;

const ANY_INTEGER: &[&str] = &[];

/// The rule of a property, over all kinds; `None` when no kind has it. `authsupported`, `type` and `storage` are known words
/// without a kind that takes them.
pub fn property_type(key: &str) -> Option<PropertyType> {
    Some(match key {
        "create-base-path"
        | "create-subdirs"
        | "disable"
        | "fuse"
        | "krbd"
        | "mkdir"
        | "nocow"
        | "nowritecache"
        | "saferemove"
        | "shared"
        | "skip-cert-verification"
        | "snapshot-as-volume-chain"
        | "sparse"
        | "tagged_only" => P::Boolean,
        "max-protected-backups" => P::Integer {
            min: Some(-1),
            max: None,
            words: ANY_INTEGER,
        },
        "port" => P::Integer {
            min: Some(1),
            max: Some(65535),
            words: ANY_INTEGER,
        },
        "saferemove-stepsize" => P::Integer {
            min: None,
            max: None,
            words: &["1", "2", "4", "8", "16", "32"],
        },
        "base" => P::Text(T::Format("pve-volume-id")),
        "blocksize" => P::Text(T::Format("pve-storage-zfs-blocksize")),
        "bwlimit" => P::Text(T::Format("bwlimit")),
        "content" => P::Text(T::List("pve-storage-content")),
        "content-dirs" => P::Text(T::List("pve-dir-override")),
        "export" | "mountpoint" | "path" | "subdir" | "zfs-base-path" => {
            P::Text(T::Format("pve-storage-path"))
        }
        "fingerprint" => P::Text(T::Fingerprint),
        "format" => P::Text(T::Words(&["raw", "qcow2", "subvol", "vmdk"])),
        "fs-name" => P::Text(T::Format("pve-configid")),
        "monhost" => P::Text(T::List("pve-storage-portal-dns")),
        "nodes" => P::Text(T::List("pve-node")),
        "options" => P::Text(T::Format("pve-storage-options")),
        "password" | "domain" => P::Text(T::MaxLength(256)),
        "portal" => P::Text(T::Format("pve-storage-portal-dns")),
        "preallocation" => P::Text(T::Words(&["off", "metadata", "falloc", "full"])),
        "prune-backups" => P::Text(T::Format("prune-backups")),
        "server" => P::Text(T::Format("pve-storage-server")),
        "smbversion" => P::Text(T::Words(&["default", "2.0", "2.1", "3", "3.0", "3.11"])),
        "thinpool" | "vgname" => P::Text(T::Format("pve-storage-vgname")),
        "authsupported"
        | "comstar_hg"
        | "comstar_tg"
        | "data-pool"
        | "datastore"
        | "encryption-key"
        | "is_mountpoint"
        | "iscsiprovider"
        | "keyring"
        | "lio_tpg"
        | "master-pubkey"
        | "namespace"
        | "pool"
        | "saferemove_throughput"
        | "share"
        | "storage"
        | "target"
        | "type"
        | "username" => P::Text(T::Any),
        _ => return None,
    })
}

/// Properties some kind lets change after creation; the others are no parameters of an update at all.
pub fn is_updatable(key: &str) -> bool {
    crate::model::StorageKind::ALL.iter().any(|kind| {
        super::storage_kind::table(*kind)
            .property(key)
            .is_some_and(|p| !p.fixed)
    })
}

/// Checks one value. The text is Proxmox's, without the newline that ends it; a format's own text keeps its newline.
/// `path` is what sub-keys are reported under (empty in a file, the property's name for a command).
pub fn check(rule: PropertyType, value: &str, path: &str) -> Result<(), String> {
    match rule {
        P::Boolean => {
            if !matches!(value, "0" | "1") {
                return Err(format!("type check ('boolean') failed - got '{value}'"));
            }
        }
        P::Integer { min, max, words } => {
            let number = integer(value)
                .ok_or_else(|| format!("type check ('integer') failed - got '{value}'"))?;
            if let Some(min) = min.filter(|min| number < i128::from(*min)) {
                return Err(format!("value must have a minimum value of {min}"));
            }
            if let Some(max) = max.filter(|max| number > i128::from(*max)) {
                return Err(format!("value must have a maximum value of {max}"));
            }
            if !words.is_empty() {
                one_of(value, words)?;
            }
        }
        P::Text(rule) => return check_text(rule, value, path),
    }
    Ok(())
}

fn check_text(rule: TextRule, value: &str, path: &str) -> Result<(), String> {
    let named = |format: &str, item: &str| {
        check_format(format, item).map_err(|e| format!("invalid format - {}", e.text(path)))
    };
    match rule {
        T::Any => Ok(()),
        T::MaxLength(max) if value.chars().count() > max => {
            Err(format!("value may only be {max} characters long"))
        }
        T::MaxLength(_) => Ok(()),
        T::Words(words) => one_of(value, words),
        T::Fingerprint if is_fingerprint(value) => Ok(()),
        T::Fingerprint => Err("value does not match the regex pattern".to_owned()),
        T::Format(format) => named(format, value),
        T::List(format) => split_list(value)
            .into_iter()
            .try_for_each(|item| named(format, item)),
    }
}

fn one_of(value: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "value '{value}' does not have a value in the enumeration '{}'",
        words.join(", ")
    ))
}

/// Optional sign and digits. Numbers beyond 128 bits count as no number.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn is_fingerprint(text: &str) -> bool {
    text.len() == 95
        && text.bytes().enumerate().all(|(at, b)| {
            if at % 3 == 2 {
                b == b':'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &str, value: &str) -> String {
        check(property_type(key).unwrap(), value, "").unwrap_err()
    }

    #[test]
    fn a_file_accepts_only_0_and_1_as_booleans() {
        assert!(check(P::Boolean, "1", "").is_ok());
        for word in ["yes", "on", "", "2", "01"] {
            assert!(check(P::Boolean, word, "").is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(refusal("port", "0"), "value must have a minimum value of 1");
        assert_eq!(
            refusal("port", "70000"),
            "value must have a maximum value of 65535"
        );
        assert!(refusal("port", "8007x").starts_with("type check"));
        assert!(refusal("port", &"9".repeat(1000)).starts_with("type check"));
    }

    #[test]
    fn only_fixed_everywhere_means_not_updatable() {
        assert!(!is_updatable("path") && !is_updatable("vgname") && !is_updatable("bogus"));
        assert!(is_updatable("server") && is_updatable("pool") && is_updatable("nodes"));
    }
}
