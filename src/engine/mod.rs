//! The loop: observe, plan, journal, apply, recover. It executes plans without choices of its own.

mod apply;
pub mod build;
pub mod control;
pub mod journal;
pub mod lease;
pub mod machine;
mod measured;
mod observe;
pub mod paths;
mod recover;
mod run;
mod saved;
mod swap;
mod task;

pub use observe::node_name;
pub use paths::Paths;
pub use task::Task;

use crate::backend::Backend;
use crate::format::storage_cfg::{StorageCfg, StorageSection};
use crate::format::vm_config::VmConfig;
use crate::model::{Error, ErrorKind, OpId, Outcome, Result, StorageId, Text, VmId};
use crate::plan::{Intent, Plan};
use crate::sys::fs;

/// Proxmox's cluster file system holds files up to this size.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Which part of the world to observe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// What planning this intent needs.
    For(Box<Intent>),
    /// Every storage and every machine (audit, rescan).
    Everything,
}

/// What one run did.
#[derive(Debug)]
pub struct Report {
    /// `None`: there was nothing to do.
    pub op: Option<OpId>,
    pub plan: Plan,
    pub outcome: Outcome,
    /// Facts measured while running (`pause_us`, `skew_us`, `consistency`), for people and JSON.
    pub measured: Vec<(String, String)>,
}

/// A machine process of ours that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    /// Unix seconds.
    pub since: u64,
}

/// The shell around the pure core, for one root directory. Holds no state between calls.
#[derive(Debug)]
pub struct Engine {
    paths: Paths,
}

impl Engine {
    pub fn open(paths: Paths) -> Self {
        Engine { paths }
    }

    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The file's text (`None`: no file) and its reading.
    pub fn storage_cfg(&self) -> Result<(Option<Text>, StorageCfg)> {
        match fs::read_file(&self.paths.storage_cfg(), MAX_CONFIG_BYTES * 4) {
            Ok(bytes) => {
                let cfg = StorageCfg::parse(&bytes);
                Ok((Some(Text(bytes)), cfg))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok((None, StorageCfg::parse(b""))),
            Err(e) => Err(e),
        }
    }

    /// Storages as configured, with the implied `local` of Proxmox; below another root than `/` that one lies in the
    /// root too, and is not implied where the root has no such directory.
    pub fn sections(&self) -> Result<Vec<StorageSection>> {
        Ok(self.rooted(&self.storage_cfg()?.1))
    }

    fn rooted(&self, cfg: &StorageCfg) -> Vec<StorageSection> {
        let mut sections = cfg.sections();
        if self.paths.root() == std::path::Path::new("/") {
            return sections;
        }
        // Proxmox overrules a `local` elsewhere; in a root of its own, what the file says is what was meant.
        if let Some(written) = cfg.written_local()
            && let Some(local) = sections.iter_mut().find(|s| s.id == written.id)
        {
            *local = written;
        }
        let inside = self.paths.root().join("var/lib/vz");
        let is_implied =
            |s: &StorageSection| s.id.as_str() == "local" && s.get("path") == Some("/var/lib/vz");
        sections.retain(|s| !is_implied(s) || inside.is_dir());
        for section in sections.iter_mut().filter(|s| is_implied(s)) {
            for (_, value) in section
                .properties
                .iter_mut()
                .filter(|(key, _)| key == "path")
            {
                *value = inside.display().to_string();
            }
        }
        sections
    }

    pub fn section(&self, id: &StorageId) -> Result<StorageSection> {
        self.sections()?
            .into_iter()
            .find(|s| s.id == *id)
            .ok_or_else(|| {
                Error::not_found(format!("storage '{id}' does not exist"))
                    .hint("list storages with: pvesm status")
            })
    }

    /// `Unsupported` when there is no backend for its kind, `NotFound` when it is not configured, `Offline` when disabled.
    pub fn backend(&self, id: &StorageId) -> Result<Box<dyn Backend>> {
        let section = self.section(id)?;
        if let Some(reason) = &section.broken {
            return Err(Error::usage(format!(
                "section of storage '{id}' in storage.cfg is broken: {reason}"
            ))
            .hint("see: volvisor explain storage-cfg FILE"));
        }
        if !section.enabled() {
            return Err(
                Error::new(ErrorKind::Offline, format!("storage '{id}' is disabled"))
                    .hint(format!("enable it with: pvesm set {id} --disable 0")),
            );
        }
        crate::backend::open(&section)?.ok_or_else(|| {
            Error::unsupported(format!(
                "storage '{id}' has type '{}', for which there is no backend yet",
                section.type_word
            ))
            .hint("it stays listed and untouched; volumes can be kept on storages of type dir")
        })
    }

    /// Ids with a config on this node, ascending.
    pub fn vmids(&self) -> Result<Vec<VmId>> {
        let dir = self.paths.vm_config_dir();
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => {
                return Err(Error::io(
                    format!("cannot list configs in '{}'", dir.display()),
                    e,
                ));
            }
        };
        let mut ids: Vec<VmId> = entries
            .flatten()
            .filter_map(|e| {
                e.file_name()
                    .to_str()
                    .and_then(|n| VmId::parse(n.strip_suffix(".conf")?).ok())
            })
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    pub fn vm_config(&self, vmid: VmId) -> Result<(Text, VmConfig)> {
        match fs::read_file(&self.paths.vm_config(vmid), MAX_CONFIG_BYTES) {
            Ok(bytes) => Ok(observe::read_config(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Err(Error::not_found(format!(
                "Configuration file 'nodes/{}/qemu-server/{vmid}.conf' does not exist",
                node_name()
            ))
            .hint("list machines with: qm list")),
            Err(e) => Err(e),
        }
    }

    pub fn running(&self, vmid: VmId) -> Option<Running> {
        machine::running(&self.paths, vmid)
    }

    /// One control command (QMP shape: `execute`, `arguments`) to a running machine; its `return` value.
    pub fn control(
        &self,
        vmid: VmId,
        execute: &str,
        arguments: serde_json::Value,
    ) -> Result<serde_json::Value> {
        if self.running(vmid).is_none() {
            return Err(Error::failed(format!("VM {vmid} not running"))
                .hint(format!("start it with: qm start {vmid}")));
        }
        control::Control::connect(&self.paths.machine_control(vmid))?.execute(execute, arguments)
    }

    /// Observe and plan; changes nothing.
    pub fn plan(&self, intent: &Intent) -> Result<Plan> {
        let world = self.observe(&Look::For(Box::new(intent.clone())))?;
        let mut plan = crate::plan::plan(intent, &world)?;
        plan.seen = saved::fingerprints(&plan, &world);
        Ok(plan)
    }
}
