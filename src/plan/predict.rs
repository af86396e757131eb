//! The world as it will be after a step, computed; never done. Tests use it to see where a plan leads.

use super::{Step, World, naming};
use crate::format::storage_cfg::StorageCfg;
use crate::format::vm_config::VmConfig;
use crate::model::{
    Error, Facts, Identity, ImageFormat, Result, SnapshotInfo, SnapshotName, StorageId, VmId,
    VolumeId, VolumeInfo, VolumeName,
};

/// A running machine of a predicted world has this process id.
const PREDICTED_PID: u32 = 1;

/// Errors are the conflicts the engine would meet: the step does not find what it expects.
pub fn predict(world: &World, step: &Step) -> Result<World> {
    let mut next = world.clone();
    apply(&mut next, step)?;
    Ok(next)
}

/// `predict` over a whole plan.
pub fn predict_all(world: &World, steps: &[Step]) -> Result<World> {
    let mut next = world.clone();
    for step in steps {
        apply(&mut next, step)?;
    }
    Ok(next)
}

fn apply(world: &mut World, step: &Step) -> Result<()> {
    match step {
        Step::WriteConfig {
            vmid,
            before,
            after,
        } => write_config(world, *vmid, before.as_ref(), after.as_ref()),
        Step::WriteStorageCfg { before, after } => {
            if world.storage_cfg.as_ref().map(|(t, _)| t) != before.as_ref() {
                return Err(Error::conflict("storage.cfg is not as the plan saw it"));
            }
            world.storage_cfg = Some((after.clone(), StorageCfg::parse(&after.0)));
            Ok(())
        }
        Step::CreateVolume { storage, spec } => {
            add(world, storage, &spec.name, spec.format, Some(spec.size))
        }
        Step::CloneVolume { storage, spec } => {
            let source = VolumeId::new(storage.clone(), spec.source.clone());
            let size = volume(world, &source)?.size;
            add(world, storage, &spec.target, spec.format, size)
        }
        Step::CopyVolume { storage, spec, .. } => {
            add(world, storage, &spec.name, spec.format, Some(spec.size))
        }
        Step::DestroyVolume {
            volume: id,
            identity,
        } => {
            same(volume(world, id)?, id, identity)?;
            let volumes = volumes(world, &id.storage)?;
            volumes.retain(|v| v.name != id.name);
            Ok(())
        }
        Step::ResizeVolume { volume: id, to, .. } => {
            volume(world, id)?.size = Some(*to);
            Ok(())
        }
        Step::RenameVolume {
            storage,
            from,
            to,
            identity,
        } => rename(world, storage, from, to, identity),
        Step::ProtectVolume {
            volume: id,
            read_only,
        } => {
            volume(world, id)?.read_only = *read_only;
            Ok(())
        }
        Step::SnapshotGroup {
            volumes,
            name,
            created,
            ..
        } => volumes
            .iter()
            .try_for_each(|id| take_snapshot(world, id, name, *created)),
        Step::DestroySnapshots { volumes, name, .. } => {
            for id in volumes {
                volume(world, id)?
                    .snapshots
                    .retain(|s| s.name != name.as_str());
            }
            Ok(())
        }
        Step::RollbackVolume {
            volume: id,
            name,
            identity,
        } => {
            let info = volume(world, id)?;
            same(info, id, identity)?;
            if !info.has_snapshot(name) {
                return Err(Error::not_found(format!("'{id}' has no snapshot '{name}'")));
            }
            Ok(())
        }
        Step::StartMachine { vmid, .. } => set_running(world, *vmid, Some(PREDICTED_PID)),
        Step::StopMachine { vmid, .. } => set_running(world, *vmid, None),
    }
}

fn set_running(world: &mut World, vmid: VmId, running: Option<u32>) -> Result<()> {
    match world.machines.get_mut(&vmid) {
        Some(view) => {
            view.running = running;
            Ok(())
        }
        None => Err(Error::not_found(format!("there is no VM {vmid}"))),
    }
}

