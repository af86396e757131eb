//! Doing and undoing single steps, exactly as the plan says; it chooses nothing.

use super::control::Control;
use super::journal::{Journal, Record};
use super::swap::{Replay, Swap};
use super::{Engine, lease, machine};
use crate::backend::{Backend, OpenMode, Scope};
use crate::block::copy_range;
use crate::model::{
    Error, ErrorKind, OpId, Outcome, Result, SnapshotName, StorageId, Text, VmId, VolumeId,
    VolumeName,
};
use crate::plan::Step;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A step's view of the journal.
pub struct StepScope<'a> {
    pub journal: &'a RefCell<Journal>,
    pub op: OpId,
    pub step: usize,
}

impl Scope for StepScope<'_> {
    fn op(&self) -> &OpId {
        &self.op
    }
    fn note(&self, key: &str, value: &str) -> Result<()> {
        let record = Record::Note {
            step: self.step,
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.journal.borrow_mut().append(&[record])
    }
    fn noted(&self, key: &str) -> Option<String> {
        self.journal.borrow().story.noted(self.step, key)
    }
}

/// Facts measured while a step ran.
pub type Measured = Vec<(String, String)>;

impl Engine {
    /// `again`: the step may already have happened (partly) before a crash.
    pub(super) fn apply_step(
        &self,
        step: &Step,
        scope: &StepScope<'_>,
        again: bool,
    ) -> Result<(Outcome, Measured)> {
        let plain = |outcome: Result<Outcome>| outcome.map(|o| (o, Vec::new()));
        match step {
            Step::WriteConfig {
                vmid,
                before,
                after,
            } => {
                // The first write of an operation refuses a text that nobody looked at; later ones go on with it.
                let merge = again || scope.step > 0;
                plain(self.swap_config(*vmid, before.as_ref(), after.as_ref(), merge))
            }
            Step::WriteStorageCfg { before, after } => {
                plain(self.swap_storage_cfg(before.as_ref(), Some(after), again))
            }
            Step::CreateVolume { storage, spec } => {
                plain(self.on_storage(storage, |b| b.create(spec, scope)))
            }
            Step::CloneVolume { storage, spec } => {
                plain(self.on_storage(storage, |b| b.clone_from(spec, scope)))
            }
            Step::CopyVolume {
                source,
                snapshot,
                storage,
                spec,
            } => plain(self.copy_volume(source, snapshot.as_ref(), storage, spec, scope)),
            Step::DestroyVolume { volume, identity } => {
                plain(self.on_storage(&volume.storage, |b| b.destroy(&volume.name, Some(identity))))
            }
            Step::ResizeVolume {
                volume, to, live, ..
            } => plain(self.resize_volume(volume, *to, *live)),
            Step::RenameVolume {
                storage,
                from,
                to,
                identity,
            } => plain(self.on_storage(storage, |b| {
                let inventory = b.inventory()?;
                match (inventory.find(from), inventory.find(to)) {
                    (Some(seen), _) if seen.identity != *identity => Err(moved(storage, from)),
                    (None, Some(seen)) if seen.identity == *identity => {
                        b.repair(to).map(|_| Outcome::AlreadySo)
                    }
                    _ => b.rename(from, to),
                }
            })),
            Step::ProtectVolume { volume, read_only } => plain(
                self.backend(&volume.storage)?
                    .protect(&volume.name, *read_only),
            ),
            Step::SnapshotGroup {
                volumes,
                name,
                live,
                created,
            } => self.snapshot_group(volumes, name, *live, *created),
            Step::DestroySnapshots {
                volumes,
                name,
                live,
            } => plain(self.destroy_snapshots(volumes, name, *live)),
            Step::RollbackVolume {
                volume,
                name,
                identity,
            } => {
                let backend = self.backend(&volume.storage)?;
                // A rollback may give the volume a new identity, so it is compared only before the first try.
                if !again {
                    let inventory = backend.inventory()?;
                    if inventory
                        .find(&volume.name)
                        .is_none_or(|seen| seen.identity != *identity)
                    {
                        return Err(moved(&volume.storage, &volume.name));
                    }
                }
                plain(backend.rollback(&volume.name, name, scope))
            }
            Step::StartMachine { vmid, paused } => {
                self.bury(*vmid);
                plain(machine::start(self.paths(), *vmid, *paused))
            }
            Step::StopMachine {
                vmid,
                how,
                timeout_s,
            } => plain(machine::stop(self.paths(), *vmid, *how, *timeout_s)),
        }
    }

