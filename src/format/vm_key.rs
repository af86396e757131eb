//! The keys a VM config may hold, with the type of each (pve-vm 1.5); it checks single values as the file level does and knows no
//! relation between keys.

use super::property::scalar::{boolean, check_bare, is_plain_number};
use super::property::tables;
use crate::model::{Bus, Error, Result, Slot};

/// How the value of a key is checked in the file (1.3: enumerations, ranges and patterns of plain keys are not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Bool,
    Int,
    Num,
    Text,
    /// A named format of `property::scalar`.
    Format(&'static str),
    /// A table of `property::tables`.
    Property(&'static str),
    /// A drive string.
    Drive,
}

use KeyKind::{Bool, Drive, Format, Int, Num, Property, Text};

/// Keys without a number.
const PLAIN: &[(&str, KeyKind)] = &[
    ("acpi", Bool),
    ("affinity", Format("pve-cpuset")),
    ("agent", Property("agent")),
    ("allow-ksm", Bool),
    ("amd-sev", Property("amd-sev")),
    ("arch", Text),
    ("args", Text),
    ("autostart", Bool),
    ("balloon", Int),
    ("bios", Text),
    ("boot", Property("boot")),
    ("bootdisk", Format("pve-qm-bootdisk")),
    ("cdrom", Drive),
    ("cicustom", Property("cicustom")),
    ("cipassword", Text),
    ("citype", Text),
    ("ciupgrade", Bool),
    ("ciuser", Text),
    ("cores", Int),
    ("cpu", Property("cpu")),
    ("cpulimit", Num),
    ("cpuunits", Int),
    ("description", Text),
    ("freeze", Bool),
    ("hookscript", Format("pve-volume-id")),
    ("hotplug", Format("pve-hotplug-features")),
    ("hugepages", Text),
    ("intel-tdx", Property("intel-tdx")),
    ("ivshmem", Property("ivshmem")),
    ("keephugepages", Bool),
    ("keyboard", Text),
    ("kvm", Bool),
    ("localtime", Bool),
    ("lock", Text),
    ("machine", Property("machine")),
    ("memory", Property("memory")),
    ("meta", Property("meta")),
    ("migrate_downtime", Num),
    ("migrate_speed", Int),
    ("name", Format("dns-name")),
    ("nameserver", Format("address-list")),
    ("numa", Bool),
    ("onboot", Bool),
    ("ostype", Text),
    ("parent", Format("pve-configid")),
    ("protection", Bool),
    ("reboot", Bool),
    ("running-nets-host-mtu", Text),
    ("runningcpu", Text),
    ("runningmachine", Text),
    ("scsihw", Text),
    ("searchdomain", Text),
    ("shares", Int),
    ("smbios1", Property("smbios1")),
    ("snaptime", Int),
    ("smp", Int),
    ("sockets", Int),
    ("spice_enhancements", Property("spice_enhancements")),
    ("sshkeys", Format("urlencoded")),
    ("startdate", Text),
    ("startup", Format("pve-startup-order")),
    ("tablet", Bool),
    ("tags", Format("pve-tag-list")),
    ("tdf", Bool),
    ("template", Bool),
    ("vcpus", Int),
    ("vga", Property("vga")),
    ("vmgenid", Text),
    ("vmstate", Format("pve-volume-id")),
    ("vmstatestorage", Format("pve-storage-id")),
    ("watchdog", Property("watchdog")),
];

/// Keys with a number, and how many numbers there are.
const NUMBERED: &[(&str, u32, KeyKind)] = &[
    ("audio", 1, Property("audio")),
    ("hostpci", 16, Property("hostpci")),
    ("ipconfig", 32, Property("ipconfig")),
    ("net", 32, Property("net")),
    ("numa", 8, Property("numa-node")),
    ("parallel", 3, Text),
    ("rng", 1, Property("rng")),
    ("serial", 4, Text),
    ("usb", 14, Property("usb")),
    ("virtiofs", 10, Property("virtiofs")),
];

/// `None`: no such key.
pub fn kind(key: &str) -> Option<KeyKind> {
    if Slot::from_key(key).is_some() {
        return Some(Drive);
    }
    if let Some((_, kind)) = PLAIN.iter().find(|(name, _)| *name == key) {
        return Some(*kind);
    }
    let at = key.find(|c: char| c.is_ascii_digit())?;
    let (stem, number) = key.split_at(at);
    let canonical = number.len() == 1 || !number.starts_with('0');
    NUMBERED
        .iter()
        .find(|(name, count, _)| {
            *name == stem && canonical && number.parse::<u32>().is_ok_and(|n| n < *count)
        })
        .map(|(_, _, kind)| *kind)
}

/// Every key, with numbered ones as `netN`, for help texts and completions.
pub fn all() -> impl Iterator<Item = String> {
    let drives = [
        "ide", "scsi", "virtio", "sata", "efidisk", "tpmstate", "unused",
    ];
    let plain = PLAIN.iter().map(|(name, _)| (*name).to_owned());
    plain
        .chain(NUMBERED.iter().map(|(name, _, _)| format!("{name}N")))
        .chain(drives.into_iter().map(|bus| format!("{bus}N")))
}

/// The stored form of a value as the file level checks it; `NotFound` for a key that is not known.
pub fn check_value(key: &str, value: &str) -> Result<String> {
    let Some(kind) = kind(key) else {
        return Err(Error::not_found(format!("unknown setting '{key}'")));
    };
    check(kind, key, value).map_err(|text| Error::usage(format!("{key}: {}", text.trim_end())))
}

/// `Err` is the original's text, with its line end.
pub fn check(kind: KeyKind, key: &str, value: &str) -> std::result::Result<String, String> {
    let keep = |good: bool, type_word: &str| match good {
        true => Ok(value.to_owned()),
        false => Err(format!(
            "type check ('{type_word}') failed - got '{value}'\n"
        )),
    };
    if value.contains(['\r', '\n']) {
        return Err("property contains a line feed\n".to_owned());
    }
    match kind {
        Bool => boolean(value)
            .map(|on| u8::from(on).to_string())
            .ok_or_else(|| format!("type check ('boolean') failed - got '{value}'\n")),
        Int => keep(
            !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()),
            "integer",
        )
        .map(|digits| match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            number => number.to_owned(),
        }),
        Num => keep(is_plain_number(value), "number"),
        Text => {
            let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            Ok(inner.unwrap_or(value).to_owned())
        }
        Format(name) => check_bare(name, value).map(|()| value.to_owned()),
        Property(name) => {
            let table = tables::by_name(name).ok_or_else(|| format!("no table '{name}'\n"))?;
            table.parse(value).map(|_| value.to_owned())
        }
        Drive => {
            // `cdrom` is the old name of ide2.
            let slot = match key {
                "cdrom" => Slot::new(Bus::Ide, 2),
                _ => Slot::parse(key),
            };
            let slot = slot.map_err(|e| format!("{e}\n"))?;
            super::drive::check_line(slot, value).map(|()| value.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ErrorKind;

    #[test]
    fn values_are_stored_as_the_file_level_stores_them() {
        let stored = |key: &str, value: &str| check_value(key, value).ok();
        assert_eq!(stored("onboot", "Yes").as_deref(), Some("1"));
        assert_eq!(stored("cores", "007").as_deref(), Some("7"));
        assert_eq!(stored("cores", "000").as_deref(), Some("0"));
        assert_eq!(stored("cpulimit", "1.50").as_deref(), Some("1.50"));
        assert_eq!(stored("ciuser", "\"joe\"").as_deref(), Some("joe"));
        assert_eq!(stored("searchdomain", "\"").as_deref(), Some("\""));
        for (key, bad) in [
            ("cores", "-1"),
            ("cores", "+1"),
            ("cpulimit", "1e3"),
            ("cpulimit", ".5"),
            ("onboot", "2"),
            ("memory", "15"),
            ("ciuser", "a\rb"),
        ] {
            let error = check_value(key, bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{key}: {bad}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        for key in ["frobnicate", "net32", "net00", "scsi31", "unused256", ""] {
            let error = check_value(key, "1").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{key}");
            assert!(error.message().contains(key));
        }
    }
}
