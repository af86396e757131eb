//! Cloning a machine: its disks linked or copied under new names, then the new config in one write.

use super::draft::{Draft, Edit, preallocation};
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::drive::{Drive, DriveFile};
use crate::format::vm_config::Section;
use crate::model::{
    CloneMode, CloneSpec, CreateSpec, Error, ImageFormat, Result, Slot, SnapshotName, StorageId,
    VmId, VolumeId, VolumeName,
};

/// Keys of the source that say nothing about the clone (pve-vm 4.2).
const NOT_COPIED: &[&str] = &[
    "parent",
    "snaptime",
    "vmstate",
    "snapstate",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
    "template",
    "lock",
    "digest",
    "name",
    "description",
    "protection",
];

struct Target<'a> {
    newid: VmId,
    mode: CloneMode,
    snapshot: Option<&'a SnapshotName>,
    storage: Option<&'a StorageId>,
    format: Option<ImageFormat>,
    running: bool,
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::VmClone {
        vmid,
        newid,
        name,
        description,
        mode,
        snapshot,
        storage,
        format,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    check::unlocked(*vmid, &view.config)?;
    check::vmid_free(world, *newid)?;
    let template = check::is_template(&view.config);
    let mode = mode.unwrap_or(if template {
        CloneMode::Linked
    } else {
        CloneMode::Full
    });
    if mode == CloneMode::Linked {
        for (given, word) in [(storage.is_some(), "storage"), (format.is_some(), "format")] {
            if given {
                return Err(Error::usage(format!(
                    "parameter '{word}' not allowed for linked clones"
                ))
                .hint("use --full 1 to copy"));
            }
        }
    }
    let section = match snapshot {
        None => Section::Main,
        Some(s) => Section::Snapshot(s.to_string()),
    };
    if let Some(s) = snapshot {
        if !view.config.has_section(&section) {
            return Err(Error::not_found(format!("snapshot '{s}' does not exist"))
                .hint(format!("list snapshots with: qm listsnapshot {vmid}")));
        }
        if let Some(state) = view.config.get(&section, "snapstate") {
            return Err(Error::conflict(format!(
                "snapshot '{s}' is incomplete (snapstate = {state})"
            )));
        }
    }
    let drives = check::drives(*vmid, view, &section, &["template", "lock"])?;
    let target = Target {
        newid: *newid,
        mode,
        snapshot: snapshot.as_ref(),
        storage: storage.as_ref(),
        format: *format,
        running: view.running.is_some(),
    };
    let mut edit = Edit::fresh(*newid);
    for (key, value) in view.config.entries(&section) {
        if Slot::from_key(&key).is_some() || NOT_COPIED.contains(&key.as_str()) {
            continue;
        }
        let value = renewed(world, &key, value);
        edit.config.set(&Section::Main, &key, &value);
    }
    let old_name = view.config.get(&section, "name");
    let name = name.clone().unwrap_or_else(|| {
        format!(
            "Copy-of-VM-{}",
            old_name.unwrap_or_else(|| vmid.to_string())
        )
    });
    edit.config.set(&Section::Main, "name", &name);
    if let Some(text) = description.as_deref().filter(|t| !t.is_empty()) {
        edit.config.set_description(&Section::Main, Some(text));
    }
    for (slot, drive) in &drives {
        if slot.is_unused() {
            continue;
        }
        let drive = copied(&mut draft, *slot, drive, &target)?;
        edit.config
            .set(&Section::Main, &slot.to_string(), &drive.to_string());
    }
    if view.config.has_section(&Section::Pending) && snapshot.is_none() {
        draft.note("pending changes of the source are not part of the clone");
    }
    draft.commit_here();
    edit.save(&mut draft);
    Ok(draft.finish())
}

/// MACs, the SMBIOS uuid and the generation id are never shared by two machines.
fn renewed(world: &World, key: &str, value: String) -> String {
    let is_net = key
        .strip_prefix("net")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if is_net {
        return naming::net_with_mac(world, key, &value, true);
    }
    match key {
        "smbios1" => {
            let fresh = format!("uuid={}", naming::uuid(world, "smbios1"));
            let mut items: Vec<String> = value.split(',').map(str::to_owned).collect();
            match items.iter_mut().find(|i| i.starts_with("uuid=")) {
                Some(item) => *item = fresh,
                None => items.push(fresh),
            }
            items.join(",")
        }
        "vmgenid" if value != "0" => naming::uuid(world, "vmgenid"),
        "meta" => format!("ctime={}", world.now),
        _ => value,
    }
}

