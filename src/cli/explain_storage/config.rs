//! storage.cfg as JSON: what a text means, and what adding or changing a storage makes of it; writes no file.

use super::{failure, optional, word};
use crate::format::storage_cfg::{EffectiveSection, Setting, StorageCfg, digest, parameter_errors};
use crate::format::storage_kind::table;
use crate::format::value;
use crate::model::{Error, Result, StorageId, StorageKind};
use serde_json::{Map, Value, json};

/// `read`, and our own list of problems with their places.
pub fn read_with_problems(input: &Value) -> Value {
    let mut answer = read(input);
    answer["problems"] = StorageCfg::parse(word(input, "text").as_bytes())
        .problems()
        .iter()
        .map(|p| json!({ "line": p.line, "column": p.column, "message": p.message }))
        .collect();
    answer
}

/// Everything Proxmox would hold and say after reading this text.
pub fn read(input: &Value) -> Value {
    let text = word(input, "text");
    let cfg = StorageCfg::parse(text.as_bytes());
    let sections = cfg.effective();
    let errors: Vec<Value> = cfg
        .value_problems()
        .iter()
        .map(|p| json!({ "err": p.text, "key": p.key, "section": p.section }))
        .collect();
    let ids: Map<String, Value> = sections
        .iter()
        .map(|s| (s.id.clone(), properties(s)))
        .collect();
    let order: Map<String, Value> = sections
        .iter()
        .filter_map(|s| Some((s.id.clone(), Value::from(s.order?))))
        .collect();
    let rewritten = match cfg.canonical() {
        Ok(text) => Value::from(text),
        Err(error) => failure(&error),
    };
    json!({
        "digest": digest(text.as_bytes()), "errors": errors, "ids": ids, "order": order, "rewritten": rewritten,
        "warnings": cfg.warnings(),
    })
}

/// The properties of one section with their types; null when it cannot be used.
fn properties(section: &EffectiveSection) -> Value {
    let Some((kind, settings)) = &section.usable else {
        return Value::Null;
    };
    let mut object = Map::new();
    object.insert("type".to_owned(), Value::from(kind.as_str()));
    for (key, setting) in settings {
        let value = match setting {
            Setting::Flag(on) => Value::from(i32::from(*on)),
            Setting::Number(number) => Value::from(*number),
            Setting::Text(text) => Value::from(text.as_str()),
            Setting::Words(words) => Value::from(words.clone()),
            Setting::Pairs(pairs) => pairs
                .iter()
                .map(|(k, v)| (k.clone(), Value::from(v.as_str())))
                .collect::<Map<_, _>>()
                .into(),
        };
        object.insert(key.clone(), value);
    }
    if table(*kind).always_shared {
        object.insert("shared".to_owned(), Value::from(1));
    }
    if section.implied {
        object.insert("priority".to_owned(), Value::from(0));
    }
    object.into()
}

/// Parameters as texts, without the names given.
fn parameters(input: &Value, without: &[&str]) -> Vec<(String, String)> {
    input
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !without.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(on) => i32::from(*on).to_string(),
                other => other.to_string(),
            };
            (key.clone(), text)
        })
        .collect()
}

fn refused(fields: Vec<(String, String)>) -> Value {
    let fields: Map<String, Value> = fields
        .into_iter()
        .map(|(key, text)| (key, Value::from(text)))
        .collect();
    json!({ "error": "Parameter verification failed.\n", "fields": fields })
}

const MISSING: &str = "property is missing and it is not optional";

/// Checks the ID parameter, adding what is wrong with it.
fn storage_parameter(input: &Value, wrong: &mut Vec<(String, String)>) -> Option<StorageId> {
    let Some(text) = optional(input, "storage") else {
        wrong.push(("storage".to_owned(), MISSING.to_owned()));
        return None;
    };
    StorageId::parse(text)
        .map_err(|error| {
            wrong.push((
                "storage".to_owned(),
                format!("invalid format - {}\n", error.message()),
            ));
        })
        .ok()
}

fn type_parameter(input: &Value, wrong: &mut Vec<(String, String)>) -> Option<StorageKind> {
    let Some(text) = optional(input, "type") else {
        wrong.push(("type".to_owned(), MISSING.to_owned()));
        return None;
    };
    let kind = StorageKind::parse(text);
    if kind.is_none() {
        let mut known: Vec<&str> = StorageKind::ALL.iter().map(|k| k.as_str()).collect();
        known.sort_unstable();
        wrong.push((
            "type".to_owned(),
            format!(
                "value '{text}' does not have a value in the enumeration '{}'",
                known.join(", ")
            ),
        ));
    }
    kind
}

/// The section as it stands in the file after an edit.
fn written(cfg: &StorageCfg, id: &StorageId) -> Result<Value> {
    let section = cfg
        .effective()
        .into_iter()
        .find(|s| s.id == id.as_str())
        .and_then(|s| s.canonical())
        .ok_or_else(|| Error::not_found(format!("storage '{id}' does not exist")))?;
    Ok(json!({ "section": section }))
}

pub fn create(input: &Value) -> Result<Value> {
    let properties = parameters(input, &["type", "storage"]);
    let mut wrong = parameter_errors(&properties, false);
    let id = storage_parameter(input, &mut wrong);
    let kind = type_parameter(input, &mut wrong);
    let (Some(id), Some(kind), true) = (id, kind, wrong.is_empty()) else {
        return Ok(refused(wrong));
    };
    let mut cfg = StorageCfg::parse(b"");
    cfg.add(&id, kind, &properties)?;
    // The text added, not its reading: defaults are not written.
    let text = String::from_utf8_lossy(&cfg.to_bytes()).into_owned();
    Ok(json!({ "section": text }))
}

pub fn update(input: &Value) -> Result<Value> {
    let parameters_given = input.get("params").unwrap_or(&Value::Null);
    let properties = parameters(parameters_given, &["storage", "delete", "digest"]);
    let mut wrong = parameter_errors(&properties, true);
    let id = storage_parameter(parameters_given, &mut wrong);
    let (Some(id), true) = (id, wrong.is_empty()) else {
        return Ok(refused(wrong));
    };
    let text = word(input, "config");
    if optional(parameters_given, "digest").is_some_and(|d| d != digest(text.as_bytes())) {
        return Err(Error::conflict(
            "detected modified configuration - file changed by other user? Try again.",
        ));
    }
    let delete: Vec<String> = value::split_list(word(parameters_given, "delete"))
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut cfg = StorageCfg::parse(text.as_bytes());
    cfg.set(&id, &properties, &delete)?;
    written(&cfg, &id)
}