    /// Undoes a step that was begun, done or not. Steps that have no undo are left (the plan's commit point forbids them here).
    pub(super) fn undo_step(&self, step: &Step, scope: &StepScope<'_>) -> Result<Outcome> {
        match step {
            Step::WriteConfig {
                vmid,
                before,
                after,
            } => self.swap_config(*vmid, after.as_ref(), before.as_ref(), true),
            Step::WriteStorageCfg { before, after } => {
                self.swap_storage_cfg(Some(after), before.as_ref(), true)
            }
            Step::CreateVolume { storage, spec } | Step::CopyVolume { storage, spec, .. } => {
                self.on_storage(storage, |b| b.withdraw(&spec.name, scope))
            }
            Step::CloneVolume { storage, spec } => {
                self.on_storage(storage, |b| b.withdraw(&spec.target, scope))
            }
            Step::RenameVolume {
                storage,
                from,
                to,
                identity,
            } => self.on_storage(storage, |b| {
                let inventory = b.inventory()?;
                match (inventory.find(to), inventory.find(from)) {
                    (Some(seen), None) if seen.identity == *identity => b.rename(to, from),
                    (_, Some(seen)) if seen.identity == *identity => {
                        b.repair(from).map(|_| Outcome::AlreadySo)
                    }
                    _ => Err(moved(storage, to)),
                }
            }),
            Step::ProtectVolume { volume, read_only } => self
                .backend(&volume.storage)?
                .protect(&volume.name, !read_only),
            Step::SnapshotGroup {
                volumes,
                name,
                live,
                ..
            } => {
                let live = live.filter(|vmid| self.answers(*vmid));
                self.destroy_snapshots(volumes, name, live)
            }
            Step::StartMachine { vmid, .. } => {
                machine::stop(self.paths(), *vmid, crate::plan::step::StopHow::Stop, 10)
            }
            Step::DestroyVolume { .. }
            | Step::ResizeVolume { .. }
            | Step::DestroySnapshots { .. }
            | Step::RollbackVolume { .. }
            | Step::StopMachine { .. } => Ok(Outcome::AlreadySo),
        }
    }

