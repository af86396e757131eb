//! Volume names of storages that keep files (dir, nfs, cifs, cephfs, btrfs); never looks at the file itself.

use super::{VolumeParts, no_blank, number};
use crate::model::{ContentType, Error, Result};

/// Where a content type lives below the root of a path storage (pve-storage 2.5); `None` for one that has no place.
pub fn subdir_of(content: ContentType) -> Option<&'static str> {
    Some(match content {
        ContentType::Images => "images",
        ContentType::RootDir => "private",
        ContentType::VzTmpl => "template/cache",
        ContentType::Iso => "template/iso",
        ContentType::Backup => "dump",
        ContentType::Snippets => "snippets",
        ContentType::Import => "import",
        ContentType::None => return None,
    })
}

/// `None`: no shape fits. An error: the shape fits, a file name in it does not.
pub(super) fn parse(text: &str) -> Result<Option<VolumeParts>> {
    if let Some(parts) = linked_clone(text) {
        return parts.map(Some);
    }
    if let Some((directory, file)) = text.split_once('/')
        && let Some(vmid) = number(directory)
        && no_blank(file)
    {
        let (format, is_base) = image_file(file)?;
        let mut parts = VolumeParts::new(ContentType::Images, file, Some(vmid), format);
        parts.is_base = is_base;
        return Ok(Some(parts));
    }
    Ok(text
        .split_once('/')
        .and_then(|(directory, file)| match directory {
            "import" => import(file),
            _ if file.is_empty() || file.contains('/') => None,
            "iso" => iso(file),
            "vztmpl" => template(file),
            "backup" => backup(file),
            "snippets" => Some(plain(ContentType::Snippets, file)),
            _ => None,
        }))
}

fn plain(content: ContentType, file: &str) -> VolumeParts {
    VolumeParts::new(content, file, None, "raw")
}

/// `BASEVMID/BASE/VMID/NAME`; `None` when the text has another shape.
fn linked_clone(text: &str) -> Option<Result<VolumeParts>> {
    let (first, rest) = text.split_once('/')?;
    let base_vmid = number(first)?;
    if !no_blank(rest) {
        return None;
    }
    // The last `/NUMBER/` splits, as a greedy pattern would.
    let mut end = rest.len();
    let (base, vmid, name) = loop {
        let slash = rest[..end].rfind('/')?;
        let before = &rest[..slash];
        let open = before.rfind('/')?;
        let name = &rest[slash + 1..];
        if let Some(vmid) = number(&before[open + 1..])
            && open > 0
            && !name.is_empty()
        {
            break (&before[..open], vmid, name);
        }
        end = slash;
    };
    Some(image_file(base).and_then(|_| {
        let (format, is_base) = image_file(name)?;
        let mut parts = VolumeParts::new(ContentType::Images, name, Some(vmid), format);
        parts.is_base = is_base;
        parts.base_name = Some(base.to_owned());
        parts.base_vmid = Some(base_vmid);
        Ok(parts)
    }))
}

/// Format and whether it is a base, from the name of an image file.
fn image_file(file: &str) -> Result<(&'static str, bool)> {
    if file.starts_with("snap-") && file.ends_with(".qcow2") {
        return Err(Error::usage(format!(
            "'{file}' is a snapshot filename, not a volume!"
        )));
    }
    let found = ["raw", "qcow2", "vmdk", "subvol"]
        .into_iter()
        .find_map(|format| {
            let stem = file.strip_suffix(format)?.strip_suffix('.')?;
            (no_blank(stem) && !stem.contains('/'))
                .then(|| (format, stem.len() > 5 && stem.starts_with("base-")))
        });
    found.ok_or_else(|| Error::usage(format!("unable to parse volume filename '{file}'")))
}

/// True when `file` is a non-empty stem followed by one of the endings (case ignored).
fn ends_ignoring_case(file: &str, endings: &[&str]) -> bool {
    let lower = file.to_ascii_lowercase();
    endings
        .iter()
        .any(|end| lower.len() > end.len() && lower.ends_with(end))
}

fn iso(file: &str) -> Option<VolumeParts> {
    ends_ignoring_case(file, &[".iso", ".img"]).then(|| plain(ContentType::Iso, file))
}

fn template(file: &str) -> Option<VolumeParts> {
    ends_ignoring_case(
        file,
        &[".tar", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2"],
    )
    .then(|| plain(ContentType::VzTmpl, file))
}

fn backup(file: &str) -> Option<VolumeParts> {
    let compressed = ["", ".gz", ".lzo", ".zst", ".bz2"];
    let archive = |end: &str| {
        compressed.iter().any(|c| {
            file.strip_suffix(c)
                .and_then(|f| f.strip_suffix(end))
                .is_some_and(|stem| !stem.is_empty())
        })
    };
    let tgz = file
        .strip_suffix(".tgz")
        .is_some_and(|stem| !stem.is_empty());
    (tgz || archive(".tar") || archive(".vma")).then(|| {
        let mut parts = plain(ContentType::Backup, file);
        parts.vmid = ["openvz", "lxc", "qemu"].iter().find_map(|guest| {
            let tail = file
                .strip_prefix("vzdump-")?
                .strip_prefix(guest)?
                .strip_prefix('-')?;
            let (digits, rest) = tail.split_once('-')?;
            number(digits).filter(|_| !rest.is_empty())
        });
        parts
    })
}

fn import(text: &str) -> Option<VolumeParts> {
    let safe = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b" -.+=_".contains(&b))
    };
    let stem_of = |file: &str, end: &str| {
        file.strip_suffix(end)
            .and_then(|f| f.strip_suffix('.'))
            .is_some_and(safe)
    };
    if let Some((archive, file)) = text.split_once('/') {
        let format = ["qcow2", "raw", "vmdk"]
            .into_iter()
            .find(|f| stem_of(file, f))?;
        return stem_of(archive, "ova")
            .then(|| VolumeParts::new(ContentType::Import, text, None, &format!("ova+{format}")));
    }
    let format = ["ova", "ovf", "qcow2", "raw", "vmdk"]
        .into_iter()
        .find(|f| stem_of(text, f))?;
    Some(VolumeParts::new(ContentType::Import, text, None, format))
}
