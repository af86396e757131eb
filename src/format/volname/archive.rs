//! Names of backup archives: guest, time, format and compression; opens no archive.

use crate::model::{Error, Result};

/// What the name of an archive says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveName {
    /// Without directories.
    pub file: String,
    /// `lxc`, `openvz` or `qemu`.
    pub guest: String,
    /// `tar` or `vma`.
    pub format: &'static str,
    pub compression: Option<&'static str>,
    /// Machine and time (seconds since 1970, name read as UTC), for names in the standard form.
    pub standard: Option<(u64, i64)>,
}

const COMPRESSIONS: [&str; 4] = ["gz", "lzo", "zst", "bz2"];

/// Reads `[DIRECTORY/]vzdump-GUEST-ID-WHATEVER.EXTENSION`.
pub fn archive_name(path: &str) -> Result<ArchiveName> {
    let file = path.rsplit('/').next().unwrap_or(path);
    read(file).ok_or_else(|| {
        Error::usage(format!(
            "ERROR: couldn't determine archive info from '{}'",
            super::printable(path)
        ))
    })
}

fn read(file: &str) -> Option<ArchiveName> {
    if file.chars().any(char::is_control) {
        return None;
    }
    let tail = file.strip_prefix("vzdump-")?;
    let (guest, tail) = tail.split_once('-')?;
    let (digits, tail) = tail.split_once('-')?;
    let vmid = super::number(digits)?;
    if !["lxc", "openvz", "qemu"].contains(&guest) {
        return None;
    }
    let (stem, format, compression) = if let Some(stem) = tail.strip_suffix(".tgz") {
        (stem, "tar", Some("gz"))
    } else {
        let compression = COMPRESSIONS
            .into_iter()
            .find(|c| tail.strip_suffix(c).is_some_and(|s| s.ends_with('.')));
        let plain = &tail[..tail.len() - compression.map_or(0, |c| c.len() + 1)];
        let (stem, format) = ["tar", "vma"]
            .into_iter()
            .find_map(|format| Some((plain.strip_suffix(format)?.strip_suffix('.')?, format)))?;
        (stem, format, compression)
    };
    if stem.is_empty() {
        return None;
    }
    Some(ArchiveName {
        file: file.to_owned(),
        guest: guest.to_owned(),
        format,
        compression,
        standard: seconds(stem).map(|time| (vmid, time)),
    })
}

impl ArchiveName {
    /// The name without its extensions.
    pub fn stem(&self) -> &str {
        let extensions = match (self.compression, self.file.ends_with(".tgz")) {
            (_, true) => 4,
            (None, _) => 4,
            (Some(compression), _) => 5 + compression.len(),
        };
        &self.file[..self.file.len().saturating_sub(extensions)]
    }
}

/// `YYYY_MM_DD-hh_mm_ss` as seconds since 1970; `None` for another shape or an impossible date.
fn seconds(text: &str) -> Option<i64> {
    let shape = b"dddd_dd_dd-dd_dd_dd";
    let fits = text.len() == shape.len()
        && text.bytes().zip(shape).all(|(b, want)| match want {
            b'd' => b.is_ascii_digit(),
            other => b == *other,
        });
    if !fits {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let lengths = [
        31,
        28 + i64::from(leap),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let index = usize::try_from(month - 1).ok()?;
    if day < 1 || day > *lengths.get(index)? || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let before = (year - 1) * 365 + (year - 1).div_euclid(4) - (year - 1).div_euclid(100)
        + (year - 1).div_euclid(400);
    let days = before - 719_162 + lengths[..index].iter().sum::<i64>() + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Format, compression and the command that unpacks to standard output (`None`: nothing to unpack, or nothing known that does).
pub type Unpack = (String, Option<String>, Option<&'static [&'static str]>);

/// How Proxmox unpacks a format with a compression.
pub fn decompressor(format: &str, compression: Option<&str>) -> Result<Unpack> {
    let (format, compression) = match (format, compression) {
        ("tgz", None) => ("tar", Some("gz")),
        pair => pair,
    };
    if !["tar", "vma", "iso"].contains(&format) {
        return Err(Error::usage("ERROR: archive format not defined"));
    }
    let command: Option<&'static [&'static str]> = match (format, compression) {
        ("tar", Some("gz")) => Some(&["tar", "-z"]),
        ("tar", Some("lzo")) => Some(&["tar", "--lzop"]),
        ("tar", Some("zst")) => Some(&["tar", "--zstd"]),
        ("tar", Some("bz2")) => Some(&["tar", "--bzip2"]),
        (_, Some("gz")) => Some(&["zcat"]),
        (_, Some("lzo")) => Some(&["lzop", "-d", "-c"]),
        (_, Some("zst")) => Some(&["zstd", "-q", "-d", "-c"]),
        (_, Some("bz2")) => Some(&["bzcat", "-q"]),
        _ => None,
    };
    Ok((format.to_owned(), compression.map(str::to_owned), command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_name_says_machine_and_time() {
        let name = archive_name("dump/vzdump-qemu-100-1970_01_02-00_00_01.vma.zst").unwrap();
        assert_eq!(name.standard, Some((100, 86_401)));
        assert_eq!(name.stem(), "vzdump-qemu-100-1970_01_02-00_00_01");
        assert_eq!((name.format, name.compression), ("vma", Some("zst")));
        let leap = archive_name("vzdump-lxc-7-2000_02_29-23_59_59.tgz").unwrap();
        assert_eq!(leap.standard, Some((7, 951_868_799)));
        assert_eq!(leap.stem(), "vzdump-lxc-7-2000_02_29-23_59_59");
    }

    #[test]
    fn impossible_times_and_other_files_are_no_standard_names() {
        for odd in [
            "2001_02_29-00_00_00",
            "2000_13_01-00_00_00",
            "2000_01_00-00_00_00",
            "notes",
        ] {
            let name = archive_name(&format!("vzdump-qemu-100-{odd}.vma")).unwrap();
            assert_eq!(name.standard, None, "{odd}");
        }
        for bad in [
            "vzdump-qemu-100-x.vma.xz",
            "vzdump-none-1-x.tar",
            "vzdump-qemu-x-y.tar",
            "x",
            "",
            "vzdump-lxc-1-.tgz",
        ] {
            assert!(archive_name(bad).is_err(), "{bad}");
        }
    }
}