    /// After a crash inside a step: make the volumes it touches whole in themselves before anything else looks at them.
    pub(super) fn mend_step(&self, step: &Step) -> Result<()> {
        for (storage, name) in touched(step) {
            let held_open = match step {
                Step::SnapshotGroup { live, .. }
                | Step::DestroySnapshots { live, .. }
                | Step::ResizeVolume { live, .. } => live.is_some_and(|vmid| self.answers(vmid)),
                _ => false,
            };
            if !held_open {
                match self.backend(&storage)?.repair(&name) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The machine runs and can be talked to. One that was just killed closes its socket before it is gone: it is waited for,
    /// so that its volumes are free afterwards.
    fn answers(&self, vmid: VmId) -> bool {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while self.running(vmid).is_some() {
            let reached = Control::connect(&self.paths().machine_control(vmid)).is_ok();
            if reached || std::time::Instant::now() >= until {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        false
    }

    fn on_storage<T>(
        &self,
        storage: &StorageId,
        work: impl FnOnce(&dyn Backend) -> Result<T>,
    ) -> Result<T> {
        let backend = self.backend(storage)?;
        lease::with_proxmox_lock(&self.paths().storage_lock(storage.as_str()), || {
            work(backend.as_ref())
        })
    }

    fn swap_config(
        &self,
        vmid: VmId,
        from: Option<&Text>,
        to: Option<&Text>,
        merge: bool,
    ) -> Result<Outcome> {
        let path = self.paths().vm_config(vmid);
        let swap = Swap {
            path: &path,
            what: format!("config of VM {vmid}"),
            journals: self.paths().journal_dir(),
            replay: merge.then_some(crate::format::vm_config::merge::replay as Replay),
        };
        lease::with_proxmox_lock(&self.paths().vm_lock(vmid), || swap.run(from, to))
    }

    fn swap_storage_cfg(
        &self,
        from: Option<&Text>,
        to: Option<&Text>,
        merge: bool,
    ) -> Result<Outcome> {
        let path = self.paths().storage_cfg();
        let swap = Swap {
            path: &path,
            what: "storage.cfg".to_owned(),
            journals: self.paths().journal_dir(),
            replay: merge.then_some(crate::format::storage_cfg::merge::replay as Replay),
        };
        lease::with_proxmox_lock(&self.paths().storage_lock("storage.cfg"), || {
            swap.run(from, to)
        })
    }

    fn copy_volume(
        &self,
        source: &VolumeId,
        snapshot: Option<&SnapshotName>,
        storage: &StorageId,
        spec: &crate::model::CreateSpec,
        scope: &StepScope<'_>,
    ) -> Result<Outcome> {
        self.on_storage(storage, |b| b.create(spec, scope))?;
        let from =
            self.backend(&source.storage)?
                .open(&source.name, snapshot, OpenMode::ReadOnly)?;
        let to = self
            .backend(storage)?
            .open(&spec.name, None, OpenMode::ReadWrite)?;
        copy_range(from.as_ref(), to.as_ref(), &mut |_, _| {})?;
        to.flush()?;
        Ok(Outcome::Changed)
    }

    fn resize_volume(
        &self,
        volume: &VolumeId,
        to: crate::model::ByteCount,
        live: Option<VmId>,
    ) -> Result<Outcome> {
        match live.filter(|vmid| self.answers(*vmid)) {
            None => self.backend(&volume.storage)?.resize(&volume.name, to),
            Some(vmid) => {
                let device = self.device_of(vmid, volume)?;
                let mut control = Control::connect(&self.paths().machine_control(vmid))?;
                control.execute(
                    "block_resize",
                    json!({ "device": device, "size": to.get() }),
                )?;
                Ok(Outcome::Changed)
            }
        }
    }

    /// The drive slot under which the machine holds the volume open.
    fn device_of(&self, vmid: VmId, volume: &VolumeId) -> Result<String> {
        let (_, config) = self.vm_config(vmid)?;
        let drives = config.drives(&crate::format::vm_config::Section::Main);
        drives
            .into_iter()
            .find(|(slot, drive)| !slot.is_unused() && drive.volume() == Some(volume))
            .map(|(slot, _)| slot.to_string())
            .ok_or_else(|| {
                Error::not_found(format!("VM {vmid} has no drive with volume '{volume}'"))
            })
    }

    fn snapshot_group(
        &self,
        volumes: &[VolumeId],
        name: &SnapshotName,
        live: Option<VmId>,
        created: u64,
    ) -> Result<(Outcome, Measured)> {
        match live.filter(|vmid| self.answers(*vmid)) {
            None => {
                let mut outcome = Outcome::AlreadySo;
                for (storage, names) in by_storage(volumes) {
                    if self.backend(&storage)?.snapshot(&names, name, created)? == Outcome::Changed
                    {
                        outcome = Outcome::Changed;
                    }
                }
                Ok((
                    outcome,
                    vec![("consistency".to_owned(), "offline".to_owned())],
                ))
            }
            Some(vmid) => self.snapshot_live(vmid, volumes, name, created),
        }
    }

    fn snapshot_live(
        &self,
        vmid: VmId,
        volumes: &[VolumeId],
        name: &SnapshotName,
        created: u64,
    ) -> Result<(Outcome, Measured)> {
        let devices = volumes
            .iter()
            .map(|v| self.device_of(vmid, v))
            .collect::<Result<Vec<_>>>()?;
        let mut control = Control::connect(&self.paths().machine_control(vmid))?;
        // Everything that can be asked beforehand is asked while the guest runs.
        let mut wanted = Vec::new();
        for device in &devices {
            let names = snapshot_names(&mut control, device)?;
            if !names.iter().any(|n| n == name.as_str()) {
                wanted.push(json!({ "device": device, "name": name.as_str(), "created": created }));
            }
        }
        let mut outcome = Outcome::AlreadySo;
        let begun = control.execute("x-snapshot-begin", json!({ "timeout_ms": 30_000 }))?;
        for arguments in wanted {
            control.execute("x-snapshot-volume", arguments)?;
            outcome = Outcome::Changed;
        }
        let ended = control.execute("x-snapshot-end", json!({}))?;
        let micros = |value: &Value, key: &str| {
            value
                .get(key)
                .and_then(Value::as_u64)
                .unwrap_or(0)
                .to_string()
        };
        Ok((
            outcome,
            vec![
                (
                    "consistency".to_owned(),
                    "crash-consistent (drained and flushed, vCPUs paused)".to_owned(),
                ),
                ("drain_us".to_owned(), micros(&begun, "drain_us")),
                ("pause_us".to_owned(), micros(&ended, "pause_us")),
                ("skew_us".to_owned(), micros(&ended, "skew_us")),
            ],
        ))
    }

    fn destroy_snapshots(
        &self,
        volumes: &[VolumeId],
        name: &SnapshotName,
        live: Option<VmId>,
    ) -> Result<Outcome> {
        let live = live.filter(|vmid| self.answers(*vmid));
        let mut outcome = Outcome::AlreadySo;
        let mut offline = Vec::new();
        for volume in volumes {
            // A volume that was detached since is not open in the machine.
            match live.map(|vmid| (vmid, self.device_of(vmid, volume))) {
                Some((vmid, Ok(device))) => {
                    let mut control = Control::connect(&self.paths().machine_control(vmid))?;
                    if snapshot_names(&mut control, &device)?
                        .iter()
                        .any(|n| n == name.as_str())
                    {
                        control.execute(
                            "x-snapshot-delete",
                            json!({ "device": device, "name": name.as_str() }),
                        )?;
                        outcome = Outcome::Changed;
                    }
                }
                _ => offline.push(volume.clone()),
            }
        }
        for (storage, names) in by_storage(&offline) {
            let what: Vec<(VolumeName, SnapshotName)> =
                names.into_iter().map(|n| (n, name.clone())).collect();
            match self.backend(&storage)?.destroy_snapshots(&what) {
                Ok(Outcome::Changed) => outcome = Outcome::Changed,
                Ok(Outcome::AlreadySo) => {}
                // Gone with its snapshots: that is what was wanted.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(outcome)
    }
}

fn moved(storage: &StorageId, name: &VolumeName) -> Error {
    Error::conflict(format!(
        "volume '{storage}:{name}' is not the one that was planned for"
    ))
    .hint("somebody replaced it meanwhile; look at it and give the command again")
}

fn snapshot_names(control: &mut Control, device: &str) -> Result<Vec<String>> {
    let answer = control.execute("x-snapshot-names", json!({ "device": device }))?;
    let list = answer
        .as_array()
        .or_else(|| answer.get("names").and_then(Value::as_array))
        .cloned()
        .unwrap_or_default();
    Ok(list
        .iter()
        .filter_map(|n| n.as_str().map(str::to_owned))
        .collect())
}

fn by_storage(volumes: &[VolumeId]) -> BTreeMap<StorageId, Vec<VolumeName>> {
    let mut groups: BTreeMap<StorageId, Vec<VolumeName>> = BTreeMap::new();
    for volume in volumes {
        groups
            .entry(volume.storage.clone())
            .or_default()
            .push(volume.name.clone());
    }
    groups
}

/// Volumes whose own metadata a step may have been changing.
pub(super) fn touched(step: &Step) -> Vec<(StorageId, VolumeName)> {
    let pair = |v: &VolumeId| (v.storage.clone(), v.name.clone());
    match step {
        Step::WriteConfig { .. }
        | Step::WriteStorageCfg { .. }
        | Step::StartMachine { .. }
        | Step::StopMachine { .. } => Vec::new(),
        Step::CreateVolume { storage, spec } => vec![(storage.clone(), spec.name.clone())],
        Step::CloneVolume { storage, spec } => vec![
            (storage.clone(), spec.source.clone()),
            (storage.clone(), spec.target.clone()),
        ],
        Step::CopyVolume {
            source,
            storage,
            spec,
            ..
        } => vec![pair(source), (storage.clone(), spec.name.clone())],
        Step::RenameVolume {
            storage, from, to, ..
        } => vec![
            (storage.clone(), from.clone()),
            (storage.clone(), to.clone()),
        ],
        Step::DestroyVolume { volume, .. }
        | Step::ResizeVolume { volume, .. }
        | Step::ProtectVolume { volume, .. }
        | Step::RollbackVolume { volume, .. } => vec![pair(volume)],
        Step::SnapshotGroup { volumes, .. } | Step::DestroySnapshots { volumes, .. } => {
            volumes.iter().map(pair).collect()
        }
    }
}
