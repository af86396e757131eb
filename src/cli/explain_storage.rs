//! How texts of the storage layer are read, as JSON with the field names of the cases; reads no file.

mod config;
mod names;

use crate::format::storage_kind::{self, Feature, VolumeState};
use crate::format::value::{self, FormatError};
use crate::format::{size, volname};
use crate::model::{ByteCount, Error, ImageFormat, Result, StorageKind};
use serde_json::{Value, json};

/// `None`: not a kind of this layer. Failures are answers too: `{"error": text}`, in Proxmox's words where it has some.
pub fn explain(kind: &str, input: &Value) -> Option<Value> {
    let answer = match kind {
        "parse_volname" | "volname" => names::volume_name(input),
        "parse_volume_id" | "volid" => names::volume_id(input),
        "parse_storage_id" | "storage-id" => names::storage_id(input),
        "parse_lvm_name" => names::lvm_name(input),
        "next_diskname" => names::next_disk(input),
        "path" | "filesystem_path" => names::path(input),
        "path_to_volume_id" => names::volume_of_path(input),
        "get_subdir" => names::content_directory(input),
        "archive_info" => names::archive(input),
        "decompressor_info" => names::decompressor(input),
        "transfer_formats" => names::transfer(input),
        "parse_config" => Ok(config::read(input)),
        "storage-cfg" => Ok(config::read_with_problems(input)),
        "create_storage" => config::create(input),
        "update_storage" => config::update(input),
        "alloc_size" => alloc_size(input),
        "size" if input.get("size").is_some() => alloc_size(input),
        "align_size_up" => align(input),
        "get_formats" => formats(input),
        "value_formats" => Ok(value_format(input)),
        "split_list" => Ok(json!(value::split_list(word(input, "text")))),
        "normalize_content_filename" => Ok(json!(value::normalize_content_filename(word(
            input, "filename"
        )))),
        "volume_has_feature" => features(input),
        "preallocation" => preallocation(input),
        "qemu_snapshot_method" => snapshot_method(input),
        "rollback_is_possible_chain" | "rollback_is_possible_zfspool" => rollback(input),
        _ => return None,
    };
    Some(answer.unwrap_or_else(|error| failure(&error)))
}

/// An error as the cases spell it: the sentence and a newline.
fn failure(error: &Error) -> Value {
    json!({ "error": format!("{}\n", error.message()) })
}

/// A text field; absent, null and other types are empty.
fn word<'a>(input: &'a Value, key: &str) -> &'a str {
    optional(input, key).unwrap_or("")
}

fn optional<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key).and_then(Value::as_str)
}

/// A flag given as JSON boolean, number or text.
fn flag(input: &Value, key: &str) -> bool {
    match input.get(key) {
        Some(Value::Bool(on)) => *on,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => value::parse_boolean(text) == Some(true),
        _ => false,
    }
}

fn words<'a>(input: &'a Value, key: &str) -> Vec<&'a str> {
    input
        .get(key)
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

/// The storage kind of `type`; `dir` when there is none.
fn kind_of(input: &Value) -> Result<StorageKind> {
    let name = optional(input, "type").unwrap_or("dir");
    StorageKind::parse(name)
        .ok_or_else(|| Error::usage(format!("unknown storage type '{}'", name.escape_debug())))
}

fn alloc_size(input: &Value) -> Result<Value> {
    Ok(match size::parse_alloc_size(word(input, "size")) {
        Ok(bytes) => json!({ "kib": bytes.whole_kib() }),
        // A parameter's text stands without newline behind the parameter's name.
        Err(error) => json!({ "error": error.message() }),
    })
}

fn align(input: &Value) -> Result<Value> {
    let number = |key: &str| {
        input
            .get(key)
            .and_then(Value::as_u64)
            .ok_or_else(|| Error::usage(format!("'{key}' is not a whole number")))
    };
    let (size, granularity) = (number("size")?, number("granularity")?);
    let aligned = size::align_size_up(ByteCount(size), granularity)
        .ok_or_else(|| Error::usage(format!("size {size} cannot be aligned to {granularity}")))?
        .get();
    let printed = if aligned == size {
        String::new()
    } else {
        format!(
            "size {size} is not aligned to granularity {granularity}, rounding up to {aligned}\n"
        )
    };
    Ok(json!({ "printed": printed, "size": aligned }))
}

