//! Rescan agrees with what the original did to the same configs and volumes, minus its hazards (`ours` and `why` in the cases).

use serde_json::Value;
use volvisor::model::{ByteCount, ErrorKind, Identity, StorageKind, VmId};
use volvisor::plan::predict::predict_all;
use volvisor::plan::testing::{Builder, vmid};
use volvisor::plan::{Intent, Plan, Step, World, plan};

fn world_of(case: &Value) -> World {
    let mut builder = Builder::new();
    for storage in ["aa", "bb", "st"] {
        builder = builder.storage(storage, StorageKind::LvmThin);
    }
    for volume in case["volumes"].as_array().into_iter().flatten() {
        builder = builder.volume_with(volume["volid"].as_str().unwrap(), 0, |info| {
            info.size = volume["size"].as_u64().map(ByteCount);
            info.owner = volume["vmid"].as_u64().map(|n| n as u32);
            // Two ids with one path are one volume.
            info.identity = Identity(volume["path"].as_str().unwrap_or_default().to_owned());
        });
    }
    let number = case["vmid"].as_u64().unwrap() as u32;
    builder
        .machine(number, case["input"].as_str().unwrap())
        .build()
}

fn config(world: &World, id: VmId) -> String {
    world.machines[&id].bytes.lossy().into_owned()
}

/// Lines sorted inside their sections: a lossless edit keeps an unusual order that the original would sort.
fn by_section(text: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in text.lines().filter(|l| !l.is_empty()) {
        if line.starts_with('[') {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap().push(line);
    }
    sections.iter_mut().for_each(|s| s.sort_unstable());
    sections
}

/// The lines the original prints between its headline and its end.
fn printed(plan: &Plan) -> String {
    assert_eq!(
        plan.done.first().map(String::as_str),
        Some("rescan volumes...")
    );
    plan.done[1..].iter().map(|l| format!("{l}\n")).collect()
}

#[test]
fn every_observed_case_ends_as_there_or_better_for_a_reason() {
    let text = include_str!("../testdata/cases/vm/rescan.jsonl");
    let mut tried = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let ours = case.get("ours");
        let want = |key: &str| ours.and_then(|o| o.get(key)).unwrap_or(&case[key]).clone();
        assert!(ours.is_none() || case["why"].is_string(), "{name}");
        let world = world_of(&case);
        let id = vmid(case["vmid"].as_u64().unwrap() as u32);
        let intent = Intent::Rescan { vmid: None };
        let plan = plan(&intent, &world).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(printed(&plan), want("stdout").as_str().unwrap(), "{name}");
        let freed: Vec<String> = plan
            .steps
            .iter()
            .filter_map(|s| match s {
                Step::DestroyVolume { volume, .. } => Some(volume.to_string()),
                _ => None,
            })
            .collect();
        let wanted: Vec<&str> = case["freed"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(freed, wanted, "{name}");
        let after = predict_all(&world, &plan.steps).unwrap();
        assert_eq!(
            by_section(&config(&after, id)),
            by_section(want("output").as_str().unwrap()),
            "{name}"
        );
        let again = volvisor::plan::plan(&intent, &after).unwrap();
        assert!(
            again.is_empty(),
            "{name}: a second rescan changes {:?}",
            again.steps
        );
        if let Some(note) = ours.and_then(|o| o.get("note")).and_then(Value::as_str) {
            assert!(
                plan.notes.iter().any(|n| n.contains(note)),
                "{name}: {:?}",
                plan.notes
            );
        }
        tried += 1;
    }
    assert!(tried >= 19, "only {tried} cases");
}

#[test]
fn a_locked_machine_and_a_dead_storage_are_passed_over_and_named() {
    let world = Builder::new()
        .storage("st", StorageKind::LvmThin)
        .storage("dead", StorageKind::LvmThin)
        .offline("dead", "no answer")
        .volume("st:vm-100-disk-0", 1)
        .volume("st:vm-101-disk-0", 1)
        .machine(100, "lock: backup\nmemory: 512\n")
        .machine(101, "memory: 512\n")
        .build();
    let plan = plan(&Intent::Rescan { vmid: None }, &world).unwrap();
    let after = predict_all(&world, &plan.steps).unwrap();
    assert_eq!(config(&after, vmid(100)), "lock: backup\nmemory: 512\n");
    assert!(config(&after, vmid(101)).contains("unused0: st:vm-101-disk-0"));
    assert!(
        plan.notes
            .iter()
            .any(|n| n.contains("VM 100") && n.contains("VM is locked (backup)"))
    );
    assert!(
        plan.notes
            .iter()
            .any(|n| n.contains("'dead'") && n.contains("no answer"))
    );
}

#[test]
fn a_pending_disk_is_a_reference() {
    let world = Builder::new()
        .storage("st", StorageKind::LvmThin)
        .volume("st:vm-100-disk-0", 1)
        .machine(
            100,
            "memory: 512\n\n[PENDING]\nscsi0: st:vm-100-disk-0,size=1G\n",
        )
        .running(100)
        .build();
    let plan = plan(&Intent::Rescan { vmid: None }, &world).unwrap();
    assert!(plan.is_empty(), "{:?}", plan.steps);
}

#[test]
fn the_trash_is_not_brought_back() {
    let world = Builder::new()
        .storage("st", StorageKind::LvmThin)
        .volume("st:vm-100-trash-1700000000-disk-0", 1)
        .machine(100, "memory: 512\n")
        .build();
    assert!(
        plan(&Intent::Rescan { vmid: None }, &world)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_machine_that_does_not_exist_is_an_error() {
    let world = Builder::new().build();
    let error = plan(
        &Intent::Rescan {
            vmid: Some(vmid(100)),
        },
        &world,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .message()
            .contains("qemu-server/100.conf' does not exist")
    );
}
