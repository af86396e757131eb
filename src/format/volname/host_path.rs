//! Where a volume is on the host, from names alone (pve-storage 2.5), and back; never checks that anything exists.

use super::{VolumeParts, parse, subdir_of};
use crate::format::storage_cfg::StorageSection;
use crate::model::{ContentType, Error, Result, StorageKind, VolumeName};

/// Directory of a content type below the storage's `path`, `content-dirs` honoured.
pub fn content_dir(section: &StorageSection, content: ContentType) -> Result<String> {
    let default =
        subdir_of(content).ok_or_else(|| Error::usage(format!("unknown vtype '{content}'")))?;
    let root = section
        .get("path")
        .ok_or_else(|| Error::usage("storage definition has no path"))?;
    let chosen = section.get("content-dirs").and_then(|list| {
        crate::format::value::split_list(list)
            .into_iter()
            .filter_map(|item| item.split_once('='))
            .find(|(word, _)| *word == content.as_str())
            .map(|(_, directory)| directory)
    });
    Ok(format!("{root}/{}", chosen.unwrap_or(default)))
}

/// Path of a volume, or of one of its snapshots. Kinds whose place depends on what the host sees (rbd, zfs over iSCSI) have none
/// here.
pub fn host_path(section: &StorageSection, name: &str, snapshot: Option<&str>) -> Result<String> {
    use StorageKind as K;
    let kind = section.kind.ok_or_else(|| {
        Error::unsupported(format!("unknown storage type '{}'", section.type_word))
    })?;
    let parts = parse(kind, name)?;
    if let Some(snapshot) = snapshot {
        check_snapshot(snapshot)?;
    }
    let property = |key: &str| {
        section
            .get(key)
            .ok_or_else(|| Error::usage(format!("storage '{}' has no '{key}'", section.id)))
    };
    match kind {
        K::Btrfs => btrfs_path(section, &parts, snapshot),
        K::Dir | K::Nfs | K::Cifs | K::Cephfs => file_path(section, &parts, snapshot),
        K::Lvm => {
            let leaf = match snapshot {
                None | Some("current") if parts.format == "qcow2" || snapshot.is_none() => {
                    parts.name.clone()
                }
                Some(snapshot) if parts.format == "qcow2" => {
                    let stem = parts.name.trim_end_matches(".qcow2");
                    format!("snap_{stem}_{snapshot}.qcow2")
                }
                _ => {
                    return Err(Error::unsupported(
                        "snapshot is working with qcow2 format only",
                    ));
                }
            };
            Ok(format!("/dev/{}/{leaf}", property("vgname")?))
        }
        K::LvmThin => {
            let leaf = match snapshot {
                None => parts.name.clone(),
                Some(snapshot) => format!("snap_{}_{snapshot}", parts.name),
            };
            Ok(format!("/dev/{}/{leaf}", property("vgname")?))
        }
        K::ZfsPool => {
            let pool = property("pool")?;
            let at = snapshot.map(|s| format!("@{s}")).unwrap_or_default();
            let root = match parts.format.as_str() {
                "subvol" => section
                    .get("mountpoint")
                    .map_or_else(|| format!("/{pool}"), str::to_owned),
                _ => format!("/dev/zvol/{pool}"),
            };
            Ok(format!("{root}/{}{at}", parts.name))
        }
        K::Iscsi if snapshot.is_some() => Err(Error::unsupported(
            "snapshot is not possible on iscsi storage",
        )),
        K::Iscsi => Ok(format!("/dev/disk/by-id/{}", parts.name)),
        K::IscsiDirect if snapshot.is_some() => Err(Error::unsupported(
            "volume snapshot is not possible on iscsi device",
        )),
        K::IscsiDirect => Ok(format!(
            "iscsi://{}/{}/{}",
            property("portal")?,
            property("target")?,
            parts.name
        )),
        K::Zfs | K::Rbd | K::Pbs | K::Esxi => Err(Error::unsupported(format!(
            "a volume of a '{kind}' storage has no path that follows from its name"
        ))),
    }
}

/// A snapshot's name becomes part of a file name: only letters, digits, `_`, `-` and `.`, and no leading dot or dash.
fn check_snapshot(name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(['.', '-'])
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if fits {
        return Ok(());
    }
    Err(Error::usage(format!(
        "invalid snapshot name '{}'",
        name.chars().take(60).collect::<String>().escape_debug()
    )))
}

fn not_for_this_format() -> Error {
    Error::unsupported("can't snapshot this image format")
}

fn file_path(
    section: &StorageSection,
    parts: &VolumeParts,
    snapshot: Option<&str>,
) -> Result<String> {
    // An internal snapshot is inside the same file; a chain keeps the older state in a file of its own.
    let leaf = match snapshot {
        None => parts.name.clone(),
        Some(_) if parts.format != "qcow2" => return Err(not_for_this_format()),
        Some(snapshot) if section.flag("snapshot-as-volume-chain") && snapshot != "current" => {
            format!("snap-{snapshot}-{}", parts.name)
        }
        Some(_) => parts.name.clone(),
    };
    in_content_dir(section, parts, &leaf)
}

fn btrfs_path(
    section: &StorageSection,
    parts: &VolumeParts,
    snapshot: Option<&str>,
) -> Result<String> {
    if parts.content != ContentType::Images {
        return file_path(section, parts, snapshot);
    }
    let at = snapshot.map(|s| format!("@{s}")).unwrap_or_default();
    match parts.format.as_str() {
        "raw" => {
            let stem = parts.name.strip_suffix(".raw").unwrap_or(&parts.name);
            in_content_dir(section, parts, &format!("{stem}{at}/disk.raw"))
        }
        "subvol" => in_content_dir(section, parts, &format!("{}{at}", parts.name)),
        _ => file_path(section, parts, snapshot),
    }
}

fn in_content_dir(section: &StorageSection, parts: &VolumeParts, leaf: &str) -> Result<String> {
    let directory = content_dir(section, parts.content)?;
    Ok(match (parts.content, parts.vmid) {
        (ContentType::Images, Some(vmid)) => format!("{directory}/{vmid}/{leaf}"),
        _ => format!("{directory}/{leaf}"),
    })
}

/// The volume a path of a file storage stands for, by names alone: a linked clone comes out in its plain form.
pub fn volume_of_path(section: &StorageSection, path: &str) -> Option<(ContentType, VolumeName)> {
    let kind = section.kind?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let places = [
        (ContentType::Images, ""),
        (ContentType::Iso, "iso/"),
        (ContentType::VzTmpl, "vztmpl/"),
        (ContentType::Backup, "backup/"),
        (ContentType::Snippets, "snippets/"),
        (ContentType::Import, "import/"),
    ];
    places.iter().find_map(|(content, prefix)| {
        let directory = content_dir(section, *content).ok()?;
        let rest = path.strip_prefix(&directory)?.strip_prefix('/')?;
        let name = format!("{prefix}{rest}");
        let parts = parse(kind, &name).ok()?;
        (parts.content == *content && parts.base_name.is_none())
            .then(|| VolumeName::parse(&name).ok().map(|n| (*content, n)))?
    })
}