/// The drive of the clone, and the step that makes its volume.
fn copied(draft: &mut Draft<'_>, slot: Slot, drive: &Drive, target: &Target<'_>) -> Result<Drive> {
    let Some(id) = drive
        .volume()
        .filter(|_| !drive.is_cdrom() || drive.is_cloudinit())
    else {
        if !drive.is_cdrom() {
            return Err(Error::unsupported(format!(
                "{slot} is no managed volume and cannot be cloned"
            )));
        }
        return Ok(drive.clone());
    };
    let (facts, info) = check::volume(draft.world, id)?;
    let source = check::listed(id, info);
    if let Some(snapshot) = target.snapshot
        && !drive.is_cloudinit()
        && !info.has_snapshot(snapshot)
    {
        return Err(Error::not_found(format!(
            "snapshot '{snapshot}' does not exist on '{source}' ({slot})"
        )));
    }
    let full = drive.is_cloudinit() || slot.bus() == crate::model::Bus::Tpmstate;
    let mode = if full { CloneMode::Full } else { target.mode };
    let mut result = drive.clone();
    let made = match mode {
        CloneMode::Linked => {
            if !info.is_base || target.snapshot.is_some() || facts.linked_clone_formats.is_empty() {
                return Err(Error::unsupported(format!(
                    "Linked clone feature is not supported for drive '{slot}'"
                ))
                .hint("linked clones are made from templates; use --full 1 to copy"));
            }
            linked(draft, &source, info.format, target.newid)?
        }
        CloneMode::Full => full_copy(draft, slot, drive, &source, target)?,
    };
    result.file = DriveFile::Volume(made);
    if let Some(size) = info.size {
        result.set_option("size", Some(&size.to_string()));
    }
    Ok(result)
}

fn linked(
    draft: &mut Draft<'_>,
    source: &VolumeId,
    base_format: ImageFormat,
    newid: VmId,
) -> Result<VolumeId> {
    let formats = &draft.world.facts(&source.storage)?.linked_clone_formats;
    let format = if formats.contains(&base_format) {
        base_format
    } else {
        formats.first().copied().unwrap_or(base_format)
    };
    let own = draft.fresh_name(&source.storage, newid, None, format)?;
    use crate::model::StorageKind as Kind;
    let names_base = matches!(
        draft.world.storage(&source.storage)?.section.kind,
        Some(
            Kind::Dir
                | Kind::Nfs
                | Kind::Cifs
                | Kind::Cephfs
                | Kind::ZfsPool
                | Kind::Zfs
                | Kind::Rbd
        )
    );
    let name = if names_base {
        VolumeName::parse(&format!("{}/{own}", naming::tail(source.name.as_str())))?
    } else {
        own
    };
    draft.push(Step::CloneVolume {
        storage: source.storage.clone(),
        spec: CloneSpec {
            source: source.name.clone(),
            snapshot: None,
            target: name.clone(),
            mode: CloneMode::Linked,
            format,
        },
    });
    let made = VolumeId::new(source.storage.clone(), name);
    draft.done(format!(
        "create linked clone of drive ({source}) as '{made}'"
    ));
    Ok(made)
}

fn full_copy(
    draft: &mut Draft<'_>,
    slot: Slot,
    drive: &Drive,
    source: &VolumeId,
    target: &Target<'_>,
) -> Result<VolumeId> {
    if target.running && target.snapshot.is_none() {
        return Err(Error::unsupported(format!(
            "the machine runs: {slot} cannot be copied while it changes"
        ))
        .hint("stop it, or clone a snapshot of it: --snapname NAME"));
    }
    let world = draft.world;
    let (_, info) = check::volume(world, source)?;
    let storage = target.storage.unwrap_or(&source.storage).clone();
    let facts = world.facts(&storage)?;
    let wanted = target.format.unwrap_or(info.format);
    let format = if facts.formats.contains(&wanted) {
        wanted
    } else if target.format.is_some() {
        return Err(Error::usage(format!(
            "storage '{storage}' cannot hold format '{wanted}'"
        )));
    } else {
        facts.default_format
    };
    let size = info.size.ok_or_else(|| {
        Error::integrity(format!(
            "volume '{source}' ({slot}) cannot be read: {}",
            info.problem.as_deref().unwrap_or("its size is unknown")
        ))
    })?;
    let leaf = drive.is_cloudinit().then(|| {
        let newid = target.newid;
        if facts.path_names {
            format!("vm-{newid}-cloudinit.{format}")
        } else {
            format!("vm-{newid}-cloudinit")
        }
    });
    let name = draft.fresh_name(&storage, target.newid, leaf.as_deref(), format)?;
    let snapshot = target.snapshot.filter(|s| info.has_snapshot(s)).cloned();
    let made = VolumeId::new(storage.clone(), name.clone());
    draft.done(format!(
        "create full clone of drive {slot} ({source}) as '{made}'"
    ));
    if storage == source.storage && format == info.format {
        draft.push(Step::CloneVolume {
            storage,
            spec: CloneSpec {
                source: source.name.clone(),
                snapshot,
                target: name,
                mode: CloneMode::Full,
                format,
            },
        });
    } else {
        let section = &world.storage(&storage)?.section;
        draft.push(Step::CopyVolume {
            source: source.clone(),
            snapshot,
            spec: CreateSpec {
                name,
                size,
                format,
                preallocation: preallocation(section, format),
            },
            storage,
        });
    }
    Ok(made)
}
