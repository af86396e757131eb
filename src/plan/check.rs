//! Refusals that many planners share: locks, templates, protection, digests, lines that cannot be read, volumes that are missing.

use super::sections::Sections;
use super::world::{VmView, World};
use super::{Intent, naming};
use crate::format::drive::Drive;
use crate::format::vm_config::{Section, VmConfig, digest};
use crate::model::{
    Error, ErrorKind, Facts, Inventory, Result, Slot, SnapshotName, VmId, VolumeId, VolumeInfo,
};

/// `VM is locked (x)` unless the machine has no lock.
pub(super) fn unlocked(vmid: VmId, config: &VmConfig) -> Result<()> {
    match config.get(&Section::Main, "lock") {
        None => Ok(()),
        Some(lock) => Err(Error::busy(format!("VM is locked ({lock})")).hint(format!(
            "when nothing works on VM {vmid} any more (volvisor task list): qm unlock {vmid}"
        ))),
    }
}

pub(super) fn is_on(config: &VmConfig, key: &str) -> bool {
    config
        .get(&Section::Main, key)
        .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true"))
}

pub(super) fn is_template(config: &VmConfig) -> bool {
    is_on(config, "template")
}

/// `what` as in `can't remove VM 100`.
pub(super) fn unprotected(config: &VmConfig, vmid: VmId, what: &str) -> Result<()> {
    if is_on(config, "protection") {
        return Err(Error::conflict(format!("{what} - protection mode enabled"))
            .hint(format!("qm set {vmid} --protection 0")));
    }
    Ok(())
}

pub(super) fn same_digest(view: &VmView, wanted: Option<&str>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let found = digest(&view.bytes.0);
    if wanted.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(
        Error::conflict("checksum mismatch (file change by other user?)").hint(format!(
            "the digest is {found} now: read the config again and repeat"
        )),
    )
}

/// A machine number that no config of this node has.
pub(super) fn vmid_free(world: &World, vmid: VmId) -> Result<()> {
    if world.vmids.contains(&vmid) || world.machines.contains_key(&vmid) {
        return Err(Error::conflict(format!(
            "unable to create VM {vmid} - VM {vmid} already exists on node '{}'",
            world.node
        ))
        .hint("take another number; used ones: qm list"));
    }
    Ok(())
}

/// A line that was kept but not understood, with the key it seems to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    pub line: usize,
    pub section: Section,
    pub key: String,
    pub message: String,
}

/// Every problem line that looks like `key: value`, with its section.
pub(super) fn unread(view: &VmView) -> Vec<Unread> {
    if view.config.problems().is_empty() {
        return Vec::new();
    }
    let mut by_line = std::collections::BTreeMap::new();
    for problem in view.config.problems() {
        by_line
            .entry(problem.line)
            .or_insert_with(|| problem.message.clone());
    }
    let mut section = Section::Main;
    let mut found = Vec::new();
    for (at, raw) in view.bytes.0.split(|b| *b == b'\n').enumerate() {
        let text = String::from_utf8_lossy(raw);
        if let Some(head) = text.trim_end().strip_prefix('[') {
            section = match head.strip_suffix(']') {
                Some(name) if name.eq_ignore_ascii_case("pending") => Section::Pending,
                Some(name) => match name.strip_prefix("special:") {
                    Some(kind) => Section::Special(kind.to_owned()),
                    None => Section::Snapshot(name.to_owned()),
                },
                None => Section::Special(head.to_owned()),
            };
        }
        if let (Some(message), Some((key, _))) = (by_line.get(&(at + 1)), text.split_once(':')) {
            found.push(Unread {
                line: at + 1,
                section: section.clone(),
                key: key.trim().to_ascii_lowercase(),
                message: message.clone(),
            });
        }
    }
    found
}

/// Refuses when a key the operation needs stands in the section but cannot be read.
pub(super) fn readable(
    vmid: VmId,
    view: &VmView,
    section: &Section,
    needed: impl Fn(&str) -> bool,
) -> Result<()> {
    refuse_unread(vmid, view, |u| u.section == *section && needed(&u.key))
}

