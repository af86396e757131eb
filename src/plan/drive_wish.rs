//! What a drive option of `qm create`/`qm set` asks for: a new volume, a cloud-init volume, or one that exists; made into a drive string.

use super::check;
use super::draft::{Draft, NewVolume, kind_of};
use crate::format::drive::{Drive, DriveFile};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{
    Bus, ByteCount, ContentType, Error, ImageFormat, Result, Slot, StorageId, VmId, VolumeId,
};

const CLOUDINIT_SIZE: u64 = 4 * ByteCount::MIB;
const TPM_SIZE: u64 = 4 * ByteCount::MIB;

/// The machine a drive is for, and where new volumes go that name no storage.
#[derive(Clone, Copy)]
pub(super) struct Owner<'a> {
    pub vmid: VmId,
    pub config: &'a VmConfig,
    pub storage: Option<&'a StorageId>,
}

enum Wish {
    New {
        storage: Option<StorageId>,
        size: ByteCount,
    },
    CloudInit {
        storage: Option<StorageId>,
    },
    Existing,
}

/// `32` or `0.5` GiB, cut to whole KiB; `None` when it is no number.
fn gib(text: &str) -> Option<ByteCount> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || (text.contains('.') && !digits(part)) || part.len() > 12 {
        return None;
    }
    let kib_per_gib: u128 = 1 << 20;
    let whole: u128 = whole.parse::<u64>().ok()?.into();
    let part_value: u128 = if part.is_empty() {
        0
    } else {
        part.parse::<u64>().ok()?.into()
    };
    let kib = whole * kib_per_gib + part_value * kib_per_gib / 10u128.pow(part.len() as u32);
    ByteCount::from_kib(u64::try_from(kib).ok()?).filter(|b| b.get() <= i64::MAX as u64)
}

/// The text taken apart: the file, the `format=` of a new volume and the remaining options.
struct Parts<'t> {
    file: &'t str,
    format: Option<&'t str>,
    options: Vec<&'t str>,
}

fn parts<'t>(slot: Slot, text: &'t str) -> Result<Parts<'t>> {
    let mut file = None;
    let mut format = None;
    let mut options = Vec::new();
    for item in text.split(',') {
        match item.split_once('=') {
            None if file.is_none() => file = Some(item),
            Some(("file" | "volume", value)) if file.is_none() => file = Some(value),
            Some(("format", value)) if format.is_none() => format = Some(value),
            Some(("import-from", _)) => {
                return Err(Error::unsupported(format!(
                    "{slot}: import-from is not supported yet"
                ))
                .hint("copy the image into the storage and attach it: qm disk rescan"));
            }
            _ => options.push(item),
        }
    }
    let file = file.filter(|f| !f.is_empty()).ok_or_else(|| {
        Error::usage(format!("{slot}: '{}' names no volume", text.escape_debug()))
    })?;
    Ok(Parts {
        file,
        format,
        options,
    })
}

fn wish(file: &str) -> Result<Wish> {
    let (storage, rest) = match file.split_once(':') {
        Some((storage, rest)) => (Some(storage), rest),
        None => (None, file),
    };
    let storage_id = || storage.map(StorageId::parse).transpose();
    if rest == "cloudinit" {
        return Ok(Wish::CloudInit {
            storage: storage_id()?,
        });
    }
    match gib(rest) {
        Some(size) => Ok(Wish::New {
            storage: storage_id()?,
            size,
        }),
        None => Ok(Wish::Existing),
    }
}

/// Makes the drive true: pushes the step that makes a new volume, or checks the one that exists.
pub(super) fn realise(
    draft: &mut Draft<'_>,
    owner: Owner<'_>,
    slot: Slot,
    text: &str,
) -> Result<Drive> {
    let parts = parts(slot, text)?;
    let needs_storage = |storage: Option<StorageId>| {
        storage.or_else(|| owner.storage.cloned()).ok_or_else(|| {
            Error::usage(format!("{slot}: no storage is named for the new volume"))
                .hint(format!("write STORAGE:SIZE, for example --{slot} local:8"))
        })
    };
    match wish(parts.file)? {
        Wish::New { storage, size } if !slot.is_unused() => new_volume(
            draft,
            owner.vmid,
            slot,
            &needs_storage(storage)?,
            size,
            &parts,
        ),
        Wish::New { .. } => Err(Error::usage(format!(
            "{slot}: an unused entry names a volume"
        ))),
        Wish::CloudInit { storage } => {
            cloudinit(draft, owner, slot, &needs_storage(storage)?, &parts)
        }
        Wish::Existing => existing(draft, owner, slot, text),
    }
}

fn holds_images(draft: &Draft<'_>, storage: &StorageId) -> Result<()> {
    let section = &draft.world.storage(storage)?.section;
    if section.content.contains(&ContentType::Images) {
        return Ok(());
    }
    Err(
        Error::usage(format!("storage '{storage}' does not support vm images"))
            .hint(format!("pvesm set {storage} --content images")),
    )
}

fn finished(slot: Slot, id: &VolumeId, options: &[&str], size: ByteCount) -> Result<Drive> {
    let mut text = id.to_string();
    for option in options {
        text.push(',');
        text.push_str(option);
    }
    let mut drive = Drive::parse(slot, &text)?;
    drive.set_option("size", Some(&size.to_string()));
    Ok(drive)
}

