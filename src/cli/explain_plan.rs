//! What planners and tables answer to the inputs of cases, as JSON with the field names of the cases; reads no file.

use super::pvesm;
use crate::format::vm_config::VmConfig;
use crate::model::{
    ByteCount, Identity, ImageFormat, Inventory, StorageKind, Text, VmId, VolumeId, VolumeInfo,
};
use crate::plan::intent::KeepRules;
use crate::plan::world::{StorageView, VmView};
use crate::plan::{Intent, Step, World, plan, prune};
use serde_json::{Value, json};

/// `None`: not a kind of this layer.
pub fn explain(kind: &str, input: &Value) -> Option<Value> {
    match kind {
        "prune_mark" => Some(prune_mark(input)),
        "rescan" => Some(rescan(input)),
        "cli_output" => cli_output(input),
        _ => None,
    }
}

fn prune_mark(input: &Value) -> Value {
    let rule = |name: &str| {
        let value = &input["keep"][format!("keep-{name}")];
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.and_then(|n| u32::try_from(n).ok())
    };
    let keep = KeepRules {
        all: rule("all").is_some_and(|n| n > 0),
        last: rule("last"),
        hourly: rule("hourly"),
        daily: rule("daily"),
        weekly: rule("weekly"),
        monthly: rule("monthly"),
        yearly: rule("yearly"),
    };
    let entries = input["group"].as_array().cloned().unwrap_or_default();
    let group: Vec<(u64, bool)> = entries
        .iter()
        .map(|e| (e["ctime"].as_u64().unwrap_or(0), e["mark"] == "protected"))
        .collect();
    let marks = prune::marks(&group, &keep);
    entries
        .iter()
        .zip(marks)
        .map(|(e, mark)| json!({"mark": mark.as_str(), "volid": e["volid"]}))
        .collect()
}

fn cli_output(input: &Value) -> Option<Value> {
    let data = &input["data"];
    Some(Value::String(match input["command"].as_str()? {
        "status" => pvesm::status_of_cases(data),
        "list" => pvesm::list_of_cases(data),
        "alloc" => format!("successfully created '{}'\n", data.as_str()?),
        "apiinfo" => format!("APIVER {}\nAPIAGE {}\n", data["apiver"], data["apiage"]),
        _ => return None,
    }))
}

/// A world with one machine and the volumes of the case.
fn rescan(input: &Value) -> Value {
    let refused = |why: String| json!({"changed": false, "error": format!("{why}\n")});
    let number = input["vmid"].as_u64().unwrap_or(100);
    let Ok(vmid) = VmId::parse(&number.to_string()) else {
        return refused(format!("invalid VM ID '{number}'"));
    };
    let bytes = Text::from(input["input"].as_str().unwrap_or_default());
    let mut world = World {
        node: "localhost".to_owned(),
        vmids: vec![vmid],
        ..World::default()
    };
    for case in input["volumes"].as_array().into_iter().flatten() {
        add_volume(&mut world, case);
    }
    let config = VmConfig::parse(&bytes.0);
    let view = VmView {
        bytes: bytes.clone(),
        config,
        running: None,
    };
    world.machines.insert(vmid, view);
    let plan = match plan(&Intent::Rescan { vmid: Some(vmid) }, &world) {
        Ok(plan) => plan,
        Err(error) => return refused(error.full_text()),
    };
    let mut output = bytes;
    let mut freed = Vec::new();
    for step in &plan.steps {
        match step {
            Step::WriteConfig { after, .. } => output = after.clone().unwrap_or(output),
            Step::DestroyVolume { volume, .. } => freed.push(volume.to_string()),
            _ => {}
        }
    }
    let lines: Vec<&String> = plan
        .done
        .iter()
        .filter(|l| *l != "rescan volumes...")
        .collect();
    let stdout: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let mut answer = json!({
        "changed": !plan.steps.is_empty(),
        "freed": freed,
        "output": String::from_utf8_lossy(&VmConfig::parse(&output.0).canonical()),
        "text": output.lossy(),
        "stdout": stdout,
        "vmid": vmid,
    });
    if !plan.notes.is_empty() {
        answer["notes"] = json!(plan.notes);
    }
    answer
}

fn add_volume(world: &mut World, case: &Value) {
    let Some(id) = case["volid"].as_str().and_then(|v| VolumeId::parse(v).ok()) else {
        return;
    };
    let path = case["path"].as_str().map(str::to_owned);
    let info = VolumeInfo {
        name: id.name.clone(),
        owner: case["vmid"].as_u64().and_then(|n| u32::try_from(n).ok()),
        format: ImageFormat::Raw,
        size: case["size"].as_u64().map(ByteCount),
        used: None,
        parent: None,
        created: None,
        is_base: id.name.as_str().starts_with("base-"),
        read_only: false,
        snapshots: Vec::new(),
        identity: Identity(path.unwrap_or_else(|| id.to_string())),
        problem: None,
    };
    let section = crate::format::storage_cfg::StorageSection {
        id: id.storage.clone(),
        kind: Some(StorageKind::LvmThin),
        type_word: StorageKind::LvmThin.to_string(),
        properties: Vec::new(),
        content: vec![crate::model::ContentType::Images],
        broken: None,
    };
    let view = world.storages.entry(id.storage).or_insert(StorageView {
        section,
        facts: None,
        inventory: Ok(Inventory::default()),
    });
    if let Ok(inventory) = &mut view.inventory {
        inventory.volumes.push(info);
    }
}
