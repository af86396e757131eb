//! Named formats of single values: MAC addresses, DNS names, sizes, devices of a boot order; each checks one text and changes none.

use super::is_space;
use crate::format::size::parse_disk_size;
use crate::model::{Bus, Slot, StorageId, VolumeId};

/// Words the original takes for true and false, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A number inside a property string: `12`, `-1`, `1.5`, `.5`, `1.`, `1e3`.
pub fn is_number(text: &str) -> bool {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (body, exponent) = match body.split_once(['e', 'E']) {
        Some((body, exponent)) => (body, Some(exponent)),
        None => (body, None),
    };
    let good_body = match body.split_once('.') {
        Some((whole, fraction)) => {
            (digits(whole) || digits(fraction))
                && whole
                    .bytes()
                    .chain(fraction.bytes())
                    .all(|b| b.is_ascii_digit())
        }
        None => digits(body),
    };
    good_body && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

/// A number as the value of a plain key: `12`, `1.5`.
pub fn is_plain_number(text: &str) -> bool {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(w, f)| (w, Some(f)));
    digits(whole) && fraction.is_none_or(digits)
}

/// Entries between commas, semicolons and white space.
pub fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| matches!(c, ',' | ';') || u8::try_from(c).is_ok_and(is_space))
        .filter(|entry| !entry.is_empty())
}

const PATTERN: &str = "value does not match the regex pattern";

/// Checks `value` as the named format; `Err` is what follows `key: ` in the original's message.
pub fn check_format(name: &str, value: &str) -> Result<(), String> {
    // Patterns have one sentence; functions have one each, behind "invalid format - " and with a line end of their own.
    if let Some(matches) = pattern(name, value) {
        return if matches {
            Ok(())
        } else {
            Err(PATTERN.to_owned())
        };
    }
    check_function(name, value).map_err(|text| format!("invalid format - {text}\n"))
}

fn pattern(name: &str, value: &str) -> Option<bool> {
    Some(match name {
        "ranges" => value.split(';').all(|part| match part.split_once('-') {
            Some((low, high)) => digits(low) && digits(high),
            None => digits(part),
        }),
        "machine-type" => machine_type(value),
        "wwn" => value
            .strip_prefix("0x")
            .is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit())),
        "vendor" => vendor(value, 8),
        "product" => vendor(value, 16),
        "ivshmem-name" => {
            !value.is_empty()
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }
        "version" => value.split('.').count() > 1 && value.split('.').all(digits),
        "uuid" => is_uuid(value),
        "uuid-or-flag" => is_uuid(value) || matches!(value, "0" | "1"),
        "legacy-boot" => {
            (1..=4).contains(&value.len()) && value.bytes().all(|b| b"acdn".contains(&b))
        }
        "smbios-text" => {
            let body = value.strip_suffix('=').unwrap_or(value);
            let body = body.strip_suffix('=').unwrap_or(body);
            !body.is_empty()
                && body
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
        }
        "cpu-flags" => value.split(';').all(|flag| {
            let rest = flag.strip_prefix(['+', '-']);
            rest.is_some_and(|r| {
                !r.is_empty()
                    && r.bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            })
        }),
        "hv-vendor-id" => {
            (1..=12).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric())
        }
        "pci-ids" => value.split(';').all(pci_id),
        "romfile" => !value.is_empty() && !value.contains([',', ';']),
        "mdev" => !value.is_empty() && !value.contains(['/', '.', ':']),
        "hex-id" => value
            .strip_prefix("0x")
            .is_some_and(|hex| hex.len() == 4 && hex.bytes().all(|b| b.is_ascii_hexdigit())),
        "usb-host" => usb_host(value),
        "parallel" => ["/dev/parport", "/dev/usb/lp"]
            .iter()
            .any(|p| value.strip_prefix(p).is_some_and(digits)),
        "serial-port" => {
            value == "socket"
                || value
                    .strip_prefix("/dev/")
                    .is_some_and(|r| !r.is_empty() && !r.contains(','))
        }
        "startdate" => value == "now" || startdate(value),
        _ => return None,
    })
}

