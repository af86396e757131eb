//! What is wrong between storages and configs, in both directions, with evidence and a suggestion; it changes nothing.

use super::sections::Sections;
use super::{World, naming};
use crate::format::drive::Drive;
use crate::format::vm_config::Section;
use crate::model::{Identity, SnapshotName, StorageId, VmId, VolumeId, VolumeInfo};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// No config of this node has the VM number in the volume's name.
    VolumeWithoutVm,
    /// Its VM exists but names it nowhere.
    VolumeWithoutReference,
    /// Named by snapshots of its VM only.
    OnlyInSnapshot,
    /// A config names a volume that is not there.
    ReferenceWithoutVolume,
    /// The storage holds a snapshot that no section records.
    StorageSnapshotWithoutSection,
    /// A section names a snapshot that the volume does not have.
    SectionWithoutStorageSnapshot,
    /// Saved memory of a snapshot that does not exist.
    LeakedState,
    /// One volume under two storage ids, or used by two machines.
    Alias,
    /// A base image that is writable or used as a disk, or a clone without its base.
    BaseProblem,
    UnreadableImage,
    /// A storage that could not be asked, so that nothing is known about its volumes.
    StorageNotSeen,
}

/// One thing that should not be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// Volume id, `100:scsi0`, or storage id.
    pub object: String,
    pub vmid: Option<u32>,
    /// Bytes allocated (virtual size where that is unknown).
    pub bytes: Option<u64>,
    /// Seconds since the volume was created.
    pub age_s: Option<u64>,
    pub evidence: String,
    pub suggestion: String,
}

impl Finding {
    /// The volume that `audit --fix quarantine` moves to the trash: one that no config names.
    pub fn quarantinable(&self) -> Option<VolumeId> {
        use FindingKind::{LeakedState, VolumeWithoutReference, VolumeWithoutVm};
        match self.kind {
            VolumeWithoutVm | VolumeWithoutReference | LeakedState => {
                VolumeId::parse(&self.object).ok()
            }
            _ => None,
        }
    }
}

/// One place where a config names a volume.
struct Use {
    vmid: VmId,
    /// `scsi0`, `unused1`, `vmstate`.
    key: String,
    section: Section,
    cdrom: bool,
}

struct Audit<'w> {
    world: &'w World,
    /// By storage and full name.
    volumes: HashMap<(&'w str, &'w str), &'w VolumeInfo>,
    /// By storage and own name, as configs write a linked clone.
    short: HashMap<(&'w str, &'w str), &'w VolumeInfo>,
    uses: HashMap<VolumeId, Vec<Use>>,
    found: Vec<Finding>,
}

/// All findings, sorted by object, then kind.
pub fn audit(world: &World) -> Vec<Finding> {
    let mut audit = Audit {
        world,
        volumes: HashMap::new(),
        short: HashMap::new(),
        uses: HashMap::new(),
        found: Vec::new(),
    };
    audit.index_volumes();
    audit.read_configs();
    audit.volumes_and_uses();
    audit.aliases();
    audit
        .found
        .sort_by(|a, b| (&a.object, a.kind, &a.evidence).cmp(&(&b.object, b.kind, &b.evidence)));
    audit.found
}

impl<'w> Audit<'w> {
    fn index_volumes(&mut self) {
        for (storage, view) in &self.world.storages {
            let inventory = match &view.inventory {
                Ok(inventory) => inventory,
                Err(reason) => {
                    if view.section.enabled() {
                        self.found.push(Finding {
                            kind: FindingKind::StorageNotSeen,
                            object: storage.to_string(),
                            vmid: None,
                            bytes: None,
                            age_s: None,
                            evidence: reason.clone(),
                            suggestion: match reason.starts_with("no backend") {
                                true => "its volumes are neither judged nor touched; look with the storage's own tools"
                                    .to_owned(),
                                false => "bring the storage back and audit again".to_owned(),
                            },
                        });
                    }
                    continue;
                }
            };
            for info in &inventory.volumes {
                let (storage, name) = (storage.as_str(), info.name.as_str());
                self.short.insert((storage, naming::tail(name)), info);
                self.volumes.insert((storage, name), info);
            }
        }
    }

