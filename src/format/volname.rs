//! How each storage kind reads a volume name (pve-storage 2.1), and which name comes next (2.3); never looks at bytes of a volume.

mod archive;
mod file_names;
mod host_path;
mod next;
mod transfer;

pub use archive::{ArchiveName, Unpack, archive_name, decompressor};
pub use file_names::subdir_of;
pub use host_path::{content_dir, host_path, volume_of_path};
pub use next::{named, next_disk_name, next_free};
pub use transfer::{TransferFormats, WithSnapshots, transfer_formats};

use crate::model::{ContentType, Error, ImageFormat, Result, StorageKind, VolumeName};

/// A volume name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeParts {
    pub content: ContentType,
    /// Name without directory: `vm-100-disk-0.qcow2`.
    pub name: String,
    pub vmid: Option<u64>,
    pub base_name: Option<String>,
    pub base_vmid: Option<u64>,
    pub is_base: bool,
    /// As Proxmox spells it (`raw`, `qcow2`, `ova+vmdk`, `pbs-vm`); `ImageFormat` where it is one.
    pub format: String,
}

impl VolumeParts {
    pub fn image_format(&self) -> Option<ImageFormat> {
        ImageFormat::parse(&self.format)
    }
    /// A plain volume: no base, not a base itself.
    fn new(content: ContentType, name: &str, vmid: Option<u64>, format: &str) -> Self {
        VolumeParts {
            content,
            name: name.to_owned(),
            vmid,
            base_name: None,
            base_vmid: None,
            is_base: false,
            format: format.to_owned(),
        }
    }
}

/// Errors carry Proxmox's sentence. Stricter than the original where its patterns are hazardous: no control characters,
/// no `.` or `..` components, no `@` where the storage itself would read a snapshot (ZFS, RBD, btrfs).
pub fn parse(kind: StorageKind, name: &str) -> Result<VolumeParts> {
    use StorageKind as K;
    if name.len() > VolumeName::MAX_BYTES {
        VolumeName::parse(name)?;
    }
    let parts = match kind {
        _ if name.chars().any(char::is_control) => None,
        _ if name.split('/').any(|c| c == "." || c == "..") => None,
        K::Dir | K::Nfs | K::Cifs | K::Cephfs => file_names::parse(name)?,
        K::Btrfs => file_names::parse(name)?.filter(|p| {
            p.content != ContentType::Images
                || !(p.name.contains('@') || p.base_name.as_ref().is_some_and(|b| b.contains('@')))
        }),
        K::Lvm => lvm(name)?,
        K::LvmThin => lvm_thin(name)?,
        K::ZfsPool | K::Zfs => zfs(name),
        K::Rbd => rbd(name),
        K::Iscsi => iscsi(name),
        K::IscsiDirect => iscsi_direct(name),
        K::Pbs => pbs(name),
        K::Esxi => esxi(name),
    };
    parts.ok_or_else(|| {
        let error = unreadable(kind, name);
        if name.contains('@') {
            return error.hint("'@' would name a snapshot; give the volume and the snapshot apart");
        }
        error
    })
}

/// The text with control characters escaped, all else as it is.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

fn unreadable(kind: StorageKind, name: &str) -> Error {
    use StorageKind as K;
    let name = printable(name);
    Error::usage(match kind {
        K::Dir | K::Nfs | K::Cifs | K::Cephfs | K::Btrfs => {
            format!("unable to parse directory volume name '{name}'")
        }
        K::Lvm | K::LvmThin => format!("unable to parse lvm volume name '{name}'"),
        K::ZfsPool | K::Zfs => format!("unable to parse zfs volume name '{name}'"),
        K::Rbd => format!("unable to parse rbd volume name '{name}'"),
        K::Iscsi | K::IscsiDirect => format!("unable to parse iscsi volume name '{name}'"),
        K::Pbs => format!("unable to parse PBS volume name '{name}'"),
        K::Esxi => format!("failed to parse volname '{name}'"),
    })
}

/// Letters, digits, `-_.`, beginning and ending with a letter or digit, two characters or more.
pub fn check_lvm_name(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let valid = bytes.len() >= 2
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    if valid {
        return Ok(());
    }
    Err(Error::usage(format!(
        "lvm name '{}' contains illegal characters",
        printable(name)
    )))
}

/// ASCII digits only, one at least, as a number that fits.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn no_blank(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_whitespace)
}

/// `WORD-NUMBER-REST` with one of the words; the rest is not empty and has no blanks.
fn guest_name<'a>(name: &str, words: &[&'a str]) -> Option<(&'a str, u64)> {
    words.iter().find_map(|word| {
        let tail = name.strip_prefix(word)?.strip_prefix('-')?;
        let (digits, rest) = tail.split_once('-')?;
        no_blank(rest).then_some((*word, number(digits)?))
    })
}

fn lvm(name: &str) -> Result<Option<VolumeParts>> {
    check_lvm_name(name)?;
    let format = if name.ends_with(".qcow2") {
        "qcow2"
    } else {
        "raw"
    };
    Ok(guest_name(name, &["vm"])
        .map(|(_, vmid)| VolumeParts::new(ContentType::Images, name, Some(vmid), format)))
}