fn check_function(name: &str, value: &str) -> Result<(), String> {
    let ok = |good: bool, text: &str| if good { Ok(()) } else { Err(text.to_owned()) };
    match name {
        "disk-size" => ok(
            parse_disk_size(value).is_some(),
            &format!("value does not look like a valid disk size: {value}"),
        ),
        "mac-addr" => ok(
            is_unicast_mac(value),
            "value does not look like a valid unicast MAC address",
        ),
        "dns-name" => ok(
            is_dns_name(value),
            "value does not look like a valid DNS name",
        ),
        "pve-bridge-id" => ok(
            !value.is_empty() && value.bytes().all(word_byte),
            &format!("invalid bridge ID '{value}'"),
        ),
        "pve-configid" => ok(
            is_config_id(value),
            &format!("invalid configuration ID '{value}'"),
        ),
        "pve-vmid" => ok(is_vmid(value), "value does not look like a valid VM ID"),
        "pve-storage-id" => StorageId::parse(value)
            .map(|_| ())
            .map_err(|e| e.message().to_owned()),
        "storage-pair" => id_map(value, |id| check_function("pve-storage-id", id)),
        "bridge-pair" => id_map(value, |id| check_function("pve-bridge-id", id)),
        "pve-priv" => ok(
            PRIVILEGES.contains(&value),
            &format!("invalid privilege '{value}'"),
        ),
        "pve-phys-bits" => ok(
            value == "host"
                || (digits(value)
                    && value.len() <= 2
                    && value.parse::<u8>().is_ok_and(|n| (8..=64).contains(&n))),
            "value must be an integer between 8 and 64 or 'host'",
        ),
        "urlencoded" => ok(
            is_urlencoded(value),
            &format!("invalid urlencoded string: {value}"),
        ),
        "pve-volume-id" => volume(value),
        "pve-volume-id-or-absolute-path" if value.starts_with('/') => Ok(()),
        "pve-volume-id-or-absolute-path" => volume(value),
        "pve-volume-id-or-qm-path"
            if matches!(value, "none" | "cdrom") || value.starts_with('/') =>
        {
            Ok(())
        }
        "pve-volume-id-or-qm-path" => volume(value),
        "pve-qm-bootdisk" => ok(
            Slot::parse(value).is_ok_and(|s| !s.is_unused()),
            &format!("invalid boot disk '{value}'"),
        ),
        "pve-qm-bootdev" => ok(
            is_boot_device(value),
            &format!("invalid boot device '{value}'"),
        ),
        "pve-hotplug-features" => hotplug(value),
        "pve-tag" => ok(is_tag(value), "invalid characters in tag"),
        "pve-startup-order" => ok(startup(value), "unable to parse startup options"),
        "pve-ipv4-config" => ok(
            matches!(value, "dhcp" | "manual")
                || cidr(value, 32, |a| a.parse::<core::net::Ipv4Addr>().is_ok(), 8),
            "value does not look like a valid ipv4 network configuration",
        ),
        "pve-ipv6-config" => ok(
            matches!(value, "auto" | "dhcp" | "manual")
                || cidr(value, 128, |a| a.parse::<core::net::Ipv6Addr>().is_ok(), 8),
            "value does not look like a valid ipv6 network configuration",
        ),
        "ipv4" => ok(
            value.parse::<core::net::Ipv4Addr>().is_ok(),
            "value does not look like a valid ipv4 address",
        ),
        "ipv6" => ok(
            value.parse::<core::net::Ipv6Addr>().is_ok(),
            "value does not look like a valid ipv6 address",
        ),
        "pve-cpuset" => ok(is_cpu_set(value), "unable to parse cpuset option"),
        "address" => ok(
            value.parse::<core::net::IpAddr>().is_ok() || is_dns_name(value),
            &format!("value does not look like a valid address: {value}"),
        ),
        other => match (other.strip_suffix("-list"), other.strip_suffix("-opt")) {
            (Some(entry), _) => split_list(value).try_for_each(|one| check_function(entry, one)),
            (_, Some(_)) if matches!(value, "" | "0") => Ok(()),
            (_, Some(entry)) => check_function(entry, value),
            (None, None) => Err(format!("undefined format '{other}'")),
        },
    }
}