fn new_volume(
    draft: &mut Draft<'_>,
    vmid: VmId,
    slot: Slot,
    storage: &StorageId,
    size: ByteCount,
    parts: &Parts<'_>,
) -> Result<Drive> {
    holds_images(draft, storage)?;
    if parts.options.contains(&"media=cdrom") {
        return Err(Error::usage(format!(
            "{slot}: a CD drive cannot be given a new volume"
        )));
    }
    if slot.bus() == Bus::Efidisk {
        return Err(Error::unsupported(
            "efidisk0: new EFI disks are not supported yet, for want of a firmware variable template",
        )
        .hint("use SeaBIOS, or attach an EFI disk that exists"));
    }
    let (size, default) = match slot.bus() {
        Bus::Tpmstate => (ByteCount(TPM_SIZE), Some(ImageFormat::Raw)),
        _ => (size, None),
    };
    let format = match parts.format {
        None => default,
        Some(word) => Some(ImageFormat::parse(word).ok_or_else(|| {
            Error::usage(format!("{slot}: unknown format '{}'", word.escape_debug()))
        })?),
    };
    let wish = NewVolume {
        vmid,
        leaf: None,
        format,
        size,
    };
    let (id, _) = draft.create_volume(storage, wish)?;
    let drive = finished(slot, &id, &parts.options, size)?;
    draft.done(format!("{slot}: successfully created disk '{drive}'"));
    Ok(drive)
}

fn cloudinit(
    draft: &mut Draft<'_>,
    owner: Owner<'_>,
    slot: Slot,
    storage: &StorageId,
    parts: &Parts<'_>,
) -> Result<Drive> {
    let vmid = owner.vmid;
    if let Some((other, _)) = owner
        .config
        .drives(&Section::Main)
        .iter()
        .find(|(s, d)| *s != slot && d.is_cloudinit())
    {
        return Err(Error::conflict(format!(
            "{slot}: there is already a cloud-init drive, {other}"
        ))
        .hint(format!("qm set {vmid} --delete {other}")));
    }
    holds_images(draft, storage)?;
    kind_of(&draft.world.storage(storage)?.section)?;
    let facts = draft.world.facts(storage)?;
    let wanted = parts.format.and_then(ImageFormat::parse);
    let (leaf, format) = if facts.path_names {
        let format = wanted.unwrap_or(ImageFormat::Qcow2);
        (format!("vm-{vmid}-cloudinit.{format}"), format)
    } else {
        (format!("vm-{vmid}-cloudinit"), ImageFormat::Raw)
    };
    let wish = NewVolume {
        vmid,
        leaf: Some(&leaf),
        format: Some(format),
        size: ByteCount(CLOUDINIT_SIZE),
    };
    let (id, _) = draft.create_volume(storage, wish)?;
    let mut options = parts.options.clone();
    if !options.contains(&"media=cdrom") {
        options.push("media=cdrom");
    }
    let drive = finished(slot, &id, &options, ByteCount(CLOUDINIT_SIZE))?;
    draft.done(format!("{slot}: successfully created disk '{drive}'"));
    Ok(drive)
}

fn existing(draft: &mut Draft<'_>, owner: Owner<'_>, slot: Slot, text: &str) -> Result<Drive> {
    let vmid = owner.vmid;
    let mut drive = Drive::parse(slot, text)?;
    let DriveFile::Volume(id) = drive.file.clone() else {
        return Ok(drive);
    };
    draft.world.storage(&id.storage)?;
    let seen = check::volume(draft.world, &id);
    let info = match seen {
        Ok((_, info)) => info,
        // ISO images are not in the inventory of images.
        Err(_) if drive.is_cdrom() && !drive.is_cloudinit() => return Ok(drive),
        Err(error) => return Err(error),
    };
    if drive
        .get("format")
        .is_some_and(|f| f != info.format.as_str())
    {
        return Err(Error::usage(format!(
            "{slot}: '{id}' has format '{}'",
            info.format
        )));
    }
    drive.set_option("format", None);
    drive.file = DriveFile::Volume(check::listed(&id, info));
    if slot.is_unused() {
        return Ok(drive);
    }
    let size = info.size.ok_or_else(|| {
        Error::integrity(format!(
            "volume '{id}' cannot be read: {}",
            info.problem.as_deref().unwrap_or("its size is unknown")
        ))
    })?;
    drive.set_option("size", Some(&size.to_string()));
    if drive.is_cdrom() {
        return Ok(drive);
    }
    if let Some((other, _)) = owner.config.drives(&Section::Main).iter().find(|(s, d)| {
        *s != slot && !s.is_unused() && !d.is_cdrom() && d.volume() == drive.volume()
    }) {
        return Err(
            Error::conflict(format!("volume '{id}' is already attached as {other}"))
                .hint(format!("qm set {vmid} --delete {other}")),
        );
    }
    if let Some(number) = info.owner.filter(|n| *n != vmid.get()) {
        draft.note(format!(
            "{slot}: volume '{id}' belongs to VM {number}; VM {vmid} only uses it"
        ));
    }
    Ok(drive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_gib_with_decimals_cut_to_kib() {
        assert_eq!(gib("32"), Some(ByteCount(32 << 30)));
        assert_eq!(gib("0.5"), Some(ByteCount(512 << 20)));
        assert_eq!(gib("0.001"), Some(ByteCount(1048 << 10)));
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "1e3",
            "-1",
            "vm-1",
            "99999999999999999999",
        ] {
            assert_eq!(gib(bad), None, "{bad}");
        }
    }
}
