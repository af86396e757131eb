//! Where everything lives below one root (`/` or `--root DIR`), as Proxmox lays it out; never touches the files.

use crate::model::VmId;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// `--root`, else `VOLVISOR_ROOT`, else `/`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Paths { root: root.into() }
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn storage_cfg(&self) -> PathBuf {
        self.root.join("etc/pve/storage.cfg")
    }
    pub fn vm_config_dir(&self) -> PathBuf {
        self.root.join("etc/pve/qemu-server")
    }
    pub fn vm_config(&self, vmid: VmId) -> PathBuf {
        self.vm_config_dir().join(format!("{vmid}.conf"))
    }
    /// Proxmox's flock of one VM config.
    pub fn vm_lock(&self, vmid: VmId) -> PathBuf {
        self.root
            .join(format!("var/lock/qemu-server/lock-{vmid}.conf"))
    }
    /// Proxmox's flock of a local storage.
    pub fn storage_lock(&self, storage: &str) -> PathBuf {
        self.root
            .join(format!("var/lock/pve-manager/pve-storage-{storage}"))
    }
    /// Journals, tasks, trash records: survive a reboot.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("var/lib/volvisor")
    }
    pub fn journal_dir(&self) -> PathBuf {
        self.state_dir().join("journal")
    }
    pub fn task_dir(&self) -> PathBuf {
        self.state_dir().join("tasks")
    }
    pub fn lease_dir(&self) -> PathBuf {
        self.state_dir().join("leases")
    }
    /// Pid files, sockets: gone after a reboot.
    pub fn run_dir(&self) -> PathBuf {
        self.root.join("run/volvisor")
    }
    pub fn machine_pid(&self, vmid: VmId) -> PathBuf {
        self.run_dir().join(format!("{vmid}.pid"))
    }
    pub fn machine_control(&self, vmid: VmId) -> PathBuf {
        self.run_dir().join(format!("{vmid}.control"))
    }
    pub fn machine_serial(&self, vmid: VmId) -> PathBuf {
        self.run_dir().join(format!("{vmid}.serial0"))
    }
    pub fn machine_log(&self, vmid: VmId) -> PathBuf {
        self.root.join(format!("var/log/volvisor/{vmid}.log"))
    }
    pub fn serial_log(&self, vmid: VmId) -> PathBuf {
        self.root
            .join(format!("var/log/volvisor/{vmid}.serial0.log"))
    }
}