/// What an access rule may grant (9.2).
const PRIVILEGES: [&str; 44] = [
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];

/// `1` (same name there), `source:target` pairs and one default target, in any order.
fn id_map(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
    let (mut identity, mut default, mut sources) = (false, false, Vec::new());
    for entry in split_list(text).filter(|_| text != "0") {
        let invalid = |why: String| format!("entry '{entry}' contains invalid ID - {why}\n\n");
        match entry.split_once(':') {
            _ if entry == "1" => identity = true,
            Some((source, target))
                if !source.is_empty() && !target.is_empty() && !target.contains(':') =>
            {
                check(source)
                    .and_then(|()| check(target))
                    .map_err(invalid)?;
                if sources.contains(&source) {
                    return Err(format!("duplicate mapping for source '{source}'\n"));
                }
                sources.push(source);
            }
            _ => {
                check(entry).map_err(invalid)?;
                if std::mem::replace(&mut default, true) {
                    return Err("default target ID can only be provided once\n".to_owned());
                }
            }
        }
    }
    if identity && (default || !sources.is_empty()) {
        return Err("identity mapping cannot be combined with other mappings\n".to_owned());
    }
    Ok(())
}

/// `0,5,8-11`: every range low to high.
fn is_cpu_set(text: &str) -> bool {
    let number = |t: &str| digits(t).then(|| t.parse::<u64>().unwrap_or(u64::MAX));
    // A list's trailing empty parts do not count.
    text.trim_end_matches(',').split(',').all(|part| {
        let part = part.trim_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        match (number(low), number(high)) {
            (Some(low), Some(high)) => low <= high,
            _ => false,
        }
    })
}

/// `0000:01:00.0`, `01:00`: domain and function may be missing.
fn pci_id(text: &str) -> bool {
    let hex = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let (address, function) = match text.split_once('.') {
        Some((address, function)) => (address, Some(function)),
        None => (text, None),
    };
    let good_address = match address.split(':').collect::<Vec<_>>().as_slice() {
        [domain, bus, device] => {
            domain.len() >= 4
                && hex(domain)
                && bus.len() == 2
                && hex(bus)
                && device.len() == 2
                && hex(device)
        }
        [bus, device] => bus.len() == 2 && hex(bus) && device.len() == 2 && hex(device),
        _ => false,
    };
    good_address && function.is_none_or(|f| f.len() == 1 && hex(f))
}

/// The bare check of a format, with the original's own sentence and line end.
pub fn check_bare(name: &str, value: &str) -> Result<(), String> {
    match pattern(name, value) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{PATTERN}\n")),
        None => check_function(name, value).map_err(|text| format!("{text}\n")),
    }
}

fn word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.".contains(&b)
}

fn volume(text: &str) -> Result<(), String> {
    VolumeId::parse(text)
        .map(|_| ())
        .map_err(|_| format!("unable to parse volume ID '{text}'"))
}

fn is_unicast_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
        && u8::from_str_radix(parts[0], 16).is_ok_and(|first| first & 1 == 0)
}

/// Labels of letters, digits and inner dashes, joined by dots.
pub fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && bytes[0].is_ascii_alphanumeric()
            && bytes[bytes.len() - 1].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

fn is_config_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 2
        && bytes[0].is_ascii_alphabetic()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn is_vmid(text: &str) -> bool {
    (3..=9).contains(&text.len()) && digits(text) && !text.starts_with('0')
}

/// The characters of percent-encoded text; whether each `%` starts an escape is not checked.
fn is_urlencoded(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-%_.!~*'()".contains(&b))
}

fn is_tag(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && (bytes[0].is_ascii_alphanumeric() || bytes[0] == b'_')
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_-+.".contains(b))
}

