//! A storage in memory with the full contract, for tests of planner and engine; nothing of it outlives the value.

mod device;

use super::{Backend, OpenMode, Scope};
use crate::block::BlockDevice;
use crate::format::volname;
use crate::model::{
    ByteCount, CloneMode, CloneSpec, ContentType, CreateSpec, Error, Facts, Identity, ImageFormat,
    Inventory, Outcome, Result, SnapshotInfo, SnapshotMethod, SnapshotName, Space, StorageId,
    StorageKind, VolumeInfo, VolumeName,
};
use device::{BLOCK, Blocks, MemDevice};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TOTAL: u64 = 64 << 30;

/// A frozen state.
#[derive(Clone)]
struct Kept {
    name: SnapshotName,
    created: u64,
    id: u64,
    size: u64,
    blocks: Arc<Blocks>,
}

struct Volume {
    /// Full name: with the base in a linked clone's.
    name: VolumeName,
    identity: u64,
    format: ImageFormat,
    is_base: bool,
    read_only: bool,
    /// Plain name of the base of a linked clone.
    base: Option<String>,
    size: u64,
    blocks: Arc<Blocks>,
    snapshots: Vec<Kept>,
    writers: usize,
    readers: usize,
}

#[derive(Default)]
struct State {
    /// By plain name, `100/vm-100-disk-0.raw`.
    volumes: BTreeMap<String, Volume>,
    serial: u64,
}

