//! `qm set`: new values, deletions and reverts, applied to the config of now or to [PENDING] when the machine runs.

use super::draft::{Draft, Edit};
use super::drive_wish::{self, Owner};
use super::pending::deletions;
use super::{Intent, Plan, Step, World, check, naming};
use crate::format::drive::Drive;
use crate::format::vm_config::{Section, VmConfig};
use crate::format::vm_key;
use crate::model::{Error, Result, Slot, StorageId, VolumeId};

/// Keys a running machine takes at once (pve-vm 1.5).
const FAST: &[&str] = &[
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "onboot",
    "protection",
    "shares",
    "startup",
    "tags",
    "vmstatestorage",
    "citype",
    "ciuser",
    "cipassword",
    "ciupgrade",
    "sshkeys",
    "nameserver",
    "searchdomain",
    "cicustom",
];

/// Keys that only the program itself writes.
const INTERNAL: &[&str] = &[
    "parent",
    "snaptime",
    "snapstate",
    "vmstate",
    "digest",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
    "meta",
    "delete",
];

fn is_fast(key: &str) -> bool {
    let numbered = |prefix: &str| {
        key.strip_prefix(prefix)
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    FAST.contains(&key) || numbered("ipconfig")
}

/// What one call of `qm set` changes.
pub(super) struct Changes<'a> {
    pub settings: &'a [(String, String)],
    pub delete: &'a [String],
    pub revert: &'a [String],
    pub force: bool,
    pub storage: Option<&'a StorageId>,
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::VmSet {
        vmid,
        settings,
        delete,
        revert,
        force,
        digest,
    } = intent
    else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    check::same_digest(view, digest.as_deref())?;
    let unlocks = delete.iter().any(|k| k == "lock");
    if !unlocks {
        check::unlocked(*vmid, &view.config)?;
    }
    let changes = Changes {
        settings,
        delete,
        revert,
        force: *force,
        storage: None,
    };
    let touched = |key: &str| {
        settings.iter().any(|(k, _)| k == key) || delete.iter().chain(revert).any(|k| k == key)
    };
    check::readable(*vmid, view, &Section::Main, touched)?;
    let mut edit = Edit::open(world, *vmid)?;
    if view.running.is_none() && edit.config.has_section(&Section::Pending) {
        check::readable(*vmid, view, &Section::Pending, |_| true)?;
    }
    apply(&mut draft, &mut edit, &changes, view.running.is_some())?;
    draft.commit_here();
    edit.save(&mut draft);
    draft.plan.done.insert(0, update_line(*vmid, &changes));
    Ok(draft.finish())
}

/// `update VM 100: -memory 2048 -name web`, keys sorted, passwords hidden.
fn update_line(vmid: crate::model::VmId, changes: &Changes<'_>) -> String {
    let mut words: Vec<(String, String)> = changes.settings.to_vec();
    if !changes.delete.is_empty() {
        words.push(("delete".to_owned(), changes.delete.join(",")));
    }
    if !changes.revert.is_empty() {
        words.push(("revert".to_owned(), changes.revert.join(",")));
    }
    if changes.force {
        words.push(("force".to_owned(), "1".to_owned()));
    }
    words.sort();
    let mut line = format!("update VM {vmid}:");
    for (key, value) in words {
        let value = if key == "cipassword" {
            "<hidden>".to_owned()
        } else {
            value
        };
        line.push_str(&format!(" -{key} {value}"));
    }
    line
}

/// Reverts, then deletes, then sets.
pub(super) fn apply(
    draft: &mut Draft<'_>,
    edit: &mut Edit,
    changes: &Changes<'_>,
    running: bool,
) -> Result<()> {
    for key in changes.revert {
        edit.config.remove(&Section::Pending, key);
        forget_delete(&mut edit.config, key);
    }
    for (key, _) in changes.settings {
        edit.config.remove(&Section::Pending, key);
        forget_delete(&mut edit.config, key);
    }
    for key in changes.delete {
        if changes.settings.iter().any(|(k, _)| k == key) {
            return Err(Error::usage(format!(
                "you can't use '-{key}' and '-delete {key}' at the same time"
            )));
        }
        delete_one(draft, edit, key, changes.force, running)?;
    }
    if !running {
        apply_pending(draft, edit)?;
    }
    let mut waiting = Vec::new();
    for (key, value) in changes.settings {
        if set_one(draft, edit, changes, (key, value), running)? {
            waiting.push(key.as_str());
        }
    }
    if !waiting.is_empty() {
        draft.done(format!(
            "VM {} runs: pending until it is stopped and started: {}",
            edit.vmid,
            waiting.join(", ")
        ));
    }
    tidy_pending(&mut edit.config);
    Ok(())
}