/// Every drive but EFI and TPM state, and network, USB and PCI devices.
fn is_boot_device(device: &str) -> bool {
    let numbered = |word: &str, count: u32| {
        device
            .strip_prefix(word)
            .filter(|n| digits(n) && (n.len() == 1 || !n.starts_with('0')))
            .and_then(|n| n.parse::<u32>().ok())
            .is_some_and(|n| n < count)
    };
    Slot::parse(device)
        .is_ok_and(|s| matches!(s.bus(), Bus::Ide | Bus::Scsi | Bus::Virtio | Bus::Sata))
        || numbered("net", 32)
        || numbered("usb", 14)
        || numbered("hostpci", 16)
}

fn hotplug(text: &str) -> Result<(), String> {
    if matches!(text, "0" | "1") {
        return Ok(());
    }
    let known = ["network", "disk", "cpu", "memory", "usb", "cloudinit"];
    match split_list(text).find(|f| !known.contains(f)) {
        Some(other) => Err(format!("invalid hotplug feature '{other}'")),
        None => Ok(()),
    }
}

/// The text `0` alone counts as no text, as in the original.
fn startup(text: &str) -> bool {
    let mut parts = text.split(',').filter(|part| !part.bytes().all(is_space));
    !matches!(text, "" | "0")
        && parts.all(|part| match part.split_once('=') {
            Some((key, value)) => matches!(key, "order" | "up" | "down") && digits(value),
            None => digits(part),
        })
}

fn cidr(text: &str, bits: u32, address: impl Fn(&str) -> bool, least: u32) -> bool {
    text.split_once('/').is_some_and(|(a, n)| {
        address(a) && digits(n) && n.parse::<u32>().is_ok_and(|n| (least..=bits).contains(&n))
    })
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
        && parts
            .iter()
            .all(|p| p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn vendor(text: &str, max: usize) -> bool {
    text.chars().count() <= max
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_ \t".contains(&b))
}

/// `pc`, `q35`, `pc-i440fx-9.0+pve1.pxe`, `virt-9.0`.
fn machine_type(text: &str) -> bool {
    if matches!(text, "pc" | "q35" | "virt") {
        return true;
    }
    let (body, pxe) = text
        .strip_suffix(".pxe")
        .map_or((text, false), |b| (b, true));
    let (body, revision) = body
        .split_once("+pve")
        .map_or((body, None), |(b, r)| (b, Some(r)));
    let is_virt = body.starts_with("virt");
    let version = ["pc-i440fx-", "pc-q35-", "virt-", "pc-"]
        .iter()
        .find_map(|p| body.strip_prefix(p));
    let good_version =
        version.is_some_and(|v| v.split('.').count() > 1 && v.split('.').all(digits));
    let good_body = good_version || (body == "virt" && revision.is_some());
    good_body && revision.is_none_or(digits) && !(pxe && is_virt)
}

fn usb_host(text: &str) -> bool {
    let hex = |h: &str| {
        let h = h.strip_prefix("0x").unwrap_or(h);
        h.len() == 4 && h.bytes().all(|b| b.is_ascii_hexdigit())
    };
    text.eq_ignore_ascii_case("spice")
        || text
            .split_once(':')
            .is_some_and(|(vendor, product)| hex(vendor) && hex(product))
        || text
            .split_once('-')
            .is_some_and(|(bus, port)| digits(bus) && port.split('.').all(digits))
}

fn startdate(text: &str) -> bool {
    let numbers = |t: &str, separator: char, first: usize| {
        let parts: Vec<&str> = t.split(separator).collect();
        parts.len() == 3
            && parts.iter().enumerate().all(|(at, p)| {
                digits(p)
                    && if at == 0 && first == 4 {
                        p.len() == 4
                    } else {
                        p.len() <= 2
                    }
            })
    };
    match text.split_once('T') {
        Some((date, time)) => numbers(date, '-', 4) && numbers(time, ':', 2),
        None => numbers(text, '-', 4),
    }
}