fn lvm_thin(name: &str) -> Result<Option<VolumeParts>> {
    check_lvm_name(name)?;
    Ok(guest_name(name, &["vm", "base"]).map(|(word, vmid)| {
        let mut parts = VolumeParts::new(ContentType::Images, name, Some(vmid), "raw");
        parts.is_base = word == "base";
        parts
    }))
}

/// Base name and its owner, where a name has one.
type Base = Option<(String, u64)>;

/// Splits `BASE/NAME` at the last slash where both sides read well; without one the whole text is the name.
fn with_base<T>(
    text: &str,
    base: impl Fn(&str) -> Option<u64>,
    name: impl Fn(&str) -> Option<T>,
) -> Option<(Base, String, T)> {
    let linked = text.rmatch_indices('/').find_map(|(at, _)| {
        let (left, right) = (&text[..at], &text[at + 1..]);
        let name = name(right)?;
        Some((Some((left.to_owned(), base(left)?)), right.to_owned(), name))
    });
    linked.or_else(|| Some((None, text.to_owned(), name(text)?)))
}

fn zfs(text: &str) -> Option<VolumeParts> {
    // An `@` would name a snapshot in every zfs command, an empty component an invalid dataset.
    if text.contains('@') || text.split('/').any(str::is_empty) {
        return None;
    }
    let base = |left: &str| guest_name(left, &["basevol", "base"]).map(|(_, vmid)| vmid);
    let name = |right: &str| guest_name(right, &["basevol", "base", "subvol", "vm"]);
    let (linked, own, (word, vmid)) = with_base(text, base, name)?;
    let format = if matches!(word, "subvol" | "basevol") {
        "subvol"
    } else {
        "raw"
    };
    let mut parts = VolumeParts::new(ContentType::Images, &own, Some(vmid), format);
    parts.is_base = matches!(word, "base" | "basevol");
    (parts.base_name, parts.base_vmid) = linked.unzip();
    Some(parts)
}

fn rbd(text: &str) -> Option<VolumeParts> {
    if text.contains('@') || text.split('/').any(str::is_empty) {
        return None;
    }
    let base = |left: &str| guest_name(left, &["base"]).map(|(_, vmid)| vmid);
    let name = |right: &str| guest_name(right, &["basevm", "base", "vm", ""]);
    let (linked, own, (word, vmid)) = with_base(text, base, name)?;
    let mut parts = VolumeParts::new(ContentType::Images, &own, Some(vmid), "raw");
    parts.is_base = word.starts_with("base");
    (parts.base_name, parts.base_vmid) = linked.unzip();
    Some(parts)
}

/// `channel.id.lun.BY-ID-NAME`.
fn iscsi(text: &str) -> Option<VolumeParts> {
    let mut rest = text;
    for _ in 0..3 {
        let (digits, tail) = rest.split_once('.')?;
        number(digits)?;
        rest = tail;
    }
    (no_blank(rest) && !rest.contains('/'))
        .then(|| VolumeParts::new(ContentType::Images, rest, None, "raw"))
}

fn iscsi_direct(text: &str) -> Option<VolumeParts> {
    let lun = text.strip_prefix("lun")?;
    number(lun)?;
    Some(VolumeParts::new(ContentType::Images, lun, None, "raw"))
}

/// `backup/TYPE/ID/YYYY-MM-DDTHH:MM:SSZ`; only the shape of the time counts.
fn pbs(text: &str) -> Option<VolumeParts> {
    let snapshot = text.strip_prefix("backup/")?;
    let (group, time) = snapshot.rsplit_once('/')?;
    let (kind, id) = group.rsplit_once('/')?;
    let word = |w: &str| no_blank(w) && !w.contains('_');
    let shape = time.len() == 20
        && time
            .bytes()
            .zip(b"dddd-dd-ddTdd:dd:ddZ")
            .all(|(b, want)| match want {
                b'd' => b.is_ascii_digit(),
                other => b == *other,
            });
    (word(kind) && word(id) && shape).then(|| {
        VolumeParts::new(
            ContentType::Backup,
            snapshot,
            number(id),
            &format!("pbs-{kind}"),
        )
    })
}

/// `DATACENTER/DATASTORE/PATH`.
fn esxi(text: &str) -> Option<VolumeParts> {
    let mut places = text.splitn(3, '/');
    let (datacenter, datastore, path) = (places.next()?, places.next()?, places.next()?);
    if datacenter.is_empty() || datastore.is_empty() || path.is_empty() {
        return None;
    }
    let (content, format) = if path.ends_with(".vmx") {
        (ContentType::Import, "vmx")
    } else if path.ends_with(".vmdk") {
        (ContentType::Images, "vmdk")
    } else {
        (ContentType::Images, "raw")
    };
    Some(VolumeParts::new(content, text, Some(0), format))
}

#[cfg(test)]
mod tests;
