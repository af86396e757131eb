//! Which volume name comes next and how a given leaf name becomes a full one (pve-storage 2.3); never reserves anything.

use super::parse;
use crate::format::storage_kind::{is_path_kind, table};
use crate::model::{Error, ErrorKind, ImageFormat, Result, StorageKind, VmId, VolumeName};

/// Disks one machine may have on one storage.
const DISK_NUMBERS: usize = 1024;

/// The extension names of this kind carry for a format; empty when they carry none.
fn suffix_of(kind: StorageKind, format: ImageFormat) -> String {
    match (kind, format) {
        _ if is_path_kind(kind) => format!(".{format}"),
        (StorageKind::Lvm, ImageFormat::Qcow2) => ".qcow2".to_owned(),
        _ => String::new(),
    }
}

/// Lowest free `vm-ID-disk-N` (N in 0..1024) in the form this kind uses (`ID/vm-ID-disk-N.FORMAT` on path kinds), given the
/// names taken (full volume names of the storage). `template` asks for `base-`... never: bases are made by rename.
pub fn next_free(
    kind: StorageKind,
    vmid: VmId,
    format: ImageFormat,
    taken: &[&str],
) -> Result<VolumeName> {
    let suffix = suffix_of(kind, format);
    let leaf = next_disk_name(kind, u64::from(vmid.get()), Some(format), &suffix, taken)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NoSpace,
                format!(
                    "unable to allocate an image name for VM {vmid}: all {DISK_NUMBERS} are taken"
                ),
            )
            .hint("remove volumes that are not used any more")
        })?;
    full_name(kind, vmid, &leaf)
}

/// The rule behind `next_free` on plain text; `None` when all numbers are taken. What counts as taken follows Proxmox: on
/// kinds that know subvolumes any format blocks a number, on the others only the same suffix does.
pub fn next_disk_name(
    kind: StorageKind,
    vmid: u64,
    format: Option<ImageFormat>,
    suffix: &str,
    taken: &[&str],
) -> Option<String> {
    let any_format = table(kind).formats.contains(&ImageFormat::Subvol);
    let (words, tail): (&[&str], &str) = if any_format {
        (&["vm", "base", "subvol", "basevol"], "")
    } else {
        (&["vm", "base"], suffix)
    };
    let marker = format!("-{vmid}-disk-");
    let mut used = [false; DISK_NUMBERS];
    for name in taken {
        if let Some(number) = disk_number(name, words, &marker, tail)
            && let Some(slot) = used.get_mut(number)
        {
            *slot = true;
        }
    }
    let free = used.iter().position(|used| !used)?;
    let word = if format == Some(ImageFormat::Subvol) {
        "subvol"
    } else {
        "vm"
    };
    Some(format!("{word}{marker}{free}{suffix}"))
}

/// First `WORD-ID-disk-N` followed by `tail` anywhere in the name. A number with leading zeros blocks nothing.
fn disk_number(name: &str, words: &[&str], marker: &str, tail: &str) -> Option<usize> {
    name.match_indices(marker).find_map(|(at, _)| {
        if !words.iter().any(|word| name[..at].ends_with(word)) {
            return None;
        }
        let rest = &name[at + marker.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || !rest[digits..].starts_with(tail) {
            return None;
        }
        let text = &rest[..digits];
        // A number that does not block still ends the search, as in the original.
        Some(text.parse().ok().filter(|n: &usize| n.to_string() == text))
    })?
}

/// The name `leaf` (`vm-100-disk-7.raw` or `vm-100-disk-7`) of `vmid` as a full volume name of this kind, checked against the
/// kind's rules; the format must match the extension on path kinds.
pub fn named(kind: StorageKind, vmid: VmId, leaf: &str, format: ImageFormat) -> Result<VolumeName> {
    let known = ImageFormat::ALL
        .iter()
        .find(|f| leaf.ends_with(&format!(".{f}")));
    let mut leaf = leaf.to_owned();
    if is_path_kind(kind) {
        match known {
            None => leaf.push_str(&format!(".{format}")),
            Some(written) if *written != format => {
                return Err(Error::usage(format!(
                    "illegal name '{}' - wrong extension for format ('{written} != '{format}')",
                    leaf.escape_debug()
                )));
            }
            Some(_) => {}
        }
    } else {
        let word = if format == ImageFormat::Subvol {
            "subvol"
        } else {
            "vm"
        };
        if !leaf.starts_with(&format!("{word}-{vmid}-")) {
            return Err(Error::usage(format!(
                "illegal name '{}' - should be '{word}-{vmid}-*'",
                leaf.escape_debug()
            )));
        }
        if kind == StorageKind::Lvm
            && (known == Some(&ImageFormat::Qcow2)) != (format == ImageFormat::Qcow2)
        {
            return Err(Error::usage(format!(
                "illegal name '{leaf}' - does not fit format '{format}'"
            ))
            .hint("names of qcow2 volumes end in .qcow2, names of raw volumes do not"));
        }
    }
    full_name(kind, vmid, &leaf)
}

/// Puts the owner's directory before a leaf where the kind has one, and checks the result by reading it back.
fn full_name(kind: StorageKind, vmid: VmId, leaf: &str) -> Result<VolumeName> {
    let name = if is_path_kind(kind) {
        format!("{vmid}/{leaf}")
    } else {
        leaf.to_owned()
    };
    let parts = parse(kind, &name)?;
    if parts.vmid != Some(u64::from(vmid.get())) || parts.base_name.is_some() || parts.name != leaf
    {
        return Err(Error::usage(format!(
            "illegal name '{}' - should be a plain name of VM {vmid}",
            leaf.escape_debug()
        )));
    }
    VolumeName::parse(&name)
}
