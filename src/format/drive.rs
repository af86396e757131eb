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

/// Read for compatibility, without meaning today. Only here: as a line of the file the original takes them for unknown.
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
        let problems = bytes_to_megabytes(&mut values);
        if let Some(why) = problems
            .into_iter()
            .chain(relations(slot, &values, in_request))
            .next()
        {
            return Err(bad(&why));
        }
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

/// What is wrong between the sub-keys of a text whose sub-keys are valid one by one; those the original speaks of, in its words.
pub fn spoken_problems(slot: Slot, text: &str, in_request: bool) -> Vec<String> {
    let Ok(mut values) = table_values(slot, text, in_request) else {
        return Vec::new();
    };
    let mut problems = bytes_to_megabytes(&mut values);
    problems.extend(missing_limits(&values, in_request));
    problems
}

/// Sub-keys and their values, no relations. `Err` is the original's text.
pub fn table_values(
    slot: Slot,
    text: &str,
    in_request: bool,
) -> std::result::Result<Values, String> {
    let table = table(slot)?;
    if in_request && !slot.is_unused() {
        let mut longer = table.clone();
        longer
            .keys
            .extend(super::property::Table::read(tables::IMPORT).keys);
        return longer.parse_without(text, &DROPPED);
    }
    table.parse_without(text, &DROPPED)
}

/// The file level's check of a drive string: no relations, and obsolete sub-keys are unknown ones. `Err` is the original's text.
pub fn check_line(slot: Slot, text: &str) -> std::result::Result<(), String> {
    table(slot)?.parse(text).map(|_| ())
}

fn table(slot: Slot) -> std::result::Result<&'static super::property::Table, String> {
    tables::by_name(slot.bus().as_str()).ok_or_else(|| format!("no drive goes to {slot}\n"))
}

/// `bps=N` becomes `mbps` (the original loses the value here): three decimals, or as many as the exact value needs.
fn bytes_to_megabytes(values: &mut Values) -> Vec<String> {
    let mut problems = Vec::new();
    for (bytes, megabytes) in [
        ("bps", "mbps"),
        ("bps_rd", "mbps_rd"),
        ("bps_wr", "mbps_wr"),
    ] {
        let Some(text) = values.remove(bytes) else {
            continue;
        };
        if values.contains_key(megabytes) {
            problems.push(format!("both {bytes} and {megabytes} specified"));
            continue;
        }
        const MIB: f64 = (1u64 << 20) as f64;
        // The table let only integers through; what is beyond a f64's exact range is no speed of this century.
        let count: f64 = text.parse().unwrap_or(0.0);
        let short = format!("{:.3}", count / MIB);
        let exact = short
            .parse::<f64>()
            .is_ok_and(|shown| (shown * MIB).round() == count);
        let shown = if exact {
            short
        } else {
            (count / MIB).to_string()
        };
        values.insert(megabytes.to_owned(), shown);
    }
    problems
}

/// A value that counts: neither absent nor `0`.
fn is_set(values: &Values, key: &str) -> bool {
    values.get(key).is_some_and(|v| v != "0")
}

/// A file may hold `iops_max` without `iops` (the original misspells its own check), a request may not.
fn missing_limits(values: &Values, in_request: bool) -> Vec<String> {
    NEEDS
        .iter()
        .filter(|(key, needed)| is_set(values, key) && !is_set(values, needed))
        .filter(|(key, _)| {
            in_request || !matches!(*key, "iops_max" | "iops_rd_max" | "iops_wr_max")
        })
        .map(|(key, needed)| format!("{key} requires {needed}"))
        .collect()
}

fn relations(slot: Slot, values: &Values, in_request: bool) -> Vec<String> {
    let mut problems = missing_limits(values, in_request);
    for limit in ["mbps", "iops"] {
        for part in ["rd", "wr"] {
            let split = format!("{limit}_{part}");
            if is_set(values, limit) && is_set(values, &split) {
                problems.push(format!("{split}: conflicts with {limit}"));
            }
        }
    }
    let is_cdrom = values.get("media").is_some_and(|m| m == "cdrom");
    let no_cdrom =
        is_set(values, "snapshot") || values.contains_key("format") || slot.bus() == Bus::Virtio;
    if is_cdrom && no_cdrom {
        problems
            .push("media: a CD drive takes no snapshot or format, and no virtio slot".to_owned());
    }
    problems
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

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(slot: &str, text: &str) -> Option<String> {
        let drive = Drive::parse(Slot::parse(slot).unwrap(), &format!("st:vm-1-disk-0{text}"));
        let text = drive.ok()?.to_string();
        Some(text.strip_prefix("st:vm-1-disk-0").unwrap().to_owned())
    }

    #[test]
    fn limits_in_bytes_keep_their_value() {
        for (given, shown) in [
            ("bps=1048576", "mbps=1.000"),
            ("bps_rd=524288", "mbps_rd=0.500"),
            ("bps_wr=1", "mbps_wr=0.00000095367431640625"),
            ("bps=0", "mbps=0.000"),
        ] {
            let expected = format!(",{shown}");
            assert_eq!(printed("scsi0", &format!(",{given}")), Some(expected));
        }
    }

    #[test]
    fn a_limit_of_zero_is_no_limit_for_the_rules() {
        assert!(printed("scsi0", ",mbps=0,mbps_rd=5").is_some());
        assert!(printed("scsi0", ",mbps_max=0").is_some());
        assert!(printed("scsi0", ",mbps=1,mbps_rd=5").is_none());
        assert!(printed("scsi0", ",mbps_max=1").is_none());
        assert!(printed("ide2", ",media=cdrom,snapshot=0").is_some());
        assert!(printed("ide2", ",media=cdrom,snapshot=1").is_none());
    }

    #[test]
    fn every_missing_limit_is_spoken_of() {
        let slot = Slot::parse("scsi0").unwrap();
        assert_eq!(
            spoken_problems(slot, "st:x,mbps_rd_max=1,iops_max_length=2", false),
            [
                "mbps_rd_max requires mbps_rd",
                "iops_max_length requires iops_max"
            ]
        );
    }

    #[test]
    fn obsolete_geometry_is_read_and_forgotten_but_not_as_a_line_for_the_original() {
        let slot = Slot::parse("scsi0").unwrap();
        assert_eq!(
            printed("scsi0", ",cyls=x,heads=4,trans=lba").as_deref(),
            Some("")
        );
        assert!(check_line(slot, "st:x,cyls=1").is_err());
    }

    #[test]
    fn a_volume_named_twice_is_refused() {
        for text in [
            "st:a,file=st:b",
            "st:a,volume=st:b",
            "st:a,st:b",
            "file=st:a,volume=st:b",
        ] {
            assert!(
                Drive::parse(Slot::parse("scsi0").unwrap(), text).is_err(),
                "{text}"
            );
        }
    }
}
