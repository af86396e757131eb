//! A plan under construction: steps, lines for people, names taken so far; it never looks outside the world it was given.

use super::naming;
use super::{Intent, Plan, Step, World};
use crate::format::storage_cfg::StorageSection;
use crate::format::vm_config::VmConfig;
use crate::format::volname;
use crate::model::{
    ByteCount, CreateSpec, Error, ImageFormat, Preallocation, Result, StorageId, Text, VmId,
    VolumeId, VolumeName,
};
use std::collections::BTreeMap;

/// What a new volume shall be; `None` means the storage's default or the next free name.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewVolume<'a> {
    pub vmid: VmId,
    pub leaf: Option<&'a str>,
    pub format: Option<ImageFormat>,
    pub size: ByteCount,
}

pub(super) struct Draft<'w> {
    pub world: &'w World,
    pub plan: Plan,
    /// Names given out by this plan that the inventory does not know yet.
    promised: BTreeMap<StorageId, Vec<String>>,
    /// Steps that may only run once the config no longer names what they remove.
    after: Vec<Step>,
}

impl<'w> Draft<'w> {
    pub fn new(world: &'w World, intent: &Intent) -> Self {
        Draft {
            world,
            plan: Plan::new(intent.clone()),
            promised: BTreeMap::new(),
            after: Vec::new(),
        }
    }
    pub fn push(&mut self, step: Step) {
        self.plan.steps.push(step);
    }
    /// Runs after everything pushed so far and later, in the order given.
    pub fn push_last(&mut self, step: Step) {
        if !self.after.contains(&step) {
            self.after.push(step);
        }
    }
    pub fn note(&mut self, line: impl Into<String>) {
        self.plan.notes.push(line.into());
    }
    pub fn done(&mut self, line: impl Into<String>) {
        self.plan.done.push(line.into());
    }
    /// The next step pushed is the one after whose start the plan is finished rather than undone.
    pub fn commit_here(&mut self) {
        self.plan.commit = self.plan.steps.len();
    }
    /// Undone unless every step is done.
    pub fn commit_at_end(&mut self) {
        self.plan.steps.append(&mut self.after);
        self.commit_here();
    }
    pub fn finish(mut self) -> Plan {
        self.plan.steps.append(&mut self.after);
        self.plan.commit = self.plan.commit.min(self.plan.steps.len());
        let (machines, storages) = touched(&self.plan);
        self.plan.machines = machines;
        self.plan.storages = storages;
        self.plan
    }

    /// Full names that cannot be given to a new volume of `vmid`.
    fn taken(&self, storage: &StorageId, vmid: VmId) -> Result<Vec<&str>> {
        let mark = format!("-{vmid}-");
        let mut names: Vec<&str> = self
            .world
            .inventory(storage)?
            .volumes
            .iter()
            .filter(|v| v.owner == Some(vmid.get()) || v.name.as_str().contains(&mark))
            .map(|v| v.name.as_str())
            .collect();
        if let Some(promised) = self.promised.get(storage) {
            names.extend(promised.iter().map(String::as_str));
        }
        Ok(names)
    }

    /// The name the next volume of `vmid` gets; it is taken from then on.
    pub fn fresh_name(
        &mut self,
        storage: &StorageId,
        vmid: VmId,
        leaf: Option<&str>,
        format: ImageFormat,
    ) -> Result<VolumeName> {
        let kind = kind_of(&self.world.storage(storage)?.section)?;
        let name = match leaf {
            None => volname::next_free(kind, vmid, format, &self.taken(storage, vmid)?)
                .map_err(|e| storage_in_message(e, storage, vmid))?,
            Some(leaf) => {
                let name = volname::named(kind, vmid, leaf, format)?;
                if self
                    .taken(storage, vmid)?
                    .iter()
                    .any(|n| naming::tail(n) == naming::tail(name.as_str()))
                {
                    return Err(Error::conflict(format!(
                        "volume '{storage}:{name}' already exists"
                    ))
                    .hint(format!(
                        "choose another name, or see what it is: pvesm list {storage} --vmid {vmid}"
                    )));
                }
                name
            }
        };
        self.promised
            .entry(storage.clone())
            .or_default()
            .push(name.as_str().to_owned());
        Ok(name)
    }

    /// Pushes the step that makes the volume.
    pub fn create_volume(
        &mut self,
        storage: &StorageId,
        wish: NewVolume<'_>,
    ) -> Result<(VolumeId, CreateSpec)> {
        let view = self.world.storage(storage)?;
        let facts = self.world.facts(storage)?;
        self.world.inventory(storage)?;
        let format = wish
            .format
            .or_else(|| wish.leaf.and_then(format_of_leaf))
            .unwrap_or(facts.default_format);
        if !facts.formats.contains(&format) {
            let known: Vec<&str> = facts.formats.iter().map(|f| f.as_str()).collect();
            return Err(Error::usage(format!(
                "storage '{storage}' (type '{}') cannot hold format '{format}'",
                view.section.type_word
            ))
            .hint(format!("use one of: {}", known.join(", "))));
        }
        if wish.size.get() == 0 {
            return Err(Error::usage(format!(
                "a new volume on '{storage}' needs a size greater than 0"
            )));
        }
        let preallocation = preallocation(&view.section, format);
        let name = self.fresh_name(storage, wish.vmid, wish.leaf, format)?;
        let spec = CreateSpec {
            name: name.clone(),
            size: wish.size,
            format,
            preallocation,
        };
        self.push(Step::CreateVolume {
            storage: storage.clone(),
            spec: spec.clone(),
        });
        Ok((VolumeId::new(storage.clone(), name), spec))
    }
}