/// A value that may stand on one line after its key.
fn check_value(key: &str, value: &str) -> Result<()> {
    let plain_key = !key.is_empty()
        && key.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !plain_key || INTERNAL.contains(&key) {
        return Err(Error::usage(format!(
            "'{}' is not a setting that can be changed",
            key.escape_debug()
        )));
    }
    if key != "description" && (value.trim().is_empty() || value.contains(['\n', '\r', '\0'])) {
        return Err(Error::usage(format!(
            "value of '{key}' must be one line that is not empty"
        ))
        .hint(format!("to remove it use: --delete {key}")));
    }
    Ok(())
}

/// The value as the file may hold it: a config must never get a line that its own reader drops.
fn checked(key: &str, value: &str) -> Result<String> {
    match vm_key::kind(key) {
        None => Ok(value.to_owned()),
        Some(kind) => vm_key::check(kind, key, value).map_err(|why| {
            Error::usage(format!("{key}: {}", why.trim_end())).hint(format!(
                "nothing was changed; see how a value is read: volvisor explain config FILE, or remove it: --delete {key}"
            ))
        }),
    }
}

/// True when the value waits in [PENDING].
fn set_one(
    draft: &mut Draft<'_>,
    edit: &mut Edit,
    changes: &Changes<'_>,
    (key, value): (&str, &str),
    running: bool,
) -> Result<bool> {
    check_value(key, value)?;
    if key == "description" {
        let text = (!value.is_empty()).then_some(value);
        if edit.config.description(&Section::Main).as_deref() != text {
            edit.config.set_description(&Section::Main, text);
        }
        return Ok(false);
    }
    if let Ok(slot) = Slot::parse(key) {
        let owner = Owner {
            vmid: edit.vmid,
            config: &edit.config,
            storage: changes.storage,
        };
        let drive = drive_wish::realise(draft, owner, slot, value)?;
        if running && !slot.is_unused() {
            return Ok(pend_drive(&mut edit.config, slot, &drive));
        }
        put_drive(draft, edit, slot, &drive)?;
        return Ok(false);
    }
    let value = match key.strip_prefix("net") {
        Some(n) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            naming::net_with_mac(draft.world, key, value, false)
        }
        _ => value.trim_end().to_owned(),
    };
    let value = checked(key, &value)?;
    if edit.config.get(&Section::Main, key).as_ref() == Some(&value) {
        return Ok(false);
    }
    if running && !is_fast(key) {
        edit.config.set(&Section::Pending, key, &value);
        return Ok(true);
    }
    edit.config.set(&Section::Main, key, &value);
    Ok(false)
}

fn pend_drive(config: &mut VmConfig, slot: Slot, drive: &Drive) -> bool {
    let now = config
        .drives(&Section::Main)
        .into_iter()
        .find(|(s, _)| *s == slot);
    if now.is_some_and(|(_, d)| d.to_string() == drive.to_string()) {
        return false;
    }
    if let Some(id) = drive.volume() {
        naming::drop_unused(config, id);
    }
    config.set(&Section::Pending, &slot.to_string(), &drive.to_string());
    true
}

