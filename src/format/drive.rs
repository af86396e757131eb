//! Drive strings of VM configs (pve-vm 1.6): `store:vm-100-disk-0,size=32G`; reads and prints, decides nothing.

use super::property::{Values, tables};
use super::size::parse_disk_size;
use crate::model::{Bus, ByteCount, Error, Result, Slot, VolumeId};

/// What a drive names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriveFile {
    Volume(VolumeId),
    Path(String),
    /// `none`: an empty CD drive.
    Empty,
    /// `cdrom`: the host's drive.
    HostCdrom,
}

/// A drive string that is valid for its slot. Unknown or invalid strings do not become a `Drive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drive {
    pub file: DriveFile,
    /// Sub-keys other than `file`, in the printed order, values as printed.
    pub options: Vec<(String, String)>,
}

/// Read for compatibility, without meaning today.
const DROPPED: [&str; 4] = ["cyls", "heads", "secs", "trans"];

/// The keys of `size` suffixed limits that need another one.
const NEEDS: [(&str, &str); 12] = [
    ("mbps_max", "mbps"),
    ("mbps_rd_max", "mbps_rd"),
    ("mbps_wr_max", "mbps_wr"),
    ("iops_max", "iops"),
    ("iops_rd_max", "iops_rd"),
    ("iops_wr_max", "iops_wr"),
    ("bps_max_length", "mbps_max"),
    ("bps_rd_max_length", "mbps_rd_max"),
    ("bps_wr_max_length", "mbps_wr_max"),
    ("iops_max_length", "iops_max"),
    ("iops_rd_max_length", "iops_rd_max"),
    ("iops_wr_max_length", "iops_wr_max"),
];

impl Drive {
    /// Errors name the slot, the sub-key and why.
    pub fn parse(slot: Slot, text: &str) -> Result<Self> {
        Self::parse_with(slot, text, false)
    }

    /// `in_request`: also what only requests may hold (`import-from`), and a volume that is still a wish (`store:32`).
    pub fn parse_with(slot: Slot, text: &str, in_request: bool) -> Result<Self> {
        let bad = |why: &str| {
            Error::usage(format!(
                "{slot}: {} in '{}'",
                why.trim_end(),
                text.escape_debug()
            ))
        };
        let mut values = table_values(slot, text, in_request)
            .map_err(|why| bad(&why.replace("format error\n", "").replace('\n', " ")))?;
        for key in DROPPED {
            values.remove(key);
        }
        bytes_to_megabytes(&mut values).map_err(|why| bad(&why))?;
        cross_check(slot, &values, in_request).map_err(|why| bad(&why))?;
        let file = match values
            .remove("file")
            .ok_or_else(|| bad("no volume"))?
            .as_str()
        {
            "none" => DriveFile::Empty,
            "cdrom" => DriveFile::HostCdrom,
            path if path.starts_with('/') => DriveFile::Path(path.to_owned()),
            volume => DriveFile::Volume(VolumeId::parse(volume)?),
        };
        if let Some(size) = values.get_mut("size")
            && let Some(bytes) = parse_disk_size(size)
        {
            *size = bytes.to_string();
        }
        Ok(Drive {
            file,
            options: values.into_iter().collect(),
        })
    }

    pub fn volume(&self) -> Option<&VolumeId> {
        match &self.file {
            DriveFile::Volume(id) => Some(id),
            _ => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.options
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    pub fn is_cdrom(&self) -> bool {
        self.get("media") == Some("cdrom")
    }

    /// A CD drive whose volume is `vm-ID-cloudinit`.
    pub fn is_cloudinit(&self) -> bool {
        self.is_cdrom()
            && self
                .volume()
                .is_some_and(|v| v.name.as_str().contains("-cloudinit"))
    }

    pub fn size(&self) -> Option<ByteCount> {
        self.get("size").and_then(parse_disk_size)
    }

    /// Keeps the printed order.
    pub fn set_option(&mut self, key: &str, value: Option<&str>) {
        self.options.retain(|(k, _)| k != key);
        if let Some(value) = value {
            self.options.push((key.to_owned(), value.to_owned()));
            self.options.sort();
        }
    }
}

/// What is wrong between the sub-keys of a text whose sub-keys are valid one by one, in the original's words.
pub fn relation_problem(slot: Slot, text: &str, in_request: bool) -> Option<String> {
    let mut values = table_values(slot, text, in_request).ok()?;
    bytes_to_megabytes(&mut values)
        .and_then(|()| cross_check(slot, &values, in_request))
        .err()
}

/// The file level's check of a drive string: sub-keys and their values, no relations. `Err` is the original's text.
pub fn table_values(
    slot: Slot,
    text: &str,
    in_request: bool,
) -> std::result::Result<Values, String> {
    let table =
        tables::by_name(slot.bus().as_str()).ok_or_else(|| format!("no drive goes to {slot}\n"))?;
    if in_request && !slot.is_unused() {
        let mut longer = table.clone();
        longer
            .keys
            .extend(super::property::Table::read(tables::IMPORT).keys);
        return longer.parse(text);
    }
    table.parse(text)
}

/// `bps=N` becomes `mbps` with three decimals (the original loses the value here).
fn bytes_to_megabytes(values: &mut Values) -> std::result::Result<(), String> {
    for (bytes, megabytes) in [
        ("bps", "mbps"),
        ("bps_rd", "mbps_rd"),
        ("bps_wr", "mbps_wr"),
    ] {
        let Some(text) = values.remove(bytes) else {
            continue;
        };
        if values.contains_key(megabytes) {
            return Err(format!("both {bytes} and {megabytes} specified"));
        }
        let count: f64 = text.parse().map_err(|_| format!("{bytes}: not a number"))?;
        values.insert(
            megabytes.to_owned(),
            format!("{:.3}", count / (1 << 20) as f64),
        );
    }
    Ok(())
}

/// A file may hold `iops_max` without `iops` (the original misspells its own check), a request may not.
fn cross_check(slot: Slot, values: &Values, in_request: bool) -> std::result::Result<(), String> {
    let has = |key: &str| values.contains_key(key);
    for limit in ["mbps", "iops"] {
        for part in ["rd", "wr"] {
            let split = format!("{limit}_{part}");
            if has(limit) && has(&split) {
                return Err(format!("{split}: conflicts with {limit}"));
            }
        }
    }
    if let Some((key, needed)) = NEEDS.iter().find(|(key, needed)| {
        has(key)
            && !has(needed)
            && (in_request || !matches!(*key, "iops_max" | "iops_rd_max" | "iops_wr_max"))
    }) {
        return Err(format!("{key} requires {needed}"));
    }
    let is_cdrom = values.get("media").is_some_and(|m| m == "cdrom");
    if is_cdrom && (has("snapshot") || has("format") || slot.bus() == Bus::Virtio) {
        return Err("media: a CD drive takes no snapshot or format, and no virtio slot".to_owned());
    }
    Ok(())
}

impl std::fmt::Display for Drive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            DriveFile::Volume(volume) => write!(f, "{volume}")?,
            DriveFile::Path(path) => f.write_str(path)?,
            DriveFile::Empty => f.write_str("none")?,
            DriveFile::HostCdrom => f.write_str("cdrom")?,
        }
        self.options
            .iter()
            .try_for_each(|(key, value)| write!(f, ",{key}={value}"))
    }
}
