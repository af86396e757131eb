//! What the suite needs: throw-away grounds, notes of an operation, contents that can be told apart, and a backend that has
//! every image checked after every verb.

use crate::support::{qemu, skip};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use volvisor::backend::{Backend, OpenMode, Scope};
use volvisor::block::BlockDevice;
use volvisor::format::storage_cfg::StorageSection;
use volvisor::model::{
    ByteCount, CloneSpec, ContentType, CreateSpec, Error, Facts, Identity, ImageFormat, Inventory,
    OpId, Outcome, Preallocation, Result, SnapshotName, Space, StorageId, StorageKind, VolumeInfo,
    VolumeName,
};

/// What is tested of a backend.
#[derive(Clone, Copy)]
pub struct Abilities {
    pub format: ImageFormat,
    pub snapshots: bool,
}

pub const MIB: u64 = 1 << 20;
pub const SIZE: u64 = 3 * MIB;

/// A directory whose subdirectories become storages.
pub struct Ground {
    path: PathBuf,
    loop_file: Option<PathBuf>,
    count: Cell<u32>,
}

impl Ground {
    pub fn new(name: &str) -> Self {
        let base = Path::new("/dev/shm");
        let base = if base.is_dir() {
            base.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = base.join(format!("volvisor-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Ground {
            path,
            loop_file: None,
            count: Cell::new(0),
        }
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn fresh(&self) -> PathBuf {
        self.count.set(self.count.get() + 1);
        let path = self.path.join(format!("store{}", self.count.get()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Base images carry the immutable attribute where the file system has it.
        let _ = Command::new("chattr")
            .args(["-f", "-R", "-i"])
            .arg(&self.path)
            .output();
        if let Some(file) = &self.loop_file {
            let _ = Command::new("umount").arg(&self.path).output();
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn run(program: &str, arguments: &[&str]) -> std::result::Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}

/// A fresh file system on a loop device; `None` (said) where that cannot be had.
pub fn mounted(name: &str, mkfs: &[&str], mib: u64) -> Option<Ground> {
    let mut ground = Ground::new(name);
    let file = std::env::temp_dir().join(format!("volvisor-{name}-{}.img", std::process::id()));
    let image = std::fs::File::create(&file).unwrap();
    image.set_len(mib * MIB).unwrap();
    let shown = file.display().to_string();
    let target = ground.path.display().to_string();
    let mut arguments = mkfs[1..].to_vec();
    arguments.push(&shown);
    let done =
        run(mkfs[0], &arguments).and_then(|()| run("mount", &["-o", "loop", &shown, &target]));
    if let Err(why) = done {
        skip(&format!("{name}: {why}"));
        let _ = std::fs::remove_file(&file);
        return None;
    }
    ground.loop_file = Some(file);
    Some(ground)
}

/// A memory file system of this many bytes; `None` (said) where that cannot be had.
pub fn small_memory(name: &str, bytes: u64) -> Option<Ground> {
    let mut ground = Ground::new(name);
    let target = ground.path.display().to_string();
    let size = format!("size={bytes}");
    if let Err(why) = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &target]) {
        skip(&format!("{name}: {why}"));
        return None;
    }
    ground.loop_file = Some(ground.path.join("no-file"));
    Some(ground)
}

pub fn section(path: &Path, more: &[(&str, &str)]) -> StorageSection {
    let mut properties = vec![("path".to_owned(), path.display().to_string())];
    properties.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    StorageSection {
        id: StorageId::parse("store").unwrap(),
        kind: Some(StorageKind::Dir),
        type_word: "dir".to_owned(),
        properties,
        content: vec![ContentType::Images],
        broken: None,
    }
}

pub fn dir_backend(path: &Path) -> Box<dyn Backend> {
    volvisor::backend::open(&section(path, &[]))
        .unwrap()
        .unwrap()
}

/// Notes of one operation.
pub struct Notes {
    op: OpId,
    notes: RefCell<BTreeMap<String, String>>,
}

impl Notes {
    pub fn new(op: &str) -> Self {
        Notes {
            op: OpId::parse(op).unwrap(),
            notes: RefCell::default(),
        }
    }
}

impl Scope for Notes {
    fn op(&self) -> &OpId {
        &self.op
    }
    fn note(&self, key: &str, value: &str) -> Result<()> {
        self.notes
            .borrow_mut()
            .insert(key.to_owned(), value.to_owned());
        Ok(())
    }
    fn noted(&self, key: &str) -> Option<String> {
        self.notes.borrow().get(key).cloned()
    }
}

pub fn volume(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}
pub fn snap(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}
pub fn disk(vmid: u32, number: u32, format: ImageFormat) -> VolumeName {
    volume(&format!("{vmid}/vm-{vmid}-disk-{number}.{format}"))
}
pub fn new_disk(name: &VolumeName, abilities: Abilities) -> CreateSpec {
    CreateSpec {
        name: name.clone(),
        size: ByteCount(SIZE),
        format: abilities.format,
        preallocation: Preallocation::Off,
    }
}
pub fn info(backend: &dyn Backend, name: &VolumeName) -> Option<VolumeInfo> {
    backend.inventory().unwrap().find(name).cloned()
}
pub fn make(backend: &dyn Backend, name: &VolumeName, abilities: Abilities) {
    let done = backend.create(&new_disk(name, abilities), &Notes::new("make"));
    assert_eq!(done.unwrap(), Outcome::Changed);
}

/// Something different for every seed, at the start, in the middle, across a cluster's edge and at the very end.
pub fn write(backend: &dyn Backend, name: &VolumeName, seed: u8) {
    let device = backend.open(name, None, OpenMode::ReadWrite).unwrap();
    let size = device.geometry().size.get();
    let bytes: Vec<u8> = (0..9000u32)
        .map(|i| (i as u8).wrapping_mul(7) ^ seed)
        .collect();
    for at in [
        0,
        65_536 - 300,
        u64::from(seed) * 40_960 % (2 * MIB),
        size - bytes.len() as u64,
    ] {
        device.write_at(at, &bytes).unwrap();
    }
    device.flush().unwrap();
}

pub fn bytes_of(device: &Arc<dyn BlockDevice>) -> Vec<u8> {
    let mut bytes = vec![0xAA; device.geometry().size.get() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

pub fn read(backend: &dyn Backend, name: &VolumeName, at: Option<&SnapshotName>) -> Vec<u8> {
    bytes_of(&backend.open(name, at, OpenMode::ReadOnly).unwrap())
}

pub fn same(what: &str, expected: &[u8], got: &[u8]) {
    assert_eq!(expected.len(), got.len(), "{what}: sizes differ");
    if let Some(at) = expected.iter().zip(got).position(|(a, b)| a != b) {
        panic!("{what}: bytes differ first at {at}");
    }
}

pub fn kind<T>(result: Result<T>) -> volvisor::model::ErrorKind {
    match result {
        Ok(_) => panic!("should have been refused"),
        Err(error) => error.kind(),
    }
}

/// Has QEMU check every qcow2 image after every verb that changes something.
pub struct Checked {
    inner: Box<dyn Backend>,
}

impl Checked {
    pub fn new(inner: Box<dyn Backend>) -> Self {
        Checked { inner }
    }

    fn after<T>(&self, verb: &str, result: Result<T>) -> Result<T> {
        let inventory = self.inner.inventory().unwrap_or_default();
        for volume in inventory.volumes {
            assert_eq!(volume.problem, None, "after {verb}: {}", volume.name);
            let path = self.inner.path(&volume.name, None).unwrap();
            if volume.format != ImageFormat::Qcow2 || !path.exists() {
                continue;
            }
            let args = ["check", "-f", "qcow2", path.to_str().unwrap()];
            match qemu("qemu-img", &args) {
                Err(error) => skip(&format!("qemu-img check: {error}")),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(
                        output.status.success() || said.contains("lock"),
                        "after {verb}: qemu-img check {}: {}{said}",
                        path.display(),
                        String::from_utf8_lossy(&output.stdout)
                    );
                }
            }
        }
        result
    }
}

impl Backend for Checked {
    fn id(&self) -> &StorageId {
        self.inner.id()
    }
    fn facts(&self) -> Facts {
        self.inner.facts()
    }
    fn space(&self) -> Result<Space> {
        self.inner.space()
    }
    fn inventory(&self) -> Result<Inventory> {
        self.inner.inventory()
    }
    fn path(&self, name: &VolumeName, snapshot: Option<&SnapshotName>) -> Result<PathBuf> {
        self.inner.path(name, snapshot)
    }
    fn create(&self, spec: &CreateSpec, scope: &dyn Scope) -> Result<Outcome> {
        self.after("create", self.inner.create(spec, scope))
    }
    fn clone_from(&self, spec: &CloneSpec, scope: &dyn Scope) -> Result<Outcome> {
        self.after("clone", self.inner.clone_from(spec, scope))
    }
    fn withdraw(&self, name: &VolumeName, scope: &dyn Scope) -> Result<Outcome> {
        self.after("withdraw", self.inner.withdraw(name, scope))
    }
    fn destroy(&self, name: &VolumeName, identity: Option<&Identity>) -> Result<Outcome> {
        self.after("destroy", self.inner.destroy(name, identity))
    }
    fn resize(&self, name: &VolumeName, size: ByteCount) -> Result<Outcome> {
        self.after("resize", self.inner.resize(name, size))
    }
    fn snapshot(
        &self,
        names: &[VolumeName],
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome> {
        self.after("snapshot", self.inner.snapshot(names, snapshot, created))
    }
    fn destroy_snapshots(&self, what: &[(VolumeName, SnapshotName)]) -> Result<Outcome> {
        self.after("destroy snapshots", self.inner.destroy_snapshots(what))
    }
    fn rollback(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
        scope: &dyn Scope,
    ) -> Result<Outcome> {
        self.after("rollback", self.inner.rollback(name, snapshot, scope))
    }
    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<Outcome> {
        self.after("rename", self.inner.rename(from, to))
    }
    fn protect(&self, name: &VolumeName, read_only: bool) -> Result<Outcome> {
        self.after("protect", self.inner.protect(name, read_only))
    }
    fn open(
        &self,
        name: &VolumeName,
        snapshot: Option<&SnapshotName>,
        mode: OpenMode,
    ) -> Result<Arc<dyn BlockDevice>> {
        self.inner.open(name, snapshot, mode)
    }
    fn repair(&self, name: &VolumeName) -> Result<Outcome> {
        self.after("repair", self.inner.repair(name))
    }
}

/// For messages.
pub fn said<T>(result: Result<T>) -> String {
    result.map_or_else(|e: Error| e.full_text(), |_| "no error".to_owned())
}
