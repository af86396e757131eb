//! Options that come from tables (VM config keys, storage properties) instead of a command's definition; checks names, not values.

use super::args::texts;
use super::verb::Keys;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// Adds the hidden argument that carries such options (see `args::normalise`).
pub fn define(command: Command, keys: Keys) -> Command {
    let about = match keys {
        Keys::None => return command,
        Keys::Vm => {
            "Every key of a VM config is an option too: --name web --memory 2048 --scsi0 local:8 --net0 virtio,bridge=vmbr0"
        }
        Keys::StorageAdd | Keys::StorageSet => {
            "Every storage property is an option too: --path /srv/vm --content images,iso --nodes a,b"
        }
    };
    command.after_help(about).arg(
        Arg::new("key")
            .long("key")
            .value_name("NAME=VALUE")
            .help("An option by name, for names this program does not list")
            .num_args(1)
            .allow_hyphen_values(true)
            .hide(true)
            .action(ArgAction::Append),
    )
}

/// Adds these options one by one, for completions; of a numbered key (`scsi0` to `scsi30`) only the first.
pub fn complete(mut command: Command, keys: Keys) -> Command {
    let mut names: Vec<String> = beginning(keys, "");
    if keys == Keys::Vm {
        names.extend(VM_NUMBERED.iter().map(|(name, _)| format!("{name}0")));
    }
    for name in names {
        if !command.get_arguments().any(|a| a.get_long() == Some(&name)) {
            let arg = Arg::new(name.clone())
                .long(name)
                .num_args(1)
                .hide_short_help(true);
            command = command.arg(arg);
        }
    }
    command
}

