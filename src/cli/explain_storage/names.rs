//! Names of storages, volumes, paths and archives as JSON; looks nothing up.

use super::{flag, kind_of, optional, word, words};
use crate::format::storage_cfg::StorageSection;
use crate::format::volname::{self, WithSnapshots};
use crate::model::{ContentType, Error, ImageFormat, Result, StorageId, VolumeId};
use serde_json::{Value, json};

pub fn volume_name(input: &Value) -> Result<Value> {
    let parts = volname::parse(kind_of(input)?, word(input, "volname"))?;
    Ok(json!({
        "vtype": parts.content.as_str(), "name": parts.name, "vmid": parts.vmid, "basename": parts.base_name,
        "basevmid": parts.base_vmid, "isBase": parts.is_base, "format": parts.format,
    }))
}

pub fn volume_id(input: &Value) -> Result<Value> {
    let id = VolumeId::parse(word(input, "volid"))?;
    Ok(json!({ "storage": id.storage.as_str(), "volname": id.name.as_str() }))
}

pub fn storage_id(input: &Value) -> Result<Value> {
    let id = StorageId::parse(word(input, "id"))?;
    Ok(json!({ "ok": id.as_str() }))
}

pub fn lvm_name(input: &Value) -> Result<Value> {
    let name = word(input, "name");
    volname::check_lvm_name(name)?;
    Ok(json!({ "ok": name }))
}

/// More names than this cannot be taken on one storage; the cases describe long lists as a range.
const LONGEST_RANGE: u64 = 100_000;

fn existing(input: &Value) -> Vec<String> {
    let Some(list) = input.get("existing") else {
        return Vec::new();
    };
    let (Some(from), Some(to)) = (
        list.get("from").and_then(Value::as_u64),
        list.get("to").and_then(Value::as_u64),
    ) else {
        return words(input, "existing")
            .into_iter()
            .map(str::to_owned)
            .collect();
    };
    let (prefix, suffix) = (word(list, "prefix"), word(list, "suffix"));
    (from..=to.min(from.saturating_add(LONGEST_RANGE)))
        .map(|n| format!("{prefix}{n}{suffix}"))
        .collect()
}

pub fn next_disk(input: &Value) -> Result<Value> {
    let vmid = input
        .get("vmid")
        .and_then(Value::as_u64)
        .ok_or_else(|| Error::usage("'vmid' is not a number"))?;
    let format = optional(input, "format").and_then(ImageFormat::parse);
    let suffix = match format {
        Some(format) if flag(input, "add_suffix") => format!(".{format}"),
        _ => String::new(),
    };
    let taken = existing(input);
    let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
    let storage = optional(input, "storage").unwrap_or("st");
    let name = volname::next_disk_name(kind_of(input)?, vmid, format, &suffix, &taken).ok_or_else(
        || {
            Error::failed(format!(
                "unable to allocate an image name for VM {vmid} in storage '{storage}'"
            ))
        },
    )?;
    Ok(json!({ "name": name }))
}

/// A storage from the properties a case gives.
fn section(scfg: &Value, default_type: &str) -> Result<StorageSection> {
    let mut properties = Vec::new();
    for (key, value) in scfg.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(pairs) => pairs
                .iter()
                .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
                .collect::<Vec<_>>()
                .join(","),
            Value::Null => continue,
            other => other.to_string(),
        };
        properties.push((key.clone(), text));
    }
    let word = optional(scfg, "type").unwrap_or(default_type);
    Ok(StorageSection {
        id: StorageId::parse("st")?,
        kind: crate::model::StorageKind::parse(word),
        type_word: word.to_owned(),
        properties,
        content: Vec::new(),
        broken: None,
    })
}

pub fn path(input: &Value) -> Result<Value> {
    let section = section(input.get("scfg").unwrap_or(&Value::Null), "dir")?;
    let name = word(input, "volname");
    let path = volname::host_path(&section, name, optional(input, "snapname"))?;
    let kind = section
        .kind
        .ok_or_else(|| Error::usage("unknown storage type"))?;
    let parts = volname::parse(kind, name)?;
    Ok(json!({ "path": path, "vmid": parts.vmid, "vtype": parts.content.as_str() }))
}

pub fn content_directory(input: &Value) -> Result<Value> {
    let section = section(input.get("scfg").unwrap_or(&Value::Null), "dir")?;
    let name = word(input, "vtype");
    let content = ContentType::parse(name)
        .ok_or_else(|| Error::usage(format!("unknown vtype '{}'", name.escape_debug())))?;
    Ok(Value::from(volname::content_dir(&section, content)?))
}

pub fn volume_of_path(input: &Value) -> Result<Value> {
    let storage = json!({ "path": word(input, "root"), "type": word(input, "type") });
    let section = section(&storage, "dir")?;
    Ok(
        match volname::volume_of_path(&section, word(input, "path")) {
            Some((content, name)) => json!({
                "volid": format!("{}:{name}", optional(input, "storage").unwrap_or("st")),
                "vtype": content.as_str(),
            }),
            None => json!({ "volid": null, "vtype": null }),
        },
    )
}

pub fn archive(input: &Value) -> Result<Value> {
    let name = volname::archive_name(word(input, "archive"))?;
    let (format, compression, command) = volname::decompressor(name.format, name.compression)?;
    let mut answer = json!({
        "filename": name.file, "type": name.guest, "format": format, "compression": compression,
        "decompressor": command, "is_std_name": i32::from(name.standard.is_some()),
    });
    if let Some((vmid, time)) = name.standard {
        answer["vmid"] = Value::from(vmid);
        answer["ctime"] = Value::from(time);
        answer["logfilename"] = Value::from(format!("{}.log", name.stem()));
        answer["notesfilename"] = Value::from(format!("{}.notes", name.file));
    }
    Ok(answer)
}

pub fn decompressor(input: &Value) -> Result<Value> {
    let (format, compression, command) =
        volname::decompressor(word(input, "format"), optional(input, "compression"))?;
    Ok(json!({ "format": format, "compression": compression, "decompressor": command }))
}

pub fn transfer(input: &Value) -> Result<Value> {
    let with = match input.get("with_snapshots") {
        Some(Value::Array(_)) => WithSnapshots::Listed,
        _ if flag(input, "with_snapshots") => WithSnapshots::All,
        _ => WithSnapshots::No,
    };
    let formats = volname::transfer_formats(
        kind_of(input)?,
        word(input, "volname"),
        optional(input, "snapshot"),
        optional(input, "base_snapshot"),
        with,
        flag(input, "snapshot-as-volume-chain"),
    )?;
    Ok(json!({ "export": formats.export, "import": formats.import }))
}
