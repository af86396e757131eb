//! Arguments to nouns, with the parameter named in every refusal; reads nothing but the arguments.

use super::args::{bad, text};
use crate::format::size;
use crate::model::{
    ByteCount, ContentType, ImageFormat, Result, Slot, SnapshotName, StorageId, VmId, VolumeId,
};
use clap::ArgMatches;

/// A required argument's text.
pub fn required(m: &ArgMatches, name: &str) -> Result<String> {
    text(m, name).ok_or_else(|| bad(name, "property is missing and it is not optional"))
}

pub fn vmid(m: &ArgMatches, name: &str) -> Result<VmId> {
    let word = required(m, name)?;
    VmId::parse(&word).map_err(|e| bad(name, e.full_text()))
}

pub fn vmid_if_given(m: &ArgMatches, name: &str) -> Result<Option<VmId>> {
    text(m, name).map(|_| vmid(m, name)).transpose()
}

pub fn storage(m: &ArgMatches, name: &str) -> Result<StorageId> {
    let word = required(m, name)?;
    StorageId::parse(&word).map_err(|e| bad(name, e.full_text()))
}

pub fn storage_if_given(m: &ArgMatches, name: &str) -> Result<Option<StorageId>> {
    text(m, name).map(|_| storage(m, name)).transpose()
}

/// `storage:name`; with `--storage` the name alone is enough.
pub fn volume(m: &ArgMatches, name: &str) -> Result<VolumeId> {
    let word = required(m, name)?;
    let whole = match storage_if_given(m, "storage")? {
        Some(storage) if !word.starts_with(&format!("{storage}:")) => format!("{storage}:{word}"),
        _ => word,
    };
    VolumeId::parse(&whole).map_err(|e| bad(name, e.full_text()))
}

pub fn snapshot(m: &ArgMatches, name: &str) -> Result<SnapshotName> {
    let word = required(m, name)?;
    SnapshotName::parse(&word).map_err(|e| bad(name, e.full_text()))
}

pub fn snapshot_if_given(m: &ArgMatches, name: &str) -> Result<Option<SnapshotName>> {
    text(m, name).map(|_| snapshot(m, name)).transpose()
}

pub fn slot(m: &ArgMatches, name: &str) -> Result<Slot> {
    let word = required(m, name)?;
    Slot::parse(&word).map_err(|e| bad(name, e.full_text()))
}

pub fn format(m: &ArgMatches, name: &str) -> Result<Option<ImageFormat>> {
    text(m, name)
        .map(|word| {
            ImageFormat::parse(&word).ok_or_else(|| {
                bad(
                    name,
                    format!("value '{word}' does not have a value in the enumeration 'raw, qcow2, subvol, vmdk'"),
                )
            })
        })
        .transpose()
}

/// `pvesm alloc` size: KiB, or with M or G.
pub fn alloc_size(m: &ArgMatches, name: &str) -> Result<ByteCount> {
    let word = required(m, name)?;
    size::parse_alloc_size(&word).map_err(|e| bad(name, e.full_text()))
}

pub fn number(m: &ArgMatches, name: &str) -> Result<Option<u32>> {
    text(m, name)
        .map(|word| {
            word.parse().map_err(|_| {
                bad(
                    name,
                    format!("type check ('integer') failed - got '{word}'"),
                )
            })
        })
        .transpose()
}

/// A list with `,`, `;` or blanks between.
pub fn list(text: &str) -> Vec<String> {
    text.split(|c: char| c == ',' || c == ';' || c.is_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

pub fn lists(m: &ArgMatches, name: &str) -> Vec<String> {
    super::args::texts(m, name)
        .iter()
        .flat_map(|text| list(text))
        .collect()
}

pub fn contents(m: &ArgMatches, name: &str) -> Result<Vec<ContentType>> {
    lists(m, name)
        .into_iter()
        .map(|word| {
            ContentType::parse(&word)
                .ok_or_else(|| bad(name, format!("invalid content type '{word}'")))
        })
        .collect()
}