fn formats(input: &Value) -> Result<Value> {
    let formats = storage_kind::formats(
        kind_of(input)?,
        optional(input, "format").and_then(ImageFormat::parse),
        flag(input, "snapshot-as-volume-chain"),
    );
    let mut valid: Vec<&str> = formats.valid.iter().map(|f| f.as_str()).collect();
    valid.sort_unstable();
    Ok(json!({ "default": formats.default.as_str(), "valid": valid }))
}

fn value_format(input: &Value) -> Value {
    let (format, text) = (word(input, "format"), word(input, "value"));
    let checked = match format {
        "boolean" => value::parse_boolean(text)
            .map(Value::from)
            .ok_or_else(|| FormatError::Text("unable to parse boolean option".to_owned())),
        "bwlimit" => value::bandwidth_limits(text).map(Value::from),
        "prune-backups" => value::prune_backups(text).map(Value::from),
        _ => value::check_format(format, text).map(|()| Value::from(true)),
    };
    match checked {
        Ok(reading) => json!({ "ok": reading }),
        Err(FormatError::Text(text)) => json!({ "error": format!("{text}\n") }),
        Err(FormatError::Keys(keys)) => {
            let fields: serde_json::Map<String, Value> = keys
                .into_iter()
                .map(|(key, text)| (key, Value::from(text)))
                .collect();
            json!({ "error": "format error\n", "fields": fields })
        }
    }
}

fn features(input: &Value) -> Result<Value> {
    let kind = kind_of(input)?;
    let parts = volname::parse(kind, word(input, "volname"))?;
    let state = if optional(input, "snapname").is_some() {
        VolumeState::Snapshot
    } else if parts.is_base {
        VolumeState::Base
    } else {
        VolumeState::Current
    };
    let targets = input
        .get("valid_target_formats")
        .is_some_and(Value::is_array)
        .then(|| words(input, "valid_target_formats"));
    let has = |feature: Feature| {
        storage_kind::has_feature(kind, &parts.format, feature, state)
            && (feature != Feature::Clone
                || targets
                    .as_ref()
                    .is_none_or(|t| storage_kind::clone_fits(kind, &parts.format, t)))
    };
    if let Some(name) = optional(input, "feature") {
        return Ok(Value::from(Feature::parse(name).is_some_and(has)));
    }
    let all: serde_json::Map<String, Value> = Feature::ALL
        .iter()
        .map(|f| (f.as_str().to_owned(), Value::from(has(*f))))
        .collect();
    Ok(all.into())
}

fn preallocation(input: &Value) -> Result<Value> {
    let format = word(input, "format");
    let format = ImageFormat::parse(format)
        .ok_or_else(|| Error::usage(format!("unknown format '{}'", format.escape_debug())))?;
    let mode = storage_kind::preallocation_option(format, optional(input, "preallocation"))?;
    Ok(json!({ "option": mode.map(|m| m.as_str()) }))
}

fn snapshot_method(input: &Value) -> Result<Value> {
    let kind = kind_of(input)?;
    let parts = volname::parse(kind, word(input, "volname"))?;
    let method = storage_kind::qemu_snapshot_method(
        kind,
        &parts.format,
        flag(input, "snapshot-as-volume-chain"),
        flag(input, "krbd"),
    );
    Ok(Value::from(method.as_str()))
}

fn rollback(input: &Value) -> Result<Value> {
    let chain = input.get("chain_oldest_first").is_some();
    let (object, key) = if chain {
        (word(input, "volname"), "chain_oldest_first")
    } else {
        // Pools name the volume with its storage; the cases leave it out and mean this one.
        let volume = optional(input, "volid").unwrap_or("st:vm-100-disk-0");
        (volume, "snapshots_oldest_first")
    };
    let (blockers, refusal) =
        storage_kind::newest_only(object, &words(input, key), word(input, "rollback_to"));
    let mut answer = json!({ "blockers": blockers, "possible": refusal.is_none() });
    if let Some(error) = refusal {
        answer["error"] = Value::from(format!("{}\n", error.message()));
    }
    Ok(answer)
}