/// Writes the drive; a volume that was there before becomes unused, entries that name the new one go.
fn put_drive(draft: &mut Draft<'_>, edit: &mut Edit, slot: Slot, drive: &Drive) -> Result<()> {
    let key = slot.to_string();
    let before = edit
        .config
        .drives(&Section::Main)
        .into_iter()
        .find(|(s, _)| *s == slot)
        .map(|(_, d)| d);
    if before
        .as_ref()
        .is_some_and(|d| d.to_string() == drive.to_string())
    {
        return Ok(());
    }
    if let Some(old) = before
        .as_ref()
        .filter(|old| old.volume().is_some() && old.volume() != drive.volume())
    {
        if slot.is_unused() {
            return Err(Error::conflict(format!("{slot} already names '{old}'"))
                .hint("take another unused slot"));
        }
        check::unprotected(
            &edit.config,
            edit.vmid,
            &format!("can't remove drive '{slot}'"),
        )?;
        edit.config.remove(&Section::Main, &key);
        release(draft, edit, slot, old, false)?;
    }
    if let (false, Some(id)) = (slot.is_unused(), drive.volume()) {
        naming::drop_unused(&mut edit.config, id);
    }
    edit.config.set(&Section::Main, &key, &drive.to_string());
    Ok(())
}

/// Takes one key out, now or pending.
pub(super) fn delete_one(
    draft: &mut Draft<'_>,
    edit: &mut Edit,
    key: &str,
    force: bool,
    running: bool,
) -> Result<()> {
    if INTERNAL.contains(&key) {
        return Err(Error::usage(format!(
            "'{key}' is not a setting that can be changed"
        )));
    }
    if key == "description" {
        edit.config.set_description(&Section::Main, None);
        return Ok(());
    }
    let waiting = edit
        .config
        .drives(&Section::Pending)
        .into_iter()
        .find(|(slot, _)| slot.to_string() == key);
    let was_pending = edit.config.remove(&Section::Pending, key);
    // The machine never had a disk that only waited: its volume is kept or freed as that of any other.
    if let Some((slot, drive)) = waiting {
        release(draft, edit, slot, &drive, force)?;
    }
    if edit.config.get(&Section::Main, key).is_none() {
        if was_pending {
            return Ok(());
        }
        draft.note(format!(
            "cannot delete '{key}' - not set in current configuration!"
        ));
        return Ok(());
    }
    let Ok(slot) = Slot::parse(key) else {
        if running && !is_fast(key) {
            pend_delete(&mut edit.config, key, false);
        } else {
            edit.config.remove(&Section::Main, key);
        }
        return Ok(());
    };
    let Some((_, drive)) = edit
        .config
        .drives(&Section::Main)
        .into_iter()
        .find(|(s, _)| *s == slot)
    else {
        return Err(Error::integrity(format!(
            "config of VM {}: drive '{slot}' cannot be read",
            edit.vmid
        ))
        .hint(format!(
            "see why: volvisor explain drive, or edit the line of {slot} by hand"
        )));
    };
    if !drive.is_cdrom() {
        let what = if slot.is_unused() {
            format!("can't remove unused disk '{}'", drive)
        } else {
            format!("can't remove drive '{slot}'")
        };
        check::unprotected(&edit.config, edit.vmid, &what)?;
    }
    if running && !slot.is_unused() {
        pend_delete(&mut edit.config, key, force);
        return Ok(());
    }
    edit.config.remove(&Section::Main, key);
    drop_from_boot(&mut edit.config, key);
    release(draft, edit, slot, &drive, force || slot.is_unused())
}