/// Refuses when a drive of any section cannot be read.
pub(super) fn readable_anywhere(vmid: VmId, view: &VmView) -> Result<()> {
    refuse_unread(vmid, view, |u| {
        Slot::parse(&u.key).is_ok() || u.key == "vmstate"
    })
}

fn refuse_unread(vmid: VmId, view: &VmView, needed: impl Fn(&Unread) -> bool) -> Result<()> {
    let Some(bad) = unread(view).into_iter().find(needed) else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Integrity,
        format!(
            "config of VM {vmid}, line {}: '{}' cannot be read: {}",
            bad.line, bad.key, bad.message
        ),
    )
    .hint("correct the line, or see how it is read: volvisor explain config FILE"))
}

/// All drives of a section; refuses when one of them, or a key in `also`, cannot be read.
pub(super) fn drives(
    vmid: VmId,
    view: &VmView,
    section: &Section,
    also: &[&str],
) -> Result<Vec<(Slot, Drive)>> {
    readable(vmid, view, section, |key| {
        Slot::from_key(key).is_some() || also.contains(&key)
    })?;
    section_drives(vmid, &view.config, section).map_err(|error| {
        let unread = view
            .config
            .entries(section)
            .into_iter()
            .find(|(key, value)| {
                Slot::parse(key).is_ok_and(|slot| Drive::parse(slot, value).is_err())
            });
        let Some((key, _)) = unread else { return error };
        let line = line_of(&view.bytes.0, section, &key);
        let text = format!("{} (line {line} of {vmid}.conf)", error.message());
        let hint = error.hint_text().unwrap_or_default().to_owned();
        Error::new(error.kind(), text).hint(hint)
    })
}

/// The last line, counted from 1, that holds the key in the section.
fn line_of(bytes: &[u8], section: &Section, key: &str) -> usize {
    let header = match section {
        Section::Main => String::new(),
        Section::Pending => "[pending]".to_owned(),
        Section::Special(kind) => format!("[special:{kind}]"),
        Section::Snapshot(name) => format!("[{name}]"),
    };
    let mut here = header.is_empty();
    let mut found = 0;
    for (at, raw) in bytes.split(|b| *b == b'\n').enumerate() {
        let text = String::from_utf8_lossy(raw);
        if text.starts_with('[') {
            here = text.trim_end().eq_ignore_ascii_case(&header);
        } else if here && text.split(':').next() == Some(key) {
            found = at + 1;
        }
    }
    found
}

/// As `drives`, for a config that is being edited.
pub(super) fn section_drives(
    vmid: VmId,
    config: &VmConfig,
    section: &Section,
) -> Result<Vec<(Slot, Drive)>> {
    let mut drives = Vec::new();
    for (key, value) in config.entries(section) {
        let Some(slot) = Slot::from_key(&key) else {
            continue;
        };
        let drive = Drive::parse(slot, &value).map_err(|why| {
            Error::new(
                ErrorKind::Integrity,
                format!("config of VM {vmid}: drive '{key}: {value}' cannot be read"),
            )
            .with_source(why)
            .hint(format!("see why: volvisor explain drive '{value}'"))
        })?;
        drives.push((slot, drive));
    }
    drives.sort_by_key(|(slot, _)| *slot);
    Ok(drives)
}

/// The drives that are snapshotted, rolled back and copied: all but CD drives and unused ones.
pub(super) fn disks(drives: &[(Slot, Drive)]) -> impl Iterator<Item = &(Slot, Drive)> {
    drives
        .iter()
        .filter(|(slot, drive)| !slot.is_unused() && !drive.is_cdrom())
}

/// By exact name, else by the own part of a linked clone's name.
pub(super) fn find<'i>(inventory: &'i Inventory, id: &VolumeId) -> Option<&'i VolumeInfo> {
    inventory.find(&id.name).or_else(|| {
        let wanted = naming::tail(id.name.as_str());
        inventory
            .volumes
            .iter()
            .find(|v| naming::tail(v.name.as_str()) == wanted)
    })
}