/// The options given, in order.
pub fn given(matches: &ArgMatches) -> Vec<(String, String)> {
    texts(matches, "key")
        .into_iter()
        .filter_map(|pair| {
            pair.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// `Some(true)`: known and boolean, `Some(false)`: known, `None`: no such key.
pub fn known(keys: Keys, name: &str) -> Option<bool> {
    match keys {
        Keys::None => None,
        Keys::Vm => vm_key(name),
        Keys::StorageAdd => storage_key(name),
        Keys::StorageSet => storage_key(name).filter(|_| !STORAGE_FIXED.contains(&name)),
    }
}

/// Keys without a number that begin so, when only one does.
pub fn beginning(keys: Keys, start: &str) -> Vec<String> {
    let table: Vec<&str> = match keys {
        Keys::None => return Vec::new(),
        Keys::Vm => VM.iter().map(|(name, _)| *name).collect(),
        Keys::StorageAdd | Keys::StorageSet => STORAGE.iter().map(|(name, _)| *name).collect(),
    };
    table
        .into_iter()
        .filter(|name| name.starts_with(start))
        .filter(|name| keys != Keys::StorageSet || !STORAGE_FIXED.contains(name))
        .map(str::to_owned)
        .collect()
}

fn vm_key(name: &str) -> Option<bool> {
    if let Some((_, boolean)) = VM.iter().find(|(known, _)| *known == name) {
        return Some(*boolean);
    }
    let split = name.find(|c: char| c.is_ascii_digit())?;
    let (base, number) = name.split_at(split);
    let plain =
        number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    let index: u32 = number.parse().ok().filter(|_| plain)?;
    VM_NUMBERED
        .iter()
        .find(|(known, count)| *known == base && index < *count)
        .map(|_| false)
}

fn storage_key(name: &str) -> Option<bool> {
    STORAGE
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, boolean)| *boolean)
}

/// VM config keys without a number; true: boolean.
const VM: &[(&str, bool)] = &[
    ("acpi", true),
    ("affinity", false),
    ("agent", false),
    ("allow-ksm", true),
    ("amd-sev", false),
    ("arch", false),
    ("args", false),
    ("audio0", false),
    ("autostart", true),
    ("balloon", false),
    ("bios", false),
    ("boot", false),
    ("bootdisk", false),
    ("cdrom", false),
    ("cicustom", false),
    ("cipassword", false),
    ("citype", false),
    ("ciupgrade", true),
    ("ciuser", false),
    ("cores", false),
    ("cpu", false),
    ("cpulimit", false),
    ("cpuunits", false),
    ("description", false),
    ("efidisk0", false),
    ("freeze", true),
    ("hookscript", false),
    ("hotplug", false),
    ("hugepages", false),
    ("import-working-storage", false),
    ("intel-tdx", false),
    ("ivshmem", false),
    ("keephugepages", true),
    ("keyboard", false),
    ("kvm", true),
    ("localtime", true),
    ("lock", false),
    ("machine", false),
    ("memory", false),
    ("migrate_downtime", false),
    ("migrate_speed", false),
    ("name", false),
    ("nameserver", false),
    ("numa", true),
    ("onboot", true),
    ("ostype", false),
    ("protection", true),
    ("reboot", true),
    ("rng0", false),
    ("scsihw", false),
    ("searchdomain", false),
    ("shares", false),
    ("smbios1", false),
    ("smp", false),
    ("sockets", false),
    ("spice_enhancements", false),
    ("sshkeys", false),
    ("startdate", false),
    ("startup", false),
    ("tablet", true),
    ("tags", false),
    ("tdf", true),
    ("template", true),
    ("tpmstate0", false),
    ("vcpus", false),
    ("vga", false),
    ("vmgenid", false),
    ("vmstatestorage", false),
    ("watchdog", false),
];

/// VM config keys with a number, and how many there are.
const VM_NUMBERED: &[(&str, u32)] = &[
    ("hostpci", 16),
    ("ide", 4),
    ("ipconfig", 32),
    ("net", 32),
    ("numa", 8),
    ("parallel", 3),
    ("sata", 6),
    ("scsi", 31),
    ("serial", 4),
    ("unused", 256),
    ("usb", 14),
    ("virtio", 16),
    ("virtiofs", 10),
];

/// Storage properties fixed once the storage exists, for every type.
const STORAGE_FIXED: &[&str] = &[
    "authsupported",
    "base",
    "datastore",
    "export",
    "iscsiprovider",
    "path",
    "portal",
    "share",
    "target",
    "thinpool",
    "vgname",
];

/// Storage properties; true: boolean.
const STORAGE: &[(&str, bool)] = &[
    ("authsupported", false),
    ("base", false),
    ("blocksize", false),
    ("bwlimit", false),
    ("comstar_hg", false),
    ("comstar_tg", false),
    ("content", false),
    ("content-dirs", false),
    ("create-base-path", true),
    ("create-subdirs", true),
    ("data-pool", false),
    ("datastore", false),
    ("disable", true),
    ("domain", false),
    ("encryption-key", false),
    ("export", false),
    ("fingerprint", false),
    ("format", false),
    ("fs-name", false),
    ("fuse", true),
    ("is_mountpoint", false),
    ("iscsiprovider", false),
    ("keyring", false),
    ("krbd", true),
    ("lio_tpg", false),
    ("master-pubkey", false),
    ("max-protected-backups", false),
    ("mkdir", true),
    ("monhost", false),
    ("mountpoint", false),
    ("namespace", false),
    ("nocow", true),
    ("nodes", false),
    ("nowritecache", true),
    ("options", false),
    ("password", false),
    ("path", false),
    ("pool", false),
    ("port", false),
    ("portal", false),
    ("preallocation", false),
    ("prune-backups", false),
    ("saferemove", true),
    ("saferemove-stepsize", false),
    ("saferemove_throughput", false),
    ("server", false),
    ("share", false),
    ("shared", true),
    ("skip-cert-verification", true),
    ("smbversion", false),
    ("snapshot-as-volume-chain", true),
    ("sparse", true),
    ("subdir", false),
    ("tagged_only", true),
    ("target", false),
    ("thinpool", false),
    ("username", false),
    ("vgname", false),
    ("zfs-base-path", false),
];
