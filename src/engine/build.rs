//! From a VM config to the machine that will be built: a description (shown by `qm showcmd`), then open devices; starts nothing.

use super::Engine;
use crate::backend::OpenMode;
use crate::block::BlockDevice;
use crate::block::file::{FileOptions, RawFile};
use crate::format::drive::{Drive, DriveFile};
use crate::format::vm_config::{Section, VmConfig};
use crate::format::volname;
use crate::model::{ContentType, Error, Result, Slot, VmId, VolumeId};
use crate::sys::fs;
use crate::vmm::{DriveSpec, Firmware, MachineSpec};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One drive as it will be attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrivePlan {
    pub slot: Slot,
    pub volume: VolumeId,
    /// What the guest sees; every bus is served as virtio-blk for now.
    pub device: &'static str,
    pub serial: String,
    pub read_only: bool,
    pub write_cache: bool,
}

/// The machine as it will be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachinePlan {
    pub vmid: VmId,
    pub name: String,
    pub memory_mib: u32,
    pub cpus: u8,
    /// `test-guest` or the path of a ROM image.
    pub firmware: Option<String>,
    pub drives: Vec<DrivePlan>,
    pub serial_socket: PathBuf,
    pub serial_log: PathBuf,
    pub control_socket: PathBuf,
    /// Config keys that ask for devices this machine does not have.
    pub ignored: Vec<String>,
}

fn number(config: &VmConfig, key: &str, default: u32) -> Result<u32> {
    match config.get(&Section::Main, key) {
        None => Ok(default),
        Some(text) => {
            let digits = text.strip_prefix("current=").unwrap_or(&text);
            digits
                .parse()
                .map_err(|_| Error::usage(format!("'{key}: {text}' is not a number")))
        }
    }
}

/// `args: -bios test-guest` or `-bios FILE`; anything else in `args` belongs to another program and is refused.
fn firmware(config: &VmConfig, vmid: VmId) -> Result<Option<String>> {
    let Some(args) = config.get(&Section::Main, "args") else {
        return Ok(None);
    };
    let words: Vec<&str> = args.split_whitespace().collect();
    match words[..] {
        ["-bios", rom] => Ok(Some(rom.to_owned())),
        _ => Err(Error::unsupported(format!(
            "VM {vmid}: this machine understands only '-bios ROM' in args, not '{args}'"
        ))
        .hint(format!(
            "set it with: qm set {vmid} --args '-bios test-guest'"
        ))),
    }
}

fn attach(slot: Slot, drive: &Drive) -> Option<DrivePlan> {
    let volume = match &drive.file {
        DriveFile::Volume(volume) => volume.clone(),
        _ => return None,
    };
    let cache = drive.get("cache").unwrap_or("none");
    let serial: String = drive
        .get("serial")
        .map_or_else(|| slot.to_string(), str::to_owned)
        .chars()
        .take(20)
        .collect();
    Some(DrivePlan {
        slot,
        volume,
        device: "virtio-blk-pci",
        serial,
        read_only: drive.get("ro") == Some("1") || drive.is_cdrom(),
        write_cache: !matches!(cache, "writethrough" | "directsync"),
    })
}