/// The volume as seen, on a storage that has a backend and can be reached.
pub(super) fn volume<'w>(world: &'w World, id: &VolumeId) -> Result<(&'w Facts, &'w VolumeInfo)> {
    let facts = world.facts(&id.storage)?;
    let inventory = world.inventory(&id.storage)?;
    let info = find(inventory, id).ok_or_else(|| {
        Error::not_found(format!("volume '{id}' does not exist"))
            .hint(format!("list volumes with: pvesm list {}", id.storage))
    })?;
    Ok((facts, info))
}

/// The id under which the storage itself lists the volume.
pub(super) fn listed(id: &VolumeId, info: &VolumeInfo) -> VolumeId {
    VolumeId::new(id.storage.clone(), info.name.clone())
}

/// Linked clones that read from this volume.
pub(super) fn dependants<'i>(
    inventory: &'i Inventory,
    info: &'i VolumeInfo,
) -> impl Iterator<Item = &'i VolumeInfo> {
    let own = naming::tail(info.name.as_str());
    let prefix = format!("{own}/");
    let backing = format!("/{own}");
    inventory.volumes.iter().filter(move |other| {
        other.name != info.name
            && (other.name.as_str().starts_with(&prefix)
                || other
                    .parent
                    .as_deref()
                    .is_some_and(|p| p.ends_with(&backing) || p == own))
    })
}

pub(super) fn no_dependants(id: &VolumeId, inventory: &Inventory, info: &VolumeInfo) -> Result<()> {
    let clones: Vec<String> = dependants(inventory, info)
        .map(|v| v.name.to_string())
        .collect();
    if clones.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "base volume '{id}' is still in use by linked cloned"
    ))
    .hint(format!(
        "destroy or fully copy these first: {}",
        clones.join(", ")
    )))
}

/// The first snapshot of the config whose section names the volume.
pub(super) fn snapshot_using(config: &VmConfig, volume: &VolumeId) -> Option<SnapshotName> {
    let sections = Sections::read(&config.to_bytes());
    let text = volume.to_string();
    sections
        .names()
        .find(|name| {
            sections.document(name).is_some_and(|(document, section)| {
                document
                    .drives(section)
                    .iter()
                    .any(|(_, d)| d.volume() == Some(volume))
                    || document.get(section, "vmstate").as_ref() == Some(&text)
            })
        })
        .cloned()
}

/// The machine (and where in it) that names the volume, among the machines that were looked at.
pub(super) fn user_of(world: &World, volume: &VolumeId) -> Option<(VmId, String)> {
    let text = volume.to_string();
    for (vmid, view) in &world.machines {
        // A volume id is never escaped in a config: a cheap test before the careful one.
        let bytes = &view.bytes.0;
        if !bytes
            .windows(text.len().max(1))
            .any(|w| w == text.as_bytes())
        {
            continue;
        }
        let sections = Sections::read(bytes);
        for (section, slot, drive) in sections.drives() {
            if drive.volume() == Some(volume) {
                let place = match section {
                    Section::Main => slot.to_string(),
                    Section::Pending => format!("{slot}, pending"),
                    Section::Special(kind) => format!("{slot} of {kind}"),
                    Section::Snapshot(name) => format!("{slot} of snapshot '{name}'"),
                };
                return Some((*vmid, place));
            }
        }
        let is_state = sections.all().any(|(section, document)| {
            document.get(section, "vmstate").as_deref() == Some(text.as_str())
        });
        if is_state {
            return Some((*vmid, "vmstate".to_owned()));
        }
    }
    None
}

/// An intent that reached a planner it does not belong to; a mistake of the dispatcher, reported rather than hidden.
pub(super) fn wrong_planner(intent: &Intent) -> Error {
    Error::failed(format!("'{}' reached the wrong planner", intent.verb()))
}