/// What becomes of the volume of a drive that was taken out.
fn release(
    draft: &mut Draft<'_>,
    edit: &mut Edit,
    slot: Slot,
    drive: &Drive,
    free: bool,
) -> Result<()> {
    let Some(id) = drive.volume() else {
        return Ok(());
    };
    let still_used = edit
        .config
        .drives(&Section::Main)
        .iter()
        .any(|(s, d)| !s.is_unused() && d.volume() == Some(id));
    if still_used || (drive.is_cdrom() && !drive.is_cloudinit()) {
        return Ok(());
    }
    let seen = check::volume(draft.world, id);
    let owned = match &seen {
        Ok((_, info)) => info.owner == Some(edit.vmid.get()),
        Err(_) => owner_in_name(id) == Some(edit.vmid.get()),
    };
    if !owned {
        draft.note(format!(
            "volume '{id}' of {slot} does not belong to VM {} and is left alone",
            edit.vmid
        ));
        return Ok(());
    }
    if !free && !drive.is_cloudinit() {
        if let Some(unused) = naming::add_unused(&mut edit.config, id)? {
            draft.note(format!("volume '{id}' of {slot} becomes {unused}"));
        }
        return Ok(());
    }
    if let Some(name) = check::snapshot_using(&edit.config, id) {
        return Err(Error::conflict(format!(
            "unable to delete '{id}' - volume is still in use (snapshot?)"
        ))
        .hint(format!(
            "snapshot '{name}' names it: qm delsnapshot {} {name}",
            edit.vmid
        )));
    }
    match seen {
        Ok((_, info)) => {
            let listed = check::listed(id, info);
            check::no_dependants(&listed, draft.world.inventory(&id.storage)?, info)?;
            draft.note(format!("volume '{listed}' of {slot} is freed"));
            draft.push_last(Step::DestroyVolume {
                volume: listed,
                identity: info.identity.clone(),
            });
            Ok(())
        }
        Err(error) if error.kind() == crate::model::ErrorKind::NotFound => {
            draft.note(format!("volume '{id}' of {slot} does not exist any more"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The VM number in the name, for volumes whose storage cannot be asked.
fn owner_in_name(id: &VolumeId) -> Option<u32> {
    let leaf = naming::leaf(id.name.as_str());
    let rest = leaf
        .strip_prefix("vm-")
        .or_else(|| leaf.strip_prefix("base-"))?;
    rest.split('-').next()?.parse().ok()
}

/// `boot: order=scsi0;net0` without the device.
fn drop_from_boot(config: &mut VmConfig, key: &str) {
    let Some(boot) = config.get(&Section::Main, "boot") else {
        return;
    };
    let Some(order) = boot.strip_prefix("order=") else {
        return;
    };
    let left: Vec<&str> = order.split(';').filter(|d| *d != key).collect();
    if left.len() == order.split(';').count() {
        return;
    }
    if left.is_empty() {
        config.remove(&Section::Main, "boot");
    } else {
        config.set(&Section::Main, "boot", &format!("order={}", left.join(";")));
    }
}

fn write_deletes(config: &mut VmConfig, list: &[(String, bool)]) {
    let text: Vec<String> = list
        .iter()
        .map(|(k, force)| format!("{}{k}", if *force { "!" } else { "" }))
        .collect();
    if text.is_empty() {
        config.remove(&Section::Pending, "delete");
    } else {
        config.set(&Section::Pending, "delete", &text.join(","));
    }
}

fn pend_delete(config: &mut VmConfig, key: &str, force: bool) {
    let mut list = deletions(config);
    list.retain(|(k, _)| k != key);
    list.push((key.to_owned(), force));
    list.sort();
    write_deletes(config, &list);
}

fn forget_delete(config: &mut VmConfig, key: &str) {
    let list = deletions(config);
    if list.iter().any(|(k, _)| k == key) {
        let left: Vec<(String, bool)> = list.into_iter().filter(|(k, _)| k != key).collect();
        write_deletes(config, &left);
    }
}

/// An empty [PENDING] goes.
fn tidy_pending(config: &mut VmConfig) {
    if config.has_section(&Section::Pending) && config.entries(&Section::Pending).is_empty() {
        config.remove_section(&Section::Pending);
    }
}

/// Makes everything that waits in [PENDING] true, as a stopped machine does on its next change or start.
pub(super) fn apply_pending(draft: &mut Draft<'_>, edit: &mut Edit) -> Result<()> {
    if !edit.config.has_section(&Section::Pending) {
        return Ok(());
    }
    for (key, force) in deletions(&edit.config) {
        if edit.config.get(&Section::Main, &key).is_some() {
            delete_one(draft, edit, &key, force, false)?;
        }
    }
    check::section_drives(edit.vmid, &edit.config, &Section::Pending)?;
    let drives = edit.config.drives(&Section::Pending);
    for (key, value) in edit.config.entries(&Section::Pending) {
        if key == "delete" {
            continue;
        }
        let drive = drives.iter().find(|(slot, _)| slot.to_string() == key);
        match drive {
            Some((slot, drive)) => put_drive(draft, edit, *slot, drive)?,
            None => edit.config.set(&Section::Main, &key, &value),
        }
    }
    edit.config.remove_section(&Section::Pending);
    Ok(())
}
