//! What `volvisor explain` says of VM texts, as JSON with the field names of the observed cases; the case tests run these very
//! functions. Pure: input in, answer out.

use crate::format::drive::{Drive, DriveFile, spoken_problems, table_values};
use crate::format::property::{Table, Values, scalar, tables};
use crate::format::size::parse_disk_size;
use crate::format::vm_config::{self, VmConfig, original};
use crate::model::{ByteCount, Slot};
use crate::plan::{pending, tree};
use serde_json::{Map, Value, json};

/// `kind` is the name of a case file or a friendly name (`drive`, `net`, `config`, `size`); `line` a case line or a bare input.
/// `None`: no such kind.
pub fn explain(kind: &str, line: &Value) -> Option<Value> {
    let input = || {
        line.get("input")
            .or(line.get("text"))
            .unwrap_or(line)
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    Some(match kind {
        "drive" | "drive-strings" => drive(line),
        "agent" => agent(&input()),
        "net" => net(&input()),
        "parse-size" | "size" => json!({ "bytes": parse_disk_size(&input()) }),
        "format-size" => format_size(line),
        "format" => format(line),
        "property" | "property-string" => {
            let name = ["format", "kind"]
                .iter()
                .find_map(|k| line.get(*k))
                .and_then(Value::as_str)
                .unwrap_or("");
            match name {
                "agent" => agent(&input()),
                "net" => net(&input()),
                _ => property(tables::by_name(name)?, &input()),
            }
        }
        "config" | "config-roundtrip" => config(&input()),
        "config-with-pending" => {
            json!({ "items": shown_items(&pending::items(&VmConfig::parse(input().as_bytes()))) })
        }
        "pending-output" => json!({ "stdout": pending::render(&read_items(line)) }),
        "listsnapshot-tree" => json!({ "stdout": tree::render(&read_nodes(line), |_| 0) }),
        "description-encode" => {
            let encoded = vm_config::encode_description(&input());
            json!({ "encoded": encoded, "decoded": vm_config::decode_description(encoded.as_bytes()) })
        }
        other => property(tables::by_name(other)?, &input()),
    })
}

/// Values as the original holds them: booleans are numbers.
fn values_json(table: &Table, values: &Values) -> Value {
    let entries = values.iter().map(|(key, value)| {
        let number = table
            .is_bool(key)
            .then(|| value.parse::<u8>().ok())
            .flatten();
        (
            key.clone(),
            number.map_or_else(|| json!(value), |n| json!(n)),
        )
    });
    Value::Object(entries.collect())
}

fn property(table: &Table, text: &str) -> Value {
    match table.parse(text) {
        Ok(values) => {
            json!({ "parsed": values_json(table, &values), "printed": table.print(&values) })
        }
        Err(error) => json!({ "error": error }),
    }
}

/// A disabled or unreadable agent is as good as none.
fn agent(text: &str) -> Value {
    let parsed = tables::by_name("agent").and_then(|table| {
        let values = table
            .parse(text)
            .ok()
            .filter(|v| v.get("enabled").is_some_and(|e| e == "1"))?;
        Some(values_json(table, &values))
    });
    json!({ "parsed": parsed.unwrap_or_else(|| json!({})) })
}

fn net(text: &str) -> Value {
    let Some(table) = tables::by_name("net") else {
        return Value::Null;
    };
    match table.parse(text) {
        Ok(values) => {
            json!({ "parsed": values_json(table, &values), "printed": table.print(&values) })
        }
        Err(error) => json!({ "parsed": null, "warnings": [error] }),
    }
}

fn drive(line: &Value) -> Value {
    let word = |key: &str| line.get(key).and_then(Value::as_str);
    let (key, text) = (
        word("key").unwrap_or("scsi0"),
        word("value").or(word("input")).unwrap_or(""),
    );
    let in_request = line
        .get("with_alloc")
        .is_some_and(|w| w.as_bool() == Some(true) || w.as_u64() == Some(1));
    let bad =
        |error: String| json!({ "valid": false, "parsed": null, "printed": null, "error": error });
    let slot = match Slot::parse(key) {
        Ok(slot) => slot,
        Err(error) => {
            let mut answer = bad(error.full_text());
            answer["warnings"] = json!([format!("invalid drive key: {key}\n")]);
            return answer;
        }
    };
    let parsed = match Drive::parse_with(slot, text, in_request) {
        Ok(drive) => drive,
        Err(error) => {
            let mut answer = bad(error.full_text());
            let spoken = spoken_problems(slot, text, in_request);
            if !spoken.is_empty() {
                answer["warnings"] = spoken.iter().map(|p| json!(format!("{p}\n"))).collect();
            }
            return answer;
        }
    };
    if let Err(error) = table_values(slot, text, in_request) {
        return bad(error);
    }
    let mut fields = Map::new();
    let file = match &parsed.file {
        DriveFile::Volume(volume) => volume.to_string(),
        DriveFile::Path(path) => path.clone(),
        DriveFile::Empty => "none".to_owned(),
        DriveFile::HostCdrom => "cdrom".to_owned(),
    };
    fields.insert("file".to_owned(), json!(file));
    for (key, value) in &parsed.options {
        let shown = match parsed.size().filter(|_| key == "size") {
            Some(bytes) => bytes.get().to_string(),
            None => value.clone(),
        };
        fields.insert(key.clone(), json!(shown));
    }
    json!({ "valid": true, "parsed": fields, "printed": parsed.to_string() })
}

fn format_size(line: &Value) -> Value {
    let bytes = line
        .get("bytes")
        .or(line.get("input"))
        .unwrap_or(line)
        .as_u64()
        .unwrap_or(0);
    let text = ByteCount(bytes).to_string();
    // The original answers a plain number where no unit fits.
    json!({ "output": text.parse::<u64>().map_or_else(|_| json!(text), |n| json!(n)) })
}

fn format(line: &Value) -> Value {
    let word = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or("");
    let (name, value) = (word("format"), word("value"));
    let checked = match tables::by_name(name).filter(|_| name.starts_with("pve-")) {
        Some(table) => table.parse(value).map(|_| ()),
        None => scalar::check_bare(name, value),
    };
    match checked {
        Ok(()) => json!({ "valid": true }),
        Err(error) => json!({ "valid": false, "error": error }),
    }
}

fn keys_json(keys: &original::Keys) -> Value {
    let entries = keys.iter().map(|(key, value)| {
        let number = original::is_numeric(key, value)
            .then(|| value.parse::<i64>().ok())
            .flatten();
        (
            key.clone(),
            number.map_or_else(|| json!(value), |n| json!(n)),
        )
    });
    Value::Object(entries.collect())
}

fn config(text: &str) -> Value {
    let reading = original::read(text.as_bytes(), "100");
    let mut parsed = keys_json(&reading.main);
    parsed["pending"] = keys_json(&reading.pending);
    parsed["snapshots"] = Value::Object(
        reading
            .snapshots
            .iter()
            .map(|(name, keys)| (name.clone(), keys_json(keys)))
            .collect(),
    );
    parsed["special-sections"] = json!(reading.special);
    let output = reading.write();
    let mut lenient = json!({ "output": output });
    if !reading.warnings.is_empty() {
        lenient["warnings"] = reading
            .warnings
            .iter()
            .map(|(_, text)| json!(text))
            .collect();
    }
    let strict = match reading.warnings.first() {
        Some((_, error)) => json!({ "error": error }),
        None => json!({ "output": output }),
    };
    let problems: Vec<Value> = VmConfig::parse(text.as_bytes())
        .problems()
        .iter()
        .map(|p| json!({ "line": p.line, "column": p.column, "message": p.message }))
        .collect();
    json!({
        "digest": vm_config::digest(text.as_bytes()),
        "parsed": parsed,
        "lenient": lenient,
        "strict": strict,
        "problems": problems,
    })
}

fn shown_items(items: &[pending::Item]) -> Value {
    let typed = |key: &str, value: &str| match value.parse::<i64>() {
        Ok(n) if original::is_numeric(key, value) => json!(n),
        _ => json!(value),
    };
    let shown = items.iter().map(|item| {
        let mut fields = Map::new();
        if item.delete > 0 {
            fields.insert("delete".to_owned(), json!(item.delete));
        }
        fields.insert("key".to_owned(), json!(item.key));
        if let Some(value) = &item.pending {
            fields.insert("pending".to_owned(), typed(&item.key, value));
        }
        if let Some(value) = &item.value {
            fields.insert("value".to_owned(), typed(&item.key, value));
        }
        Value::Object(fields)
    });
    shown.collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn read_items(line: &Value) -> Vec<pending::Item> {
    let items = line
        .get("items")
        .or(line.get("input"))
        .unwrap_or(line)
        .as_array()
        .cloned()
        .unwrap_or_default();
    let one = |item: &Value| pending::Item {
        key: item
            .get("key")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned(),
        value: item.get("value").and_then(text_of),
        pending: item.get("pending").and_then(text_of),
        delete: item.get("delete").and_then(Value::as_u64).unwrap_or(0) as u8,
    };
    items.iter().map(one).collect()
}

fn read_nodes(line: &Value) -> Vec<tree::Node> {
    let list = line
        .get("list")
        .or(line.get("input"))
        .unwrap_or(line)
        .as_array()
        .cloned()
        .unwrap_or_default();
    let word = |node: &Value, key: &str| node.get(key).and_then(Value::as_str).map(str::to_owned);
    let one = |node: &Value| tree::Node {
        name: word(node, "name").unwrap_or_default(),
        parent: word(node, "parent"),
        snaptime: node.get("snaptime").and_then(Value::as_u64),
        description: word(node, "description"),
    };
    list.iter().map(one).collect()
}
