//! Taking a snapshot: a section that says `prepare`, all volumes at one instant, then the section without it; checks everything first.

use super::draft::{Draft, Edit};
use super::sections::Sections;
use super::{Intent, Plan, Step, World, check};
use crate::format::drive::{Drive, DriveFile};
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{
    Error, ErrorKind, ImageFormat, Result, Slot, SnapshotMethod, SnapshotName, StorageKind, VmId,
    VolumeId,
};

/// Main keys that are not part of a snapshot (pve-vm 2.1.9).
const NOT_COPIED: &[&str] = &[
    "snapstate",
    "snaptime",
    "vmstate",
    "lock",
    "digest",
    "description",
];

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::Snapshot {
        vmid,
        name,
        description,
        vmstate,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    let vmid = *vmid;
    let mut draft = Draft::new(world, intent);
    let view = world.machine(vmid)?;
    if check::is_template(&view.config) {
        return Err(
            Error::unsupported("you can't take a snapshot if it's a template").hint(format!(
                "clone it and snapshot the clone: qm clone {vmid} NEWID"
            )),
        );
    }
    check::unlocked(vmid, &view.config)?;
    let section = Section::Snapshot(name.to_string());
    if view.config.has_section(&section) {
        return Err(
            Error::conflict(format!("snapshot name '{name}' already used")).hint(format!(
                "take another name, or delete the old one: qm delsnapshot {vmid} {name}"
            )),
        );
    }
    if *vmstate {
        return Err(Error::unsupported(
            "snapshots with memory state (vmstate) are not supported yet",
        )
        .hint("leave --vmstate away: the disks are snapshotted at one instant"));
    }
    let drives = check::drives(vmid, view, &Section::Main, &["parent", "template", "lock"])?;
    let mut volumes = Vec::new();
    for (slot, drive) in check::disks(&drives) {
        let (id, method) = snapshottable(world, vmid, *slot, drive, name)?;
        draft.note(format!(
            "{slot} ({id}): snapshot by {method}, because {}",
            method.reason()
        ));
        draft.done(format!("snapshotting 'drive-{slot}' ({id})"));
        volumes.push(id);
    }

    let mut edit = Edit::open(world, vmid)?;
    let copy = edit.config.entries(&Section::Main);
    forget_parent(&mut edit.config, name);
    edit.config.set(&Section::Main, "lock", "snapshot");
    for (key, value) in &copy {
        let unused = Slot::parse(key).is_ok_and(Slot::is_unused);
        if !unused && !NOT_COPIED.contains(&key.as_str()) {
            edit.config.set(&section, key, value);
        }
    }
    edit.config.set(&section, "snapstate", "prepare");
    edit.config
        .set(&section, "snaptime", &world.now.to_string());
    if let Some(text) = description.as_deref().filter(|t| !t.is_empty()) {
        edit.config.set_description(&section, Some(text));
    }
    if !volumes.is_empty() {
        edit.save(&mut draft);
        draft.push(Step::SnapshotGroup {
            volumes,
            name: name.clone(),
            live: view.running.map(|_| vmid),
            created: world.now,
        });
    }
    edit.config.remove(&Section::Main, "lock");
    edit.config.remove(&section, "snapstate");
    edit.config.set(&Section::Main, "parent", name.as_str());
    draft.commit_here();
    edit.save(&mut draft);
    Ok(draft.finish())
}

/// A dangling `parent: NAME` of another snapshot would become a cycle once NAME exists.
fn forget_parent(config: &mut VmConfig, name: &SnapshotName) {
    let sections = Sections::read(&config.to_bytes());
    for other in sections.names() {
        if sections.get(other, "parent").as_deref() == Some(name.as_str()) {
            config.remove(&Section::Snapshot(other.to_string()), "parent");
        }
    }
}

/// The volume of the drive and how its snapshot is taken, or why there cannot be one.
fn snapshottable(
    world: &World,
    vmid: VmId,
    slot: Slot,
    drive: &Drive,
    name: &SnapshotName,
) -> Result<(VolumeId, SnapshotMethod)> {
    let unavailable =
        |hint: String| Error::unsupported("snapshot feature is not available").hint(hint);
    let id = match &drive.file {
        DriveFile::Volume(id) => id,
        DriveFile::Path(path) => {
            return Err(unavailable(format!(
                "{slot} is '{path}', no volume of a storage: detach it, or import it into one"
            )));
        }
        DriveFile::Empty | DriveFile::HostCdrom => {
            return Err(unavailable(format!("{slot} has no volume")));
        }
    };
    let view = world.storage(&id.storage)?;
    let kind = &view.section.type_word;
    if view.facts.is_none() {
        return Err(unavailable(format!(
            "{slot} ('{id}') is on storage '{}' of type '{kind}', for which there is no backend",
            id.storage
        )));
    }
    let (facts, info) = check::volume(world, id).map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::NotFound => {
                format!("{slot} names it; take it out with: qm set {vmid} --delete {slot}")
            }
            _ => format!("{slot} of VM {vmid} is on it; bring the storage back and try again"),
        };
        e.hint(hint)
    })?;
    let listed = check::listed(id, info);
    if let Some(problem) = &info.problem {
        return Err(Error::integrity(format!(
            "volume '{listed}' ({slot}) cannot be read: {problem}"
        ))
        .hint("see details with: volvisor audit"));
    }
    let Some(method) = facts.snapshot_method(info.format) else {
        return Err(unavailable(no_method_hint(
            slot,
            &listed,
            info.format,
            view.section.kind,
            kind,
        )));
    };
    if info.has_snapshot(name) {
        return Err(Error::conflict(format!(
            "volume '{listed}' ({slot}) already has a snapshot '{name}' that no section of VM {vmid} records"
        ))
        .hint("see where it comes from: volvisor audit; or take another name"));
    }
    Ok((listed, method))
}

fn no_method_hint(
    slot: Slot,
    id: &VolumeId,
    format: ImageFormat,
    kind: Option<StorageKind>,
    type_word: &str,
) -> String {
    let what = format!(
        "{slot} ('{id}') has format '{format}' on storage '{}' of type '{type_word}'",
        id.storage
    );
    match (kind, format) {
        (Some(StorageKind::Dir), ImageFormat::Raw) => format!(
            "{what}, whose file system shares no blocks: convert the disk to qcow2 (qm disk move, or qemu-img convert), or put the storage on XFS or btrfs with reflinks"
        ),
        (Some(k), ImageFormat::Raw | ImageFormat::Vmdk) if is_path_kind(k) => {
            format!("{what}, which cannot: convert the disk to qcow2")
        }
        _ => format!("{what}, which cannot: move the disk to a storage that can snapshot"),
    }
}

fn is_path_kind(kind: StorageKind) -> bool {
    use StorageKind::{Btrfs, Cephfs, Cifs, Dir, Nfs};
    matches!(kind, Dir | Nfs | Cifs | Cephfs | Btrfs)
}
