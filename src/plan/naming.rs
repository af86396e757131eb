//! Names that planners choose: unusedN, MACs, uuids, base and trash names; the randomness is the world's, nothing is looked up.

use super::World;
use crate::format::drive::DriveFile;
use crate::format::vm_config::{Section, VmConfig};
use crate::model::{Bus, Error, Result, Slot, VolumeId, VolumeName};

/// 32 bytes that depend on the world's entropy and the label only.
fn fresh(world: &World, label: &str) -> [u8; 32] {
    *blake3::keyed_hash(&world.entropy, label.as_bytes()).as_bytes()
}

/// A version 4 UUID in lower case.
pub(super) fn uuid(world: &World, label: &str) -> String {
    let mut b = fresh(world, label);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b[..16].iter().map(|x| format!("{x:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..32]
    )
}

/// A MAC address with the vendor prefix Proxmox VE uses by default.
pub(super) fn mac(world: &World, label: &str) -> String {
    let b = fresh(world, label);
    format!("BC:24:11:{:02X}:{:02X}:{:02X}", b[0], b[1], b[2])
}

/// `virtio,bridge=vmbr0` gets a MAC; with `renew` also one that has a MAC gets another.
pub(super) fn net_with_mac(world: &World, label: &str, value: &str, renew: bool) -> String {
    let address = mac(world, label);
    let mut items: Vec<String> = value.split(',').map(str::to_owned).collect();
    for item in &mut items {
        if let Some((key, old)) = item.split_once('=')
            && is_mac(old)
        {
            if renew {
                *item = format!("{key}={address}");
            }
            return items.join(",");
        }
    }
    if let Some(model) = items
        .iter_mut()
        .find(|i| !i.contains('=') || i.starts_with("model="))
    {
        let word = model.strip_prefix("model=").unwrap_or(model).to_owned();
        *model = format!("{word}={address}");
    }
    items.join(",")
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The own part of a volume name: without the base that a linked clone's name carries.
/// `100/base-100-disk-0.raw/101/vm-101-disk-0.qcow2` gives `101/vm-101-disk-0.qcow2`.
pub(super) fn tail(name: &str) -> &str {
    let slashes: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
    match slashes.len() {
        3 => &name[slashes[1] + 1..],
        1 if !name.starts_with(|c: char| c.is_ascii_digit()) => &name[slashes[0] + 1..],
        _ => name,
    }
}

/// Name without any directory.
pub(super) fn leaf(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The same name with another last component.
fn with_leaf(name: &VolumeName, leaf_text: &str) -> Result<VolumeName> {
    let whole = name.as_str();
    let front = &whole[..whole.len() - leaf(whole).len()];
    VolumeName::parse(&format!("{front}{leaf_text}"))
}

/// `vm-100-disk-0` as a base image: `base-100-disk-0`. `None` when it is no `vm-` name.
pub(super) fn base_name(name: &VolumeName) -> Option<VolumeName> {
    let rest = leaf(name.as_str()).strip_prefix("vm-")?;
    with_leaf(name, &format!("base-{rest}")).ok()
}

const TRASH: &str = "trash-";

/// Where the part after `vm-100-` begins; 0 for names of other shapes.
fn after_owner(leaf: &str) -> usize {
    for prefix in ["vm-", "base-", "subvol-", "basevol-"] {
        if let Some(rest) = leaf.strip_prefix(prefix) {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 && rest[digits..].starts_with('-') {
                return prefix.len() + digits + 1;
            }
        }
    }
    0
}

/// `vm-100-disk-0.raw` in the trash until `expires`: `vm-100-trash-1700000000-disk-0.raw`.
pub(super) fn trash_name(name: &VolumeName, expires: u64) -> Result<VolumeName> {
    let leaf_text = leaf(name.as_str());
    let (owner, rest) = leaf_text.split_at(after_owner(leaf_text));
    with_leaf(name, &format!("{owner}{TRASH}{expires}-{rest}"))
}

/// The name before it was trashed and when it expires (seconds since 1970); `None` when it is not in the trash.
pub fn untrash_name(name: &VolumeName) -> Option<(VolumeName, u64)> {
    let leaf_text = leaf(name.as_str());
    let (owner, rest) = leaf_text.split_at(after_owner(leaf_text));
    let (stamp, rest) = rest.strip_prefix(TRASH)?.split_once('-')?;
    if stamp.len() < 9 || !stamp.bytes().all(|b| b.is_ascii_digit()) || rest.is_empty() {
        return None;
    }
    let expires = stamp.parse().ok()?;
    Some((with_leaf(name, &format!("{owner}{rest}")).ok()?, expires))
}

/// `vm-100-state-...`: a saved memory state, never an `unusedN`.
pub(super) fn is_state(name: &VolumeName, owner: Option<u32>) -> bool {
    owner.is_some_and(|o| leaf(name.as_str()).starts_with(&format!("vm-{o}-state-")))
}

pub(super) fn is_cloudinit(name: &VolumeName) -> bool {
    let text = leaf(name.as_str());
    let rest = &text[after_owner(text)..];
    after_owner(text) > 0
        && (rest == "cloudinit"
            || rest
                .strip_prefix("cloudinit.")
                .is_some_and(|ext| !ext.contains('-')))
}

/// Records the volume as unused in the lowest free slot, unless a drive or another `unusedN` of the main section names it.
pub(super) fn add_unused(config: &mut VmConfig, volume: &VolumeId) -> Result<Option<Slot>> {
    let named = config
        .drives(&Section::Main)
        .iter()
        .any(|(_, d)| matches!(&d.file, DriveFile::Volume(v) if v == volume));
    if named {
        return Ok(None);
    }
    for index in 0..Bus::Unused.count() {
        let slot = Slot::new(Bus::Unused, index)?;
        if config.get(&Section::Main, &slot.to_string()).is_none() {
            config.set(&Section::Main, &slot.to_string(), &volume.to_string());
            return Ok(Some(slot));
        }
    }
    Err(
        Error::conflict("Too many unused volumes - please delete them first.")
            .hint("free or detach entries with: qm set VMID --delete unused0"),
    )
}

/// Removes every `unusedN` that names the volume.
pub(super) fn drop_unused(config: &mut VmConfig, volume: &VolumeId) -> Vec<Slot> {
    let named: Vec<Slot> = config
        .drives(&Section::Main)
        .into_iter()
        .filter(|(slot, d)| slot.is_unused() && d.volume() == Some(volume))
        .map(|(slot, _)| slot)
        .collect();
    for slot in &named {
        config.remove(&Section::Main, &slot.to_string());
    }
    named
}