impl State {
    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
    fn dependents(&self, plain: &str) -> bool {
        self.volumes
            .values()
            .any(|v| v.base.as_deref() == Some(plain))
    }
    fn check_no_dependents(&self, plain: &str) -> Result<()> {
        if self.dependents(plain) {
            return Err(Error::conflict(format!(
                "base volume '{plain}' is still in use by linked clones"
            ))
            .hint("remove the clones first"));
        }
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic elsewhere leaves the maps whole: every change is made by one assignment.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One storage in memory; clones of the value see the same volumes.
#[derive(Clone)]
pub struct Mem {
    id: StorageId,
    state: Arc<Mutex<State>>,
}

/// A name taken apart.
struct Name {
    plain: String,
    base: Option<String>,
    format: ImageFormat,
    is_base: bool,
}

fn name_of(name: &VolumeName) -> Result<Name> {
    let parts = volname::parse(StorageKind::Dir, name.as_str())?;
    let format = parts
        .image_format()
        .filter(|_| parts.content == ContentType::Images)
        .ok_or_else(|| Error::unsupported(format!("volume '{name}' is not a disk image")))?;
    let pieces: Vec<&str> = name.as_str().split('/').collect();
    let (plain, base) = match pieces.as_slice() {
        [owner, leaf] => (format!("{owner}/{leaf}"), None),
        [base_owner, base, owner, leaf] => (
            format!("{owner}/{leaf}"),
            Some(format!("{base_owner}/{base}")),
        ),
        _ => {
            return Err(Error::usage(format!(
                "unable to parse directory volume name '{name}'"
            )));
        }
    };
    Ok(Name {
        plain,
        base,
        format,
        is_base: parts.is_base,
    })
}

fn check_new(name: &VolumeName, parsed: &Name) -> Result<()> {
    if parsed.plain.contains('@') || parsed.plain.len() > 160 {
        return Err(Error::usage(format!(
            "illegal name '{}' for a new volume",
            name.as_str().chars().take(60).collect::<String>()
        )));
    }
    if !matches!(parsed.format, ImageFormat::Raw | ImageFormat::Qcow2) {
        return Err(Error::unsupported(format!(
            "format '{}' is not served",
            parsed.format
        )));
    }
    Ok(())
}

fn check_size(size: ByteCount) -> Result<()> {
    if size.get() % 512 != 0 || size.get() > i64::MAX as u64 {
        return Err(Error::usage(format!(
            "size {} is not a multiple of 512 bytes or too large",
            size.get()
        )));
    }
    Ok(())
}

impl Mem {
    pub fn new(id: StorageId) -> Self {
        Mem {
            id,
            state: Arc::default(),
        }
    }

    fn with<T>(&self, name: &VolumeName, work: impl FnOnce(&mut Volume) -> Result<T>) -> Result<T> {
        let parsed = name_of(name)?;
        let mut state = lock(&self.state);
        let volume = state
            .volumes
            .get_mut(&parsed.plain)
            .ok_or_else(|| self.missing(name))?;
        work(volume)
    }

    fn missing(&self, name: &VolumeName) -> Error {
        Error::not_found(format!("volume '{}:{name}' does not exist", self.id))
    }

    fn no_snapshot(&self, name: &VolumeName, snapshot: &SnapshotName) -> Error {
        Error::not_found(format!(
            "snapshot '{snapshot}' does not exist on '{}:{name}'",
            self.id
        ))
    }

    fn busy(&self, name: &VolumeName) -> Error {
        Error::busy(format!("volume '{}:{name}' is in use", self.id))
    }

    fn insert(
        &self,
        name: &VolumeName,
        scope: &dyn Scope,
        make: impl FnOnce(&mut State) -> Result<(u64, Arc<Blocks>)>,
    ) -> Result<Outcome> {
        let parsed = name_of(name)?;
        check_new(name, &parsed)?;
        let mut state = lock(&self.state);
        let key = format!("created:{name}");
        if let Some(there) = state.volumes.get(&parsed.plain) {
            if scope.noted(&key) == Some(there.identity.to_string()) {
                return Ok(Outcome::AlreadySo);
            }
            return Err(Error::conflict(format!(
                "disk image '{}' already exists",
                parsed.plain
            )));
        }
        let (size, blocks) = make(&mut state)?;
        let identity = state.next();
        scope.note(&key, &identity.to_string())?;
        let volume = Volume {
            name: name.clone(),
            identity,
            format: parsed.format,
            is_base: parsed.is_base,
            read_only: false,
            base: parsed.base,
            size,
            blocks,
            snapshots: Vec::new(),
            writers: 0,
            readers: 0,
        };
        state.volumes.insert(parsed.plain, volume);
        Ok(Outcome::Changed)
    }
}

impl Volume {
    fn kept(&self, snapshot: &SnapshotName) -> Option<&Kept> {
        self.snapshots.iter().find(|k| k.name == *snapshot)
    }
    fn snapshot(&mut self, name: &SnapshotName, created: u64, id: u64) -> bool {
        if self.kept(name).is_some() {
            return false;
        }
        self.snapshots.push(Kept {
            name: name.clone(),
            created,
            id,
            size: self.size,
            blocks: Arc::clone(&self.blocks),
        });
        true
    }
    fn forget(&mut self, name: &SnapshotName) -> bool {
        let before = self.snapshots.len();
        self.snapshots.retain(|k| k.name != *name);
        self.snapshots.len() != before
    }
    fn info(&self) -> VolumeInfo {
        let plain = name_of(&self.name).map(|n| n.plain).unwrap_or_default();
        VolumeInfo {
            name: self.name.clone(),
            owner: plain.split('/').next().and_then(|n| n.parse().ok()),
            format: self.format,
            size: Some(ByteCount(self.size)),
            used: Some(ByteCount(self.blocks.len() as u64 * BLOCK)),
            parent: self.base.as_ref().map(|base| format!("../{base}")),
            created: None,
            is_base: self.is_base,
            read_only: self.read_only,
            snapshots: self
                .snapshots
                .iter()
                .map(|kept| SnapshotInfo {
                    name: kept.name.as_str().to_owned(),
                    created: kept.created,
                    method: SnapshotMethod::Memory,
                    id: kept.id.to_string(),
                })
                .collect(),
            identity: Identity(self.identity.to_string()),
            problem: None,
        }
    }
}

fn outcome(changed: bool) -> Outcome {
    if changed {
        Outcome::Changed
    } else {
        Outcome::AlreadySo
    }
}

impl Backend for Mem {
    fn id(&self) -> &StorageId {
        &self.id
    }

    fn facts(&self) -> Facts {
        let formats = vec![ImageFormat::Raw, ImageFormat::Qcow2];
        Facts {
            snapshot_methods: formats
                .iter()
                .map(|format| (*format, SnapshotMethod::Memory))
                .collect(),
            formats,
            default_format: ImageFormat::Raw,
            newest_only_rollback: false,
            linked_clone_formats: vec![ImageFormat::Qcow2],
            path_names: true,
            can_resize: true,
        }
    }

    fn space(&self) -> Result<Space> {
        let state = lock(&self.state);
        let used: u64 = state
            .volumes
            .values()
            .map(|v| v.blocks.len() as u64 * BLOCK)
            .sum();
        Ok(Space {
            total: ByteCount(TOTAL),
            used: ByteCount(used),
            available: ByteCount(TOTAL.saturating_sub(used)),
        })
    }

    fn inventory(&self) -> Result<Inventory> {
        let state = lock(&self.state);
        let mut volumes: Vec<VolumeInfo> = state.volumes.values().map(Volume::info).collect();
        volumes.sort_by_cached_key(|v| (v.name.as_str().to_ascii_lowercase(), v.name.clone()));
        Ok(Inventory { volumes })
    }

    /// There is no file; the path only names the volume.
    fn path(&self, name: &VolumeName, snapshot: Option<&SnapshotName>) -> Result<PathBuf> {
        let plain = name_of(name)?.plain;
        let tail = snapshot.map(|s| format!("@{s}")).unwrap_or_default();
        Ok(PathBuf::from(format!("/mem/{}/{plain}{tail}", self.id)))
    }

    fn create(&self, spec: &CreateSpec, scope: &dyn Scope) -> Result<Outcome> {
        let parsed = name_of(&spec.name)?;
        check_size(spec.size)?;
        if parsed.format != spec.format || parsed.base.is_some() {
            return Err(Error::usage(format!(
                "illegal name '{}' - wrong extension for format '{}'",
                spec.name, spec.format
            )));
        }
        self.insert(&spec.name, scope, |_| Ok((spec.size.get(), Arc::default())))
    }

    fn clone_from(&self, spec: &CloneSpec, scope: &dyn Scope) -> Result<Outcome> {
        let (source, target) = (name_of(&spec.source)?, name_of(&spec.target)?);
        let wanted_base = match spec.mode {
            CloneMode::Linked if !source.is_base || spec.snapshot.is_some() => {
                return Err(Error::unsupported(format!(
                    "volume '{}:{}' is not a base image, only those can have linked clones",
                    self.id, spec.source
                )));
            }
            CloneMode::Linked => Some(source.plain.clone()),
            CloneMode::Full => None,
        };
        if target.format != spec.format || target.base != wanted_base {
            return Err(Error::usage(format!(
                "illegal name '{}' for this clone",
                spec.target
            )));
        }
        self.insert(&spec.target, scope, |state| {
            let volume = state
                .volumes
                .get(&source.plain)
                .ok_or_else(|| self.missing(&spec.source))?;
            match &spec.snapshot {
                None if volume.writers > 0 => Err(self.busy(&spec.source)),
                None => Ok((volume.size, Arc::clone(&volume.blocks))),
                Some(snapshot) => volume
                    .kept(snapshot)
                    .map(|kept| (kept.size, Arc::clone(&kept.blocks)))
                    .ok_or_else(|| self.no_snapshot(&spec.source, snapshot)),
            }
        })
    }

    fn withdraw(&self, name: &VolumeName, scope: &dyn Scope) -> Result<Outcome> {
        let parsed = name_of(name)?;
        let noted = scope.noted(&format!("created:{name}"));
        let mut state = lock(&self.state);
        let ours = state
            .volumes
            .get(&parsed.plain)
            .is_some_and(|v| noted == Some(v.identity.to_string()));
        if ours {
            state.volumes.remove(&parsed.plain);
        }
        Ok(outcome(ours))
    }

    fn destroy(&self, name: &VolumeName, identity: Option<&Identity>) -> Result<Outcome> {
        let parsed = name_of(name)?;
        let mut state = lock(&self.state);
        let Some(volume) = state.volumes.get(&parsed.plain) else {
            return Ok(Outcome::AlreadySo);
        };
        if identity.is_some_and(|wanted| wanted.0 != volume.identity.to_string()) {
            return Err(Error::conflict(format!(
                "volume '{}:{name}' is not the one that was planned for",
                self.id
            )));
        }
        state.check_no_dependents(&parsed.plain)?;
        if volume.writers + volume.readers > 0 {
            return Err(self.busy(name));
        }
        state.volumes.remove(&parsed.plain);
        Ok(Outcome::Changed)
    }

    fn resize(&self, name: &VolumeName, size: ByteCount) -> Result<Outcome> {
        check_size(size)?;
        self.with(name, |volume| {
            if volume.read_only {
                return Err(Error::unsupported(format!(
                    "volume '{name}' is write-protected and cannot be resized"
                )));
            }
            if volume.writers > 0 {
                return Err(self.busy(name));
            }
            if size.get() < volume.size {
                return Err(Error::unsupported("shrinking disks is not supported"));
            }
            let changed = size.get() != volume.size;
            volume.size = size.get();
            Ok(outcome(changed))
        })
    }

    fn snapshot(
        &self,
        names: &[VolumeName],
        snapshot: &SnapshotName,
        created: u64,
    ) -> Result<Outcome> {
        let mut state = lock(&self.state);
        let mut keys = Vec::new();
        for name in names {
            let plain = name_of(name)?.plain;
            let volume = state
                .volumes
                .get(&plain)
                .ok_or_else(|| self.missing(name))?;
            if volume.writers > 0 {
                return Err(self.busy(name));
            }
            if volume.read_only {
                return Err(Error::unsupported(format!(
                    "volume '{name}' is write-protected and cannot be snapshotted"
                )));
            }
            keys.push(plain);
        }
        let mut changed = false;
        for key in keys {
            let id = state.next();
            if let Some(volume) = state.volumes.get_mut(&key) {
                changed |= volume.snapshot(snapshot, created, id);
            }
        }
        Ok(outcome(changed))
    }

    fn destroy_snapshots(&self, what: &[(VolumeName, SnapshotName)]) -> Result<Outcome> {
        let mut state = lock(&self.state);
        let mut changed = false;
        for (name, snapshot) in what {
            let plain = name_of(name)?.plain;
            if let Some(volume) = state.volumes.get_mut(&plain) {
                changed |= volume.forget(snapshot);
            }
        }
        Ok(outcome(changed))
    }

    fn rollback(
        &self,
        name: &VolumeName,
        snapshot: &SnapshotName,
        _scope: &dyn Scope,
    ) -> Result<Outcome> {
        self.with(name, |volume| {
            if volume.writers > 0 {
                return Err(self.busy(name));
            }
            let kept = volume
                .kept(snapshot)
                .cloned()
                .ok_or_else(|| self.no_snapshot(name, snapshot))?;
            (volume.size, volume.blocks) = (kept.size, kept.blocks);
            Ok(Outcome::Changed)
        })
    }

    fn rename(&self, from: &VolumeName, to: &VolumeName) -> Result<Outcome> {
        let (old, new) = (name_of(from)?, name_of(to)?);
        check_new(to, &new)?;
        if old.format != new.format {
            return Err(Error::usage(format!(
                "cannot rename '{from}' to '{to}': the extension decides the format"
            )));
        }
        let mut state = lock(&self.state);
        let Some(volume) = state.volumes.get(&old.plain) else {
            return match state.volumes.get(&new.plain) {
                Some(_) => Ok(Outcome::AlreadySo),
                None => Err(self.missing(from)),
            };
        };
        if old.plain == new.plain {
            return Ok(Outcome::AlreadySo);
        }
        if volume.writers + volume.readers > 0 {
            return Err(self.busy(from));
        }
        if state.volumes.contains_key(&new.plain) {
            return Err(Error::conflict(format!(
                "target image '{}:{to}' already exists",
                self.id
            )));
        }
        state.check_no_dependents(&old.plain)?;
        if let Some(mut volume) = state.volumes.remove(&old.plain) {
            // The base stays what it was, whichever form the new name has.
            let full = match &volume.base {
                Some(base) => format!("{base}/{}", new.plain),
                None => new.plain.clone(),
            };
            volume.name = VolumeName::parse(&full)?;
            volume.is_base = new.is_base;
            state.volumes.insert(new.plain, volume);
        }
        Ok(Outcome::Changed)
    }

    fn protect(&self, name: &VolumeName, read_only: bool) -> Result<Outcome> {
        let plain = name_of(name)?.plain;
        let mut state = lock(&self.state);
        let volume = state
            .volumes
            .get(&plain)
            .ok_or_else(|| self.missing(name))?;
        let (writers, now) = (volume.writers, volume.read_only);
        if now == read_only {
            return Ok(Outcome::AlreadySo);
        }
        if read_only && writers > 0 {
            return Err(self.busy(name));
        }
        if !read_only {
            state.check_no_dependents(&plain)?;
        }
        if let Some(volume) = state.volumes.get_mut(&plain) {
            volume.read_only = read_only;
        }
        Ok(Outcome::Changed)
    }

    fn open(
        &self,
        name: &VolumeName,
        snapshot: Option<&SnapshotName>,
        mode: OpenMode,
    ) -> Result<Arc<dyn BlockDevice>> {
        let plain = name_of(name)?.plain;
        let writable = mode == OpenMode::ReadWrite;
        self.with(name, |volume| {
            if let Some(snapshot) = snapshot {
                if writable {
                    return Err(Error::unsupported(format!(
                        "snapshots of volume '{name}' are read-only"
                    )));
                }
                let kept = volume
                    .kept(snapshot)
                    .ok_or_else(|| self.no_snapshot(name, snapshot))?;
                return Ok(MemDevice::frozen(kept.size, Arc::clone(&kept.blocks)));
            }
            if writable && volume.read_only {
                return Err(Error::unsupported(format!(
                    "volume '{name}' is write-protected"
                )));
            }
            if volume.writers > 0 || (writable && volume.readers > 0) {
                return Err(self.busy(name));
            }
            Ok(MemDevice::live(
                Arc::clone(&self.state),
                plain,
                volume,
                writable,
            ))
        })
        .map(|device| Arc::new(device) as Arc<dyn BlockDevice>)
    }

    fn repair(&self, name: &VolumeName) -> Result<Outcome> {
        self.with(name, |_| Ok(Outcome::AlreadySo))
    }
}