fn storage_in_message(error: Error, storage: &StorageId, vmid: VmId) -> Error {
    if error.message().contains("unable to allocate") {
        return Error::new(
            error.kind(),
            format!("unable to allocate an image name for VM {vmid} in storage '{storage}'"),
        );
    }
    error
}

/// The storage's kind, or why its names cannot be read.
pub(super) fn kind_of(section: &StorageSection) -> Result<crate::model::StorageKind> {
    section.kind.ok_or_else(|| {
        Error::unsupported(format!(
            "storage '{}' has the unknown type '{}'",
            section.id, section.type_word
        ))
    })
}

/// Format named by the extension of `vm-100-disk-0.qcow2`.
pub(super) fn format_of_leaf(leaf: &str) -> Option<ImageFormat> {
    ImageFormat::parse(leaf.rsplit_once('.')?.1)
}

/// The storage's setting; without one, metadata for qcow2 and nothing for the rest.
pub(super) fn preallocation(section: &StorageSection, format: ImageFormat) -> Preallocation {
    let wanted = section.get("preallocation").and_then(Preallocation::parse);
    match (format, wanted) {
        (ImageFormat::Qcow2, wanted) => wanted.unwrap_or(Preallocation::Metadata),
        // There is no metadata to prepare in a raw image.
        (_, Some(Preallocation::Metadata) | None) => Preallocation::Off,
        (_, Some(wanted)) => wanted,
    }
}

/// Machines and storages a plan has to hold while it runs.
fn touched(plan: &Plan) -> (Vec<VmId>, Vec<StorageId>) {
    let mut machines: Vec<VmId> = plan.intent.vmid().into_iter().collect();
    let mut storages = Vec::new();
    for step in &plan.steps {
        match step {
            Step::WriteConfig { vmid, .. }
            | Step::StartMachine { vmid, .. }
            | Step::StopMachine { vmid, .. } => machines.push(*vmid),
            Step::CreateVolume { storage, .. }
            | Step::CloneVolume { storage, .. }
            | Step::CopyVolume { storage, .. }
            | Step::RenameVolume { storage, .. } => storages.push(storage.clone()),
            Step::DestroyVolume { volume, .. } => storages.push(volume.storage.clone()),
            Step::SnapshotGroup { live, .. }
            | Step::DestroySnapshots { live, .. }
            | Step::ResizeVolume { live, .. } => machines.extend(*live),
            Step::ProtectVolume { .. }
            | Step::RollbackVolume { .. }
            | Step::WriteStorageCfg { .. } => {}
        }
    }
    if let Intent::VmClone { newid, .. } = &plan.intent {
        machines.push(*newid);
    }
    machines.sort();
    machines.dedup();
    storages.sort();
    storages.dedup();
    (machines, storages)
}

/// One config on its way from the text that was seen to the texts the steps write.
pub(super) struct Edit {
    pub vmid: VmId,
    before: Option<Text>,
    pub config: VmConfig,
}

impl Edit {
    pub fn open(world: &World, vmid: VmId) -> Result<Self> {
        let view = world.machine(vmid)?;
        Ok(Edit {
            vmid,
            before: Some(view.bytes.clone()),
            config: view.config.clone(),
        })
    }
    /// A machine that does not exist yet.
    pub fn fresh(vmid: VmId) -> Self {
        Edit {
            vmid,
            before: None,
            config: VmConfig::parse(b""),
        }
    }
    /// Pushes a write when the text differs from the one written last; says whether it did.
    pub fn save(&mut self, draft: &mut Draft<'_>) -> bool {
        let text = self.config.to_bytes();
        self.save_text(draft, text)
    }
    /// As `save`, for a text made another way.
    pub fn save_text(&mut self, draft: &mut Draft<'_>, text: Vec<u8>) -> bool {
        let after = Text(text);
        if self.before.as_ref() == Some(&after) {
            return false;
        }
        draft.push(Step::WriteConfig {
            vmid: self.vmid,
            before: self.before.replace(after.clone()),
            after: Some(after),
        });
        true
    }
    /// Pushes the removal of the file as it was written last.
    pub fn remove_file(&mut self, draft: &mut Draft<'_>) {
        draft.push(Step::WriteConfig {
            vmid: self.vmid,
            before: self.before.take(),
            after: None,
        });
    }
}