impl Engine {
    /// What `qm start` would build; opens nothing.
    pub fn machine_plan(&self, vmid: VmId) -> Result<MachinePlan> {
        let (_, config) = self.vm_config(vmid)?;
        let cpus = number(&config, "cores", 1)?.saturating_mul(number(&config, "sockets", 1)?);
        let mut ignored = Vec::new();
        let mut drives = Vec::new();
        for (slot, drive) in config.drives(&Section::Main) {
            if slot.is_unused() {
                continue;
            }
            match attach(slot, &drive) {
                Some(plan) => drives.push(plan),
                None => ignored.push(format!("{slot}: {drive}")),
            }
        }
        let absent = [
            "net", "hostpci", "usb", "parallel", "audio", "vga", "rng", "watchdog",
        ];
        for (key, value) in config.entries(&Section::Main) {
            if absent.iter().any(|a| {
                key.strip_prefix(a)
                    .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
            }) {
                ignored.push(format!("{key}: {value}"));
            }
        }
        Ok(MachinePlan {
            vmid,
            name: config
                .get(&Section::Main, "name")
                .unwrap_or_else(|| format!("VM{vmid}")),
            memory_mib: number(&config, "memory", 512)?,
            cpus: u8::try_from(cpus)
                .ok()
                .filter(|n| (1..=64).contains(n))
                .ok_or_else(|| {
                    Error::usage(format!("VM {vmid} wants {cpus} CPUs"))
                        .hint("this machine has 1 to 64")
                })?,
            firmware: firmware(&config, vmid)?,
            drives,
            serial_socket: self.paths().machine_serial(vmid),
            serial_log: self.paths().serial_log(vmid),
            control_socket: self.paths().machine_control(vmid),
            ignored,
        })
    }

    /// Opens every volume and gives the machine to run. The process that calls this holds the volumes' locks until it ends.
    pub fn machine_spec(&self, plan: &MachinePlan, paused: bool) -> Result<MachineSpec> {
        let vmid = plan.vmid;
        let firmware = match plan.firmware.as_deref() {
            Some("test-guest") => Firmware::TestGuest,
            Some(path) => Firmware::Rom(fs::read_file(std::path::Path::new(path), 16 << 20)?),
            None => {
                return Err(Error::unsupported(format!(
                    "VM {vmid} has no program to boot: no firmware is configured"
                ))
                .hint(format!(
                    "give it one with: qm set {vmid} --args '-bios test-guest' (or a ROM file)"
                )));
            }
        };
        let mut drives = Vec::new();
        for drive in &plan.drives {
            drives.push(DriveSpec {
                id: drive.slot.to_string(),
                device: self.open_drive(drive)?,
                serial: drive.serial.clone(),
                read_only: drive.read_only,
                write_cache: drive.write_cache,
            });
        }
        for path in [&plan.serial_log, &plan.control_socket] {
            if let Some(dir) = path.parent() {
                fs::create_dirs(dir)?;
            }
        }
        Ok(MachineSpec {
            name: plan.name.clone(),
            vmid: vmid.get(),
            memory_mib: plan.memory_mib,
            cpus: plan.cpus,
            firmware,
            drives,
            serial_log: plan.serial_log.clone(),
            serial_socket: plan.serial_socket.clone(),
            control_socket: plan.control_socket.clone(),
            paused,
        })
    }

    /// Disk images by their backend; install media, which no backend lists, as the raw files they are.
    fn open_drive(&self, drive: &DrivePlan) -> Result<Arc<dyn BlockDevice>> {
        let id = &drive.volume;
        let section = self.section(&id.storage)?;
        let parts = section
            .kind
            .and_then(|kind| volname::parse(kind, id.name.as_str()).ok());
        if drive.read_only && parts.is_some_and(|p| p.content == ContentType::Iso) {
            let path = volname::host_path(&section, id.name.as_str(), None)?;
            let options = FileOptions {
                writable: false,
                direct: false,
            };
            return Ok(Arc::new(RawFile::open(Path::new(&path), options)?));
        }
        let mode = if drive.read_only {
            OpenMode::ReadOnly
        } else {
            OpenMode::ReadWrite
        };
        self.backend(&id.storage)?.open(&id.name, None, mode)
    }

    /// The whole life of a machine process: registers itself, opens the volumes, runs, cleans up. Returns the exit code.
    pub fn run_machine(&self, vmid: VmId, paused: bool) -> Result<i32> {
        super::machine::register(self.paths(), vmid)?;
        let ended = self
            .machine_plan(vmid)
            .and_then(|plan| crate::vmm::run(self.machine_spec(&plan, paused)?));
        super::machine::clean_up(self.paths(), vmid);
        ended
    }
}