fn write_config(
    world: &mut World,
    vmid: VmId,
    before: Option<&crate::model::Text>,
    after: Option<&crate::model::Text>,
) -> Result<()> {
    if world.machines.get(&vmid).map(|v| &v.bytes) != before {
        return Err(Error::conflict(format!(
            "{vmid}.conf is not as the plan saw it"
        )));
    }
    let running = world.machines.get(&vmid).and_then(|v| v.running);
    match after {
        Some(text) => {
            world.machines.insert(
                vmid,
                super::world::VmView {
                    bytes: text.clone(),
                    config: VmConfig::parse(&text.0),
                    running,
                },
            );
            if !world.vmids.contains(&vmid) {
                world.vmids.push(vmid);
                world.vmids.sort();
            }
        }
        None => {
            world.machines.remove(&vmid);
            world.vmids.retain(|v| *v != vmid);
        }
    }
    Ok(())
}

fn volumes<'w>(world: &'w mut World, storage: &StorageId) -> Result<&'w mut Vec<VolumeInfo>> {
    let view = world
        .storages
        .get_mut(storage)
        .ok_or_else(|| Error::not_found(format!("storage '{storage}' does not exist")))?;
    match &mut view.inventory {
        Ok(inventory) => Ok(&mut inventory.volumes),
        Err(reason) => Err(Error::failed(format!(
            "storage '{storage}' is not available: {reason}"
        ))),
    }
}

fn volume<'w>(world: &'w mut World, id: &VolumeId) -> Result<&'w mut VolumeInfo> {
    volumes(world, &id.storage)?
        .iter_mut()
        .find(|v| v.name == id.name)
        .ok_or_else(|| Error::not_found(format!("volume '{id}' does not exist")))
}

fn same(info: &VolumeInfo, id: &VolumeId, identity: &Identity) -> Result<()> {
    if info.identity == *identity {
        return Ok(());
    }
    Err(Error::conflict(format!("'{id}' is another volume now")))
}

/// The number in `101/...` or `vm-101-...`.
fn owner(name: &VolumeName) -> Option<u32> {
    let own = naming::tail(name.as_str());
    let directory = own.split_once('/').map(|(d, _)| d);
    directory
        .and_then(|d| d.parse().ok())
        .or_else(|| own.split('-').nth(1).and_then(|n| n.parse().ok()))
}

fn add(
    world: &mut World,
    storage: &StorageId,
    name: &VolumeName,
    format: ImageFormat,
    size: Option<crate::model::ByteCount>,
) -> Result<()> {
    let now = world.now;
    let list = volumes(world, storage)?;
    let own = naming::tail(name.as_str());
    if list.iter().any(|v| naming::tail(v.name.as_str()) == own) {
        return Err(Error::conflict(format!("'{storage}:{name}' exists")));
    }
    list.push(VolumeInfo {
        name: name.clone(),
        owner: owner(name),
        format,
        size,
        used: None,
        parent: (own != name.as_str())
            .then(|| name.as_str()[..name.as_str().len() - own.len() - 1].to_owned()),
        created: Some(now),
        is_base: false,
        read_only: false,
        snapshots: Vec::new(),
        identity: Identity(format!("predicted {storage}:{name}")),
        problem: None,
    });
    list.sort_by_key(|v| v.name.as_str().to_lowercase());
    Ok(())
}

fn rename(
    world: &mut World,
    storage: &StorageId,
    from: &VolumeName,
    to: &VolumeName,
    identity: &Identity,
) -> Result<()> {
    let source = VolumeId::new(storage.clone(), from.clone());
    same(volume(world, &source)?, &source, identity)?;
    if volumes(world, storage)?.iter().any(|v| v.name == *to) {
        return Err(Error::conflict(format!("'{storage}:{to}' exists")));
    }
    let info = volume(world, &source)?;
    info.name = to.clone();
    info.owner = owner(to);
    info.is_base = naming::leaf(to.as_str()).starts_with("base-");
    Ok(())
}

fn take_snapshot(
    world: &mut World,
    id: &VolumeId,
    name: &SnapshotName,
    created: u64,
) -> Result<()> {
    let facts: Option<Facts> = world
        .storages
        .get(&id.storage)
        .and_then(|v| v.facts.clone());
    let info = volume(world, id)?;
    let method = facts
        .and_then(|f| f.snapshot_method(info.format))
        .ok_or_else(|| Error::unsupported(format!("'{id}' cannot be snapshotted")))?;
    if !info.has_snapshot(name) {
        info.snapshots.push(SnapshotInfo {
            name: name.to_string(),
            created,
            method,
            id: (info.snapshots.len() + 1).to_string(),
        });
    }
    Ok(())
}
