//! The named formats of storage.cfg values; each says in Proxmox's words what does not fit.

use super::lists::{FormatError, bandwidth_limits, prune_backups};
use crate::format::volname::check_lvm_name;
use crate::model::{ContentType, StorageId, VolumeId};
use core::net::{Ipv4Addr, Ipv6Addr};

type Checked = Result<(), FormatError>;

/// Whether `check_format` knows a format of this name.
pub fn known_format(format: &str) -> bool {
    matches!(
        format,
        "bwlimit"
            | "prune-backups"
            | "pve-configid"
            | "pve-dir-override"
            | "pve-node"
            | "pve-storage-content"
            | "pve-storage-id"
            | "pve-storage-options"
            | "pve-storage-path"
            | "pve-storage-portal-dns"
            | "pve-storage-server"
            | "pve-storage-vgname"
            | "pve-storage-zfs-blocksize"
            | "pve-volume-id"
    )
}

/// Checks one value against a named format. An unknown format is refused.
pub fn check_format(format: &str, value: &str) -> Checked {
    let need = |fits: bool, text: String| {
        if fits {
            Ok(())
        } else {
            Err(FormatError::Text(text))
        }
    };
    match format {
        "bwlimit" => bandwidth_limits(value).map(drop),
        "prune-backups" => prune_backups(value).map(drop),
        "pve-configid" => need(
            is_config_id(value),
            format!("invalid configuration ID '{value}'"),
        ),
        "pve-dir-override" => directory_override(value),
        "pve-node" => need(
            is_host_label(value),
            "value does not look like a valid node name".to_owned(),
        ),
        "pve-storage-content" => need(
            ContentType::parse(value).is_some(),
            format!("invalid content type '{value}'"),
        ),
        "pve-storage-id" => {
            StorageId::parse(value).map_or_else(|e| FormatError::say(e.message()), |_| Ok(()))
        }
        "pve-storage-options" => need(
            !value.is_empty() && !value.chars().any(char::is_whitespace),
            format!("invalid options '{value}'"),
        ),
        "pve-storage-path" => need(
            is_absolute_path(value),
            "value does not look like a valid absolute path".to_owned(),
        ),
        "pve-storage-portal-dns" => need(
            is_portal(value),
            "value does not look like a valid portal address".to_owned(),
        ),
        "pve-storage-server" => need(
            value.parse::<Ipv4Addr>().is_ok()
                || value.parse::<Ipv6Addr>().is_ok()
                || value.split('.').all(is_host_label),
            "value does not look like a valid server name or IP address".to_owned(),
        ),
        "pve-storage-vgname" => {
            check_lvm_name(value).map_or_else(|e| FormatError::say(e.message()), Ok)
        }
        "pve-storage-zfs-blocksize" => zfs_blocksize(value),
        "pve-volume-id" => {
            VolumeId::parse(value).map_or_else(|e| FormatError::say(e.message()), |_| Ok(()))
        }
        _ => FormatError::say(format!("undefined format '{format}'")),
    }
}

fn is_config_id(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Letters, digits and inner dashes.
fn is_host_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Proxmox checks the first character behind the slash only.
fn is_absolute_path(text: &str) -> bool {
    text.strip_prefix('/')
        .and_then(|rest| rest.chars().next())
        .is_some_and(|c| !";()".contains(c))
}

/// `HOST[:PORT]`, `[HOST][:PORT]`, `IPV6[.PORT]`.
fn is_portal(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let host = |s: &str| {
        !s.is_empty()
            && s.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    let ipv6 = |s: &str| s.parse::<Ipv6Addr>().is_ok();
    if let Some(inside) = text.strip_prefix('[') {
        return inside.split_once(']').is_some_and(|(name, port)| {
            (host(name) || ipv6(name))
                && (port.is_empty() || port.strip_prefix(':').is_some_and(digits))
        });
    }
    host(text)
        || text
            .split_once(':')
            .is_some_and(|(name, port)| host(name) && digits(port))
        || ipv6(text)
        || text
            .rsplit_once('.')
            .is_some_and(|(address, port)| ipv6(address) && digits(port))
}

/// `TYPE=DIRECTORY`: no two dots in a row, no dot at the end, components below 255 and all below 1,023 bytes.
fn directory_override(value: &str) -> Checked {
    let invalid = || FormatError::Text(format!("invalid override '{value}'"));
    let (content, directory) = value.split_once('=').ok_or_else(invalid)?;
    let shape = !content.is_empty()
        && content.bytes().all(|b| b.is_ascii_lowercase())
        && !directory.is_empty()
        && !directory.contains("..")
        && !directory.ends_with('.')
        && !directory.contains('\n');
    if !shape {
        return Err(invalid());
    }
    if ContentType::parse(content).is_none() {
        return FormatError::say(format!("invalid content type '{content}'"));
    }
    if directory.len() >= 1023 || directory.split('/').any(|part| part.len() >= 255) {
        return Err(invalid());
    }
    Ok(())
}

/// Empty, or a power of two from 512 to 16 MiB with an optional `k` or `m`.
fn zfs_blocksize(value: &str) -> Checked {
    if value.is_empty() {
        return Ok(());
    }
    let (digits, unit) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (&value[..value.len() - 1], 1u64 << 10),
        Some(b'm' | b'M') => (&value[..value.len() - 1], 1 << 20),
        _ => (value, 1),
    };
    if digits.is_empty() || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return FormatError::say(format!(
            "invalid ZFS blocksize format '{value}'. Use a positive number (no leading zeros) with an optional 'k' or 'm' suffix."
        ));
    }
    let bytes = digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .unwrap_or(u64::MAX);
    if !bytes.is_power_of_two() || !(512..=16 << 20).contains(&bytes) {
        return FormatError::say(format!(
            "value '{value}' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m)."
        ));
    }
    Ok(())
}
