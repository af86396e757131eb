//! Small worlds for tests of planners: storages, volumes and machines in a few words. Not used by the program.

use super::World;
use super::world::{StorageView, VmView};
use crate::format::storage_cfg::StorageSection;
use crate::format::vm_config::VmConfig;
use crate::model::{
    ByteCount, ContentType, Facts, Identity, ImageFormat, Inventory, SnapshotInfo, SnapshotMethod,
    StorageId, StorageKind, Text, VmId, VolumeId, VolumeInfo,
};

/// 2023-11-14 22:13:20 UTC.
pub const NOW: u64 = 1_700_000_000;

/// A world that is built by chained calls; every name in them must be valid.
#[derive(Debug, Clone)]
pub struct Builder {
    pub world: World,
}

/// # Panics
/// When the number is no VM id: a mistake in the test.
pub fn vmid(number: u32) -> VmId {
    VmId::new(number).expect("test worlds use valid VM ids")
}

/// # Panics
/// When the text is no volume id: a mistake in the test.
pub fn volid(text: &str) -> VolumeId {
    VolumeId::parse(text).expect("test worlds use valid volume ids")
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    pub fn new() -> Self {
        Builder {
            world: World {
                now: NOW,
                entropy: [7; 32],
                node: "n1".to_owned(),
                ..World::default()
            },
        }
    }

    /// A storage with a backend that can do what its kind can: `dir` keeps qcow2 snapshots, block kinds raw ones.
    ///
    /// # Panics
    /// When the id is not valid: a mistake in the test.
    pub fn storage(mut self, id: &str, kind: StorageKind) -> Self {
        let id = StorageId::parse(id).expect("test worlds use valid storage ids");
        let path = matches!(
            kind,
            StorageKind::Dir | StorageKind::Nfs | StorageKind::Cifs | StorageKind::Btrfs
        );
        let (methods, formats, linked) = if path {
            (
                vec![(ImageFormat::Qcow2, SnapshotMethod::Qcow2Internal)],
                vec![ImageFormat::Raw, ImageFormat::Qcow2, ImageFormat::Vmdk],
                vec![ImageFormat::Qcow2],
            )
        } else {
            (
                vec![(ImageFormat::Raw, SnapshotMethod::Zfs)],
                vec![ImageFormat::Raw],
                vec![ImageFormat::Raw],
            )
        };
        self.world.storages.insert(
            id.clone(),
            StorageView {
                section: StorageSection {
                    id,
                    kind: Some(kind),
                    type_word: kind.to_string(),
                    properties: Vec::new(),
                    content: vec![ContentType::Images],
                    broken: None,
                },
                facts: Some(Facts {
                    snapshot_methods: methods,
                    default_format: formats[0],
                    formats,
                    newest_only_rollback: kind == StorageKind::ZfsPool,
                    linked_clone_formats: linked,
                    path_names: path,
                    can_resize: true,
                }),
                inventory: Ok(Inventory::default()),
            },
        );
        self
    }

    /// The storage cannot be reached.
    ///
    /// # Panics
    /// When there is no such storage.
    pub fn offline(mut self, id: &str, reason: &str) -> Self {
        let view = self.view(id);
        view.inventory = Err(reason.to_owned());
        self
    }

    /// The storage's kind has no backend.
    ///
    /// # Panics
    /// When there is no such storage.
    pub fn without_backend(mut self, id: &str) -> Self {
        let view = self.view(id);
        view.facts = None;
        view.inventory = Err("no backend".to_owned());
        self
    }

    fn view(&mut self, id: &str) -> &mut StorageView {
        let id = StorageId::parse(id).expect("test worlds use valid storage ids");
        self.world
            .storages
            .get_mut(&id)
            .expect("the storage was added before")
    }

    /// A volume of so many GiB; format and owner follow from the name.
    ///
    /// # Panics
    /// When its storage was not added before.
    pub fn volume(self, id: &str, gib: u64) -> Self {
        self.volume_with(id, gib, |_| {})
    }

    /// # Panics
    /// When its storage was not added before.
    pub fn volume_with(mut self, id: &str, gib: u64, change: impl FnOnce(&mut VolumeInfo)) -> Self {
        let id = volid(id);
        let own = super::naming::tail(id.name.as_str()).to_owned();
        let owner = own
            .split_once('/')
            .and_then(|(d, _)| d.parse().ok())
            .or_else(|| own.split('-').nth(1).and_then(|n| n.parse().ok()));
        let mut info = VolumeInfo {
            name: id.name.clone(),
            owner,
            format: own
                .rsplit_once('.')
                .and_then(|(_, ext)| ImageFormat::parse(ext))
                .unwrap_or(ImageFormat::Raw),
            size: Some(ByteCount(gib << 30)),
            used: Some(ByteCount(gib << 20)),
            parent: None,
            created: Some(NOW - 86_400),
            is_base: super::naming::leaf(&own).starts_with("base-"),
            read_only: super::naming::leaf(&own).starts_with("base-"),
            snapshots: Vec::new(),
            identity: Identity(format!("identity of {id}")),
            problem: None,
        };
        change(&mut info);
        let storage = id.storage.to_string();
        if let Ok(inventory) = &mut self.view(&storage).inventory {
            inventory.volumes.push(info);
        }
        self
    }

    /// A machine with this config text.
    pub fn machine(mut self, number: u32, config: &str) -> Self {
        let id = vmid(number);
        self.world.machines.insert(
            id,
            VmView {
                bytes: Text::from(config),
                config: VmConfig::parse(config.as_bytes()),
                running: None,
            },
        );
        self.world.vmids.push(id);
        self
    }

    /// # Panics
    /// When there is no such machine.
    pub fn running(mut self, number: u32) -> Self {
        self.world
            .machines
            .get_mut(&vmid(number))
            .expect("the machine was added before")
            .running = Some(4_711);
        self
    }

    pub fn build(self) -> World {
        self.world
    }
}

/// One snapshot as a storage reports it.
pub fn snapshot(name: &str, created: u64, method: SnapshotMethod) -> SnapshotInfo {
    SnapshotInfo {
        name: name.to_owned(),
        created,
        method,
        id: name.to_owned(),
    }
}