    fn volume(&self, id: &VolumeId) -> Option<&'w VolumeInfo> {
        self.volumes
            .get(&(id.storage.as_str(), id.name.as_str()))
            .copied()
    }

    fn listed(&self, id: &VolumeId) -> VolumeId {
        let short = self.short.get(&(id.storage.as_str(), id.name.as_str()));
        match short.filter(|_| self.volume(id).is_none()) {
            Some(info) => VolumeId::new(id.storage.clone(), info.name.clone()),
            None => id.clone(),
        }
    }

    /// Whether the absence of a volume means that it does not exist.
    fn was_asked(&self, storage: &StorageId) -> bool {
        match self.world.storages.get(storage) {
            Some(view) => view.inventory.is_ok(),
            None => true,
        }
    }

    fn push(
        &mut self,
        kind: FindingKind,
        id: &VolumeId,
        vmid: Option<u32>,
        evidence: String,
        suggestion: String,
    ) {
        let info = self.volume(id);
        let now = self.world.now;
        self.found.push(Finding {
            kind,
            object: id.to_string(),
            vmid: vmid.or_else(|| info.and_then(|i| i.owner)),
            bytes: info.and_then(|i| i.used.or(i.size)).map(|b| b.get()),
            age_s: info
                .and_then(|i| i.created)
                .map(|created| now.saturating_sub(created)),
            evidence,
            suggestion,
        });
    }

    fn read_configs(&mut self) {
        let world = self.world;
        for (vmid, view) in &world.machines {
            let sections = Sections::read(&view.bytes.0);
            for (section, slot, drive) in sections.drives() {
                self.read_drive(*vmid, section, slot.to_string(), &drive);
            }
            for (section, document) in sections.all() {
                let state = document.get(section, "vmstate");
                if let Some(id) = state.and_then(|s| VolumeId::parse(&s).ok()) {
                    self.add_use(&id, *vmid, section, "vmstate".to_owned(), false);
                }
            }
        }
    }

    fn add_use(
        &mut self,
        id: &VolumeId,
        vmid: VmId,
        section: &Section,
        key: String,
        cdrom: bool,
    ) -> VolumeId {
        let id = self.listed(id);
        self.uses.entry(id.clone()).or_default().push(Use {
            vmid,
            key,
            section: section.clone(),
            cdrom,
        });
        id
    }

    fn read_drive(&mut self, vmid: VmId, section: &Section, key: String, drive: &Drive) {
        let Some(id) = drive.volume() else { return };
        let iso = drive.is_cdrom() && !drive.is_cloudinit();
        let unused = key.starts_with("unused");
        let id = self.add_use(id, vmid, section, key.clone(), iso);
        if iso {
            return;
        }
        let place = match section {
            Section::Snapshot(name) => format!("{key} of snapshot '{name}'"),
            Section::Pending => format!("{key}, pending"),
            _ => key.clone(),
        };
        let Some(info) = self.volume(&id) else {
            if self.was_asked(&id.storage) {
                let reason = if self.world.storages.contains_key(&id.storage) {
                    "no such volume on its storage"
                } else {
                    "its storage is not configured"
                };
                self.push(
                    FindingKind::ReferenceWithoutVolume,
                    &id,
                    Some(vmid.get()),
                    format!("VM {vmid} names it as {place}: {reason}"),
                    match section {
                        Section::Snapshot(name) => format!("qm delsnapshot {vmid} {name}"),
                        _ => format!("restore the volume, or: qm set {vmid} --delete {key}"),
                    },
                );
            }
            return;
        };
        if let Section::Snapshot(name) = section
            && !unused
            && !drive.is_cdrom()
            && info.problem.is_none()
            && !info.snapshots.iter().any(|s| s.name == *name)
        {
            self.push(
                FindingKind::SectionWithoutStorageSnapshot,
                &id,
                Some(vmid.get()),
                format!("VM {vmid} names it as {place}, but the volume has no such snapshot"),
                format!("qm delsnapshot {vmid} {name}"),
            );
        }
    }

    fn volumes_and_uses(&mut self) {
        let world = self.world;
        let vmids: HashSet<u32> = world
            .vmids
            .iter()
            .chain(world.machines.keys())
            .map(|v| v.get())
            .collect();
        let tails: HashSet<(&StorageId, &str)> = world
            .storages
            .iter()
            .filter_map(|(id, view)| Some((id, view.inventory.as_ref().ok()?)))
            .flat_map(|(id, inventory)| {
                inventory
                    .volumes
                    .iter()
                    .map(move |v| (id, naming::tail(v.name.as_str())))
            })
            .collect();
        for (storage, view) in &world.storages {
            let Ok(inventory) = &view.inventory else {
                continue;
            };
            for info in &inventory.volumes {
                let id = VolumeId::new(storage.clone(), info.name.clone());
                self.one_volume(&id, info, &vmids);
                self.base(&id, info, &tails);
            }
        }
    }

    fn one_volume(&mut self, id: &VolumeId, info: &VolumeInfo, vmids: &HashSet<u32>) {
        if let Some(problem) = &info.problem {
            self.push(
                FindingKind::UnreadableImage,
                id,
                None,
                problem.clone(),
                "restore it from a backup, or look at it with qemu-img check".to_owned(),
            );
        }
        if naming::untrash_name(&info.name).is_some() {
            return;
        }
        let uses = self.uses.get(id).map_or(&[][..], Vec::as_slice);
        let now = uses
            .iter()
            .any(|u| !matches!(u.section, Section::Snapshot(_)));
        let quarantine =
            format!("qm rescan, or: volvisor audit --fix quarantine (moves {id} to the trash)");
        let Some(owner) = info.owner else { return };
        if naming::is_state(&info.name, info.owner) {
            if uses.is_empty() {
                let evidence = format!("no snapshot of VM {owner} names this memory state");
                self.push(
                    FindingKind::LeakedState,
                    id,
                    None,
                    evidence,
                    format!("pvesm free {id}"),
                );
            }
        } else if uses.is_empty() && !vmids.contains(&owner) {
            let evidence = format!("there is no VM {owner} on this node");
            let suggestion =
                format!("create VM {owner} and run qm rescan, or: volvisor audit --fix quarantine");
            self.push(FindingKind::VolumeWithoutVm, id, None, evidence, suggestion);
        } else if uses.is_empty() {
            let evidence =
                format!("VM {owner} names it neither now, nor pending, nor in a snapshot");
            self.push(
                FindingKind::VolumeWithoutReference,
                id,
                None,
                evidence,
                quarantine,
            );
        } else if !now {
            let names: Vec<String> = uses
                .iter()
                .filter_map(|u| match &u.section {
                    Section::Snapshot(name) => Some(format!("{}:{name}", u.vmid)),
                    _ => None,
                })
                .collect();
            let evidence = format!("named only by snapshots {}", names.join(", "));
            let suggestion = format!(
                "keep it as long as these snapshots; qm rescan lists it as unused in VM {owner}"
            );
            self.push(FindingKind::OnlyInSnapshot, id, None, evidence, suggestion);
        }
        self.storage_snapshots(id, info);
    }

    fn storage_snapshots(&mut self, id: &VolumeId, info: &VolumeInfo) {
        if info.snapshots.is_empty() {
            return;
        }
        let recorded: HashSet<&str> = self
            .uses
            .get(id)
            .into_iter()
            .flatten()
            .filter_map(|u| match &u.section {
                Section::Snapshot(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        let lost: Vec<_> = info
            .snapshots
            .iter()
            .filter(|s| !recorded.contains(s.name.as_str()) && SnapshotName::parse(&s.name).is_ok())
            .map(|s| (s.name.clone(), s.method))
            .collect();
        for (name, method) in lost {
            let suggestion = match SnapshotName::parse(&name) {
                Ok(_) => format!("volvisor volume delsnapshot {id} {name}"),
                Err(_) => format!(
                    "delete snapshot '{name}' of {id} with the storage's own tool ({method}): its name is not one of ours"
                ),
            };
            let evidence = format!(
                "the storage holds snapshot '{name}', no section of a VM config records it on this volume"
            );
            self.push(
                FindingKind::StorageSnapshotWithoutSection,
                id,
                None,
                evidence,
                suggestion,
            );
        }
    }

    fn base(&mut self, id: &VolumeId, info: &VolumeInfo, tails: &HashSet<(&StorageId, &str)>) {
        if info.is_base && !info.read_only && info.problem.is_none() {
            self.push(
                FindingKind::BaseProblem,
                id,
                None,
                "a base image that is not write-protected: writing to it breaks every clone"
                    .to_owned(),
                "make it read-only again".to_owned(),
            );
        }
        let own = naming::tail(info.name.as_str());
        let whole = info.name.as_str();
        if own.len() < whole.len() {
            let base = &whole[..whole.len() - own.len() - 1];
            if !tails.contains(&(&id.storage, base)) {
                self.push(
                    FindingKind::BaseProblem,
                    id,
                    None,
                    format!("a linked clone of '{base}', which does not exist"),
                    "restore the base image under its name".to_owned(),
                );
            }
        }
        if info.is_base {
            let user = self.uses.get(id).into_iter().flatten().find(|u| {
                matches!(u.section, Section::Main)
                    && !u.key.starts_with("unused")
                    && Some(u.vmid.get()) != info.owner
            });
            if let Some(user) = user {
                let evidence = format!(
                    "VM {} uses a base image as its disk {}",
                    user.vmid, user.key
                );
                self.push(
                    FindingKind::BaseProblem,
                    id,
                    None,
                    evidence,
                    "use a clone of it".to_owned(),
                );
            }
        }
    }

    fn aliases(&mut self) {
        let mut seen: HashSet<&Identity> = HashSet::new();
        let twice: HashSet<&Identity> = self
            .volumes
            .values()
            .map(|info| &info.identity)
            .filter(|identity| !seen.insert(identity))
            .collect();
        let mut by_identity: BTreeMap<&Identity, Vec<VolumeId>> = BTreeMap::new();
        for (storage, view) in &self.world.storages {
            let volumes = view.inventory.iter().flat_map(|i| &i.volumes);
            for info in volumes.filter(|info| twice.contains(&info.identity)) {
                let id = VolumeId::new(storage.clone(), info.name.clone());
                by_identity.entry(&info.identity).or_default().push(id);
            }
        }
        let mut found: Vec<(VolumeId, Option<u32>, String, String)> = Vec::new();
        for (_, mut ids) in by_identity {
            if ids.len() < 2 {
                continue;
            }
            ids.sort_by_key(ToString::to_string);
            for other in &ids[1..] {
                found.push((
                    other.clone(),
                    None,
                    format!("the same volume as '{}'", ids[0]),
                    "let only one storage of storage.cfg name this place".to_owned(),
                ));
            }
        }
        for (id, uses) in &self.uses {
            let mut users: Vec<&Use> = uses
                .iter()
                .filter(|u| {
                    !u.cdrom && matches!(u.section, Section::Main) && !u.key.starts_with("unused")
                })
                .collect();
            users.sort_by_key(|u| (u.vmid, u.key.clone()));
            if users.len() > 1 {
                let places: Vec<String> = users
                    .iter()
                    .map(|u| format!("VM {} ({})", u.vmid, u.key))
                    .collect();
                found.push((
                    id.clone(),
                    Some(users[1].vmid.get()),
                    format!("used more than once: {}", places.join(", ")),
                    format!(
                        "detach it from all but one: qm set {} --delete {}",
                        users[1].vmid, users[1].key
                    ),
                ));
            }
        }
        for (id, vmid, evidence, suggestion) in found {
            self.push(FindingKind::Alias, &id, vmid, evidence, suggestion);
        }
    }
}
