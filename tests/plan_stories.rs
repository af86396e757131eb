//! What planners promise, as small stories: the right steps, refusals with a way out, and nothing to do the second time.

use volvisor::format::vm_config::digest;
use volvisor::model::{
    ByteCount, CloneMode, ErrorKind, ImageFormat, Slot, SnapshotMethod, SnapshotName, StorageId,
    StorageKind, VolumeName,
};
use volvisor::plan::intent::{KeepRules, SizeWish};
use volvisor::plan::predict::predict_all;
use volvisor::plan::testing::{Builder, NOW, snapshot, vmid, volid};
use volvisor::plan::{Direction, Intent, Plan, Step, World, audit, plan, render};

const TWO_DISKS: &str = "agent: 1\nboot: order=scsi0\ncores: 2\nide2: none,media=cdrom\nmemory: 1024\nname: t\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nscsi0: local:100/vm-100-disk-0.qcow2,size=8G\nscsi1: local:100/vm-100-disk-1.qcow2,size=4G\nvmgenid: c773c261-d800-4348-9f5d-167fadd53cf8\n";

fn two_disks() -> Builder {
    Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.qcow2", 8)
        .volume("local:100/vm-100-disk-1.qcow2", 4)
        .machine(100, TWO_DISKS)
}

fn name(text: &str) -> SnapshotName {
    SnapshotName::parse(text).unwrap()
}

fn slot(text: &str) -> Slot {
    Slot::parse(text).unwrap()
}

fn take(world: &World, text: &str) -> Plan {
    plan(&snap(text), world).unwrap_or_else(|e| panic!("{e}"))
}

fn snap(text: &str) -> Intent {
    Intent::Snapshot {
        vmid: vmid(100),
        name: name(text),
        description: Some("before upgrade".to_owned()),
        vmstate: false,
    }
}

fn set(settings: &[(&str, &str)], delete: &[&str]) -> Intent {
    Intent::VmSet {
        vmid: vmid(100),
        settings: settings
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        delete: delete.iter().map(|k| k.to_string()).collect(),
        revert: Vec::new(),
        force: false,
        digest: None,
    }
}

/// The world after the plan, through every step.
fn after(world: &World, intent: &Intent) -> World {
    let plan = plan(intent, world).unwrap_or_else(|e| panic!("{}: {e}", intent.verb()));
    predict_all(world, &plan.steps).unwrap_or_else(|e| panic!("{}: {e}", intent.verb()))
}

fn config(world: &World, number: u32) -> String {
    world.machines[&vmid(number)].bytes.lossy().into_owned()
}

fn volumes(world: &World, storage: &str) -> Vec<String> {
    world.storages[&StorageId::parse(storage).unwrap()]
        .inventory
        .as_ref()
        .unwrap()
        .volumes
        .iter()
        .map(|v| v.name.to_string())
        .collect()
}

fn refused(intent: &Intent, world: &World) -> (ErrorKind, String, String) {
    match plan(intent, world) {
        Err(e) => (
            e.kind(),
            e.message().to_owned(),
            e.hint_text().unwrap_or_default().to_owned(),
        ),
        Ok(plan) => panic!("no refusal but:\n{}", render(&plan)),
    }
}

/// The text of the plan is kept beside the tests; VOLVISOR_GOLDEN=write makes it anew.
fn golden(file: &str, plan: &Plan) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/plans")
        .join(format!("{file}.txt"));
    let text = render(plan);
    if std::env::var("VOLVISOR_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, kept,
        "{file}: VOLVISOR_GOLDEN=write accepts the new text"
    );
}

// ---- snapshots

#[test]
fn a_snapshot_is_recorded_before_and_committed_after_the_volumes() {
    let world = two_disks().build();
    let plan = take(&world, "s1");
    golden("snapshot", &plan);
    assert_eq!(plan.commit, 2);
    assert_eq!(plan.direction_at(2), Direction::Undo);
    assert_eq!(plan.direction_at(3), Direction::Forward);
    let then = predict_all(&world, &plan.steps).unwrap();
    assert_eq!(
        config(&then, 100),
        format!(
            "{}parent: s1\n{}\n[s1]\n#before upgrade\n{}snaptime: {NOW}\n{}",
            &TWO_DISKS[..TWO_DISKS.find("scsi0:").unwrap()],
            &TWO_DISKS[TWO_DISKS.find("scsi0:").unwrap()..],
            &TWO_DISKS[..TWO_DISKS.find("vmgenid").unwrap()],
            &TWO_DISKS[TWO_DISKS.find("vmgenid").unwrap()..]
        )
    );
    let (kind, message, _) = refused(&snap("s1"), &then);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Conflict, "snapshot name 's1' already used")
    );
}

#[test]
fn the_second_snapshot_hangs_below_the_first() {
    let mut world = after(&two_disks().build(), &snap("s1"));
    world.now += 60;
    let world = after(&world, &snap("s2"));
    let text = config(&world, 100);
    assert!(text.contains("\n[s2]\n"), "{text}");
    assert_eq!(text.matches("parent: s1\n").count(), 1, "{text}");
    assert_eq!(text.matches("parent: s2\n").count(), 1, "{text}");
}

#[test]
fn a_running_machine_takes_its_own_snapshot() {
    let plan = take(&two_disks().running(100).build(), "s1");
    assert!(plan.steps.iter().any(|s| matches!(s, Step::SnapshotGroup { live: Some(id), volumes, .. } if *id == vmid(100) && volumes.len() == 2)));
}

#[test]
fn an_impossible_snapshot_names_the_disk_and_the_way_out() {
    let raw = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.raw", 8)
        .machine(100, "scsi0: local:100/vm-100-disk-0.raw,size=8G\n")
        .build();
    let (kind, message, hint) = refused(&snap("s1"), &raw);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Unsupported, "snapshot feature is not available")
    );
    for word in ["scsi0", "raw", "local", "qcow2"] {
        assert!(hint.contains(word), "{hint}");
    }
    let foreign = Builder::new()
        .storage("ceph", StorageKind::Rbd)
        .without_backend("ceph")
        .machine(100, "virtio0: ceph:vm-100-disk-0,size=8G\n")
        .build();
    let (_, message, hint) = refused(&snap("s1"), &foreign);
    assert_eq!(message, "snapshot feature is not available");
    assert!(
        hint.contains("virtio0") && hint.contains("rbd") && hint.contains("no backend"),
        "{hint}"
    );
}

#[test]
fn a_storage_snapshot_nobody_recorded_is_a_conflict() {
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume_with("local:100/vm-100-disk-0.qcow2", 8, |v| {
            v.snapshots
                .push(snapshot("s1", NOW - 5, SnapshotMethod::Qcow2Internal));
        })
        .machine(100, "scsi0: local:100/vm-100-disk-0.qcow2,size=8G\n")
        .build();
    let (kind, message, hint) = refused(&snap("s1"), &world);
    assert_eq!(kind, ErrorKind::Conflict);
    assert!(
        message.contains("vm-100-disk-0.qcow2") && hint.contains("volvisor audit"),
        "{message} {hint}"
    );
    let found = audit(&world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].kind,
        volvisor::plan::FindingKind::StorageSnapshotWithoutSection
    );
}

#[test]
fn a_lock_or_a_template_or_a_line_nobody_can_read_is_refused() {
    let locked = Builder::new()
        .machine(100, "lock: backup\nmemory: 512\n")
        .build();
    let (kind, message, hint) = refused(&snap("s1"), &locked);
    assert_eq!(
        (kind, message.as_str()),
        (ErrorKind::Busy, "VM is locked (backup)")
    );
    assert!(hint.contains("qm unlock 100"));
    let template = Builder::new()
        .machine(100, "memory: 512\ntemplate: 1\n")
        .build();
    assert_eq!(
        refused(&snap("s1"), &template).1,
        "you can't take a snapshot if it's a template"
    );
    let future = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.qcow2", 8)
        .machine(
            100,
            "memory: 512\nscsi0: local:100/vm-100-disk-0.qcow2,futureoption=1\n",
        )
        .build();
    let (_, message, _) = refused(&snap("s1"), &future);
    assert!(
        message.contains("line 2") && message.contains("scsi0"),
        "{message}"
    );
}

#[test]
fn rollback_stops_the_machine_and_brings_back_disks_and_config() {
    let world = after(&two_disks().build(), &snap("s1"));
    let world = after(
        &world,
        &set(&[("memory", "2048"), ("scsi2", "local:1")], &[]),
    );
    let mut world = world;
    world.entropy = [9; 32];
    let running = {
        let mut w = world.clone();
        w.machines.get_mut(&vmid(100)).unwrap().running = Some(1);
        w
    };
    let intent = Intent::Rollback {
        vmid: vmid(100),
        name: name("s1"),
        start: true,
    };
    let plan = plan(&intent, &running).unwrap();
    golden("rollback", &plan);
    assert!(matches!(plan.steps[1], Step::StopMachine { .. }));
    assert!(matches!(
        plan.steps[plan.commit],
        Step::RollbackVolume { .. }
    ));
    let then = predict_all(&running, &plan.steps).unwrap();
    let text = config(&then, 100);
    assert!(
        text.starts_with("agent: 1\n") && text.contains("memory: 1024\n"),
        "{text}"
    );
    assert!(
        text.contains("unused0: local:100/vm-100-disk-2.raw\n"),
        "{text}"
    );
    assert!(
        !text.contains("lock:") && text.contains("[s1]\n#before upgrade\n"),
        "{text}"
    );
    let main = &text[..text.find("[s1]").unwrap()];
    assert!(
        !main.contains("c773c261"),
        "the generation id is renewed: {main}"
    );
    assert!(then.machines[&vmid(100)].running.is_some());
}

#[test]
fn rollback_refuses_before_anything_is_touched() {
    let world = after(&two_disks().build(), &snap("s1"));
    let back = |n: &str| Intent::Rollback {
        vmid: vmid(100),
        name: name(n),
        start: false,
    };
    assert_eq!(
        refused(&back("s2"), &world).1,
        "snapshot 's2' does not exist"
    );
    let mut holes = world.clone();
    for view in holes.storages.values_mut() {
        view.inventory.as_mut().unwrap().volumes[1]
            .snapshots
            .clear();
    }
    let (kind, message, _) = refused(&back("s1"), &holes);
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(
        message,
        "can't rollback, snapshot 's1' does not exist on 'local:100/vm-100-disk-1.qcow2'"
    );
    let zfs = Builder::new()
        .storage("tank", StorageKind::ZfsPool)
        .volume_with("tank:vm-100-disk-0", 1, |v| {
            v.snapshots.push(snapshot("s1", 1, SnapshotMethod::Zfs));
            v.snapshots.push(snapshot("s2", 2, SnapshotMethod::Zfs));
        })
        .machine(100, "parent: s2\nscsi0: tank:vm-100-disk-0,size=1G\n\n[s1]\nscsi0: tank:vm-100-disk-0,size=1G\nsnaptime: 1\n\n[s2]\nparent: s1\nscsi0: tank:vm-100-disk-0,size=1G\nsnaptime: 2\n")
        .build();
    let (_, message, hint) = refused(&back("s1"), &zfs);
    assert_eq!(
        message,
        "can't rollback, 's1' is not most recent snapshot on 'tank:vm-100-disk-0'"
    );
    assert!(hint.contains("s2"));
    assert!(plan(&back("s2"), &zfs).is_ok());
}

#[test]
fn deleting_relinks_children_and_keeps_what_is_used() {
    let mut world = two_disks().build();
    for (at, n) in ["s1", "s2", "s3"].into_iter().enumerate() {
        world.now = NOW + at as u64;
        world = after(&world, &snap(n));
    }
    let delete = |n: &str| Intent::SnapshotDelete {
        vmid: vmid(100),
        name: name(n),
        force: false,
    };
    let plan = plan(&delete("s2"), &world).unwrap();
    golden("snapshot-delete", &plan);
    let then = predict_all(&world, &plan.steps).unwrap();
    let text = config(&then, 100);
    assert!(
        !text.contains("[s2]") && !text.contains("parent: s2") && !text.contains("unused"),
        "{text}"
    );
    let s3 = &text[text.find("[s3]").unwrap()..];
    assert!(s3.contains("parent: s1\n"), "{text}");
    let last = after(&after(&then, &delete("s1")), &delete("s3"));
    assert_eq!(config(&last, 100), TWO_DISKS);
    assert_eq!(refused(&delete("s1"), &last).0, ErrorKind::NotFound);
}

#[test]
fn a_half_gone_snapshot_is_deleted_without_force() {
    let mut world = after(&two_disks().build(), &snap("s1"));
    for view in world.storages.values_mut() {
        view.inventory.as_mut().unwrap().volumes[0]
            .snapshots
            .clear();
    }
    let intent = Intent::SnapshotDelete {
        vmid: vmid(100),
        name: name("s1"),
        force: false,
    };
    assert_eq!(config(&after(&world, &intent), 100), TWO_DISKS);
    for view in world.storages.values_mut() {
        view.inventory.as_mut().unwrap().volumes.remove(0);
    }
    assert_eq!(config(&after(&world, &intent), 100), TWO_DISKS);
}

#[test]
fn what_the_original_left_half_done_is_unlocked_and_deleted() {
    let left = TWO_DISKS.replace("memory", "lock: snapshot\nmemory")
        + "\n[s1]\nscsi0: local:100/vm-100-disk-0.qcow2,size=8G\nscsi1: local:100/vm-100-disk-1.qcow2,size=4G\nsnapstate: prepare\nsnaptime: 1\n";
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume_with("local:100/vm-100-disk-0.qcow2", 8, |v| {
            v.snapshots
                .push(snapshot("s1", 1, SnapshotMethod::Qcow2Internal));
        })
        .volume("local:100/vm-100-disk-1.qcow2", 4)
        .machine(100, &left)
        .build();
    let delete = Intent::SnapshotDelete {
        vmid: vmid(100),
        name: name("s1"),
        force: false,
    };
    let (_, message, hint) = refused(&delete, &world);
    assert_eq!(message, "VM is locked (snapshot)");
    assert!(hint.contains("qm unlock 100"));
    let open = after(&world, &Intent::VmUnlock { vmid: vmid(100) });
    let back = Intent::Rollback {
        vmid: vmid(100),
        name: name("s1"),
        start: false,
    };
    assert_eq!(
        refused(&back, &open).1,
        "unable to rollback to incomplete snapshot (snapstate = prepare)"
    );
    assert_eq!(config(&after(&open, &delete), 100), TWO_DISKS);
}

#[test]
fn ten_thousand_snapshots_are_pruned_by_one_plan() {
    let mut text = String::from("parent: s9999\nscsi0: tank:vm-100-disk-0,size=1G\n");
    for n in 0..10_001 {
        let parent = if n == 0 {
            String::new()
        } else {
            format!("parent: s{}\n", n - 1)
        };
        text.push_str(&format!(
            "\n[s{n}]\n{parent}scsi0: tank:vm-100-disk-0,size=1G\nsnaptime: {}\n",
            NOW + n
        ));
    }
    let world = Builder::new()
        .storage("tank", StorageKind::ZfsPool)
        .volume_with("tank:vm-100-disk-0", 1, |v| {
            v.snapshots = (0..10_001)
                .map(|n| snapshot(&format!("s{n}"), NOW + n, SnapshotMethod::Zfs))
                .collect();
        })
        .machine(100, &text)
        .build();
    let intent = Intent::SnapshotPrune {
        vmid: vmid(100),
        keep: KeepRules {
            last: Some(1),
            ..KeepRules::default()
        },
        prefix: None,
    };
    let begun = std::time::Instant::now();
    let plan = plan(&intent, &world).unwrap();
    let took = begun.elapsed();
    assert_eq!(plan.steps.len(), 10_002);
    println!("planned {} steps in {took:?}", plan.steps.len());
    // Debug builds are an order of magnitude slower; quadratic work would take minutes.
    assert!(took.as_secs() < 10, "{took:?}");
    let last = plan.steps.last();
    let Some(Step::WriteConfig {
        after: Some(text), ..
    }) = last
    else {
        panic!("{last:?}")
    };
    assert_eq!(text.lossy().matches('[').count(), 1);
}

// ---- machines and volumes

#[test]
fn create_makes_volumes_then_one_config_and_grabs_nothing() {
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:9999/vm-9999-disk-0.qcow2", 1)
        .build();
    let intent = Intent::VmCreate {
        vmid: vmid(9999),
        settings: [
            ("name", "web"),
            ("memory", "512"),
            ("scsi0", "local:4,format=qcow2,discard=on"),
            ("net0", "virtio,bridge=vmbr0"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .to_vec(),
        storage: None,
        start: false,
    };
    let plan = plan(&intent, &world).unwrap();
    golden("create", &plan);
    assert!(matches!(
        plan.steps[plan.commit],
        Step::WriteConfig { before: None, .. }
    ));
    let then = predict_all(&world, &plan.steps).unwrap();
    let text = config(&then, 9999);
    assert!(
        text.contains("scsi0: local:9999/vm-9999-disk-1.qcow2,discard=on,size=4G\n"),
        "{text}"
    );
    assert!(!text.contains("disk-0"), "{text}");
    assert!(
        text.contains("boot: order=scsi0;net0\n") && text.contains("net0: virtio=BC:24:11:"),
        "{text}"
    );
    assert!(
        refused(&intent, &then)
            .1
            .starts_with("unable to create VM 9999 - VM 9999 already exists on node 'n1'")
    );
}

#[test]
fn an_orphan_is_adopted_by_rescan_and_set() {
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.qcow2", 4)
        .machine(100, "memory: 512\n")
        .build();
    let world = after(&world, &Intent::Rescan { vmid: None });
    assert_eq!(
        config(&world, 100),
        "memory: 512\nunused0: local:100/vm-100-disk-0.qcow2\n"
    );
    let attach = set(&[("scsi0", "local:100/vm-100-disk-0.qcow2")], &[]);
    let world = after(&world, &attach);
    assert_eq!(
        config(&world, 100),
        "memory: 512\nscsi0: local:100/vm-100-disk-0.qcow2,size=4G\n"
    );
    assert!(plan(&attach, &world).unwrap().is_empty());
}

#[test]
fn detaching_keeps_the_volume_and_force_frees_it() {
    let world = two_disks().build();
    let plan_out = plan(&set(&[], &["scsi1"]), &world).unwrap();
    golden("detach", &plan_out);
    let out = after(&world, &set(&[], &["scsi1"]));
    assert!(config(&out, 100).contains("unused0: local:100/vm-100-disk-1.qcow2\n"));
    assert_eq!(volumes(&out, "local").len(), 2);
    let freed = after(&out, &set(&[], &["unused0"]));
    assert_eq!(volumes(&freed, "local"), ["100/vm-100-disk-0.qcow2"]);
    let forced = after(
        &world,
        &Intent::DiskUnlink {
            vmid: vmid(100),
            slots: vec![slot("scsi1")],
            force: true,
        },
    );
    assert_eq!(volumes(&forced, "local"), ["100/vm-100-disk-0.qcow2"]);
    assert!(!config(&forced, 100).contains("disk-1"));
}

#[test]
fn a_volume_of_a_snapshot_or_a_protected_machine_is_not_freed() {
    let world = after(&two_disks().build(), &snap("s1"));
    let world = after(&world, &set(&[], &["scsi1"]));
    let (_, message, hint) = refused(&set(&[], &["unused0"]), &world);
    assert_eq!(
        message,
        "unable to delete 'local:100/vm-100-disk-1.qcow2' - volume is still in use (snapshot?)"
    );
    assert!(hint.contains("qm delsnapshot 100 s1"));
    let guarded = after(&two_disks().build(), &set(&[("protection", "1")], &[]));
    assert_eq!(
        refused(&set(&[], &["scsi1"]), &guarded).1,
        "can't remove drive 'scsi1' - protection mode enabled"
    );
}

#[test]
fn a_running_machine_gets_slow_keys_as_pending_and_a_stopped_one_applies_them() {
    let world = two_disks().running(100).build();
    let intent = set(&[("memory", "4096"), ("name", "new")], &["scsi1"]);
    let mut then = after(&world, &intent);
    let text = config(&then, 100);
    assert!(
        text.contains("name: new\n") && text.contains("memory: 1024\n"),
        "{text}"
    );
    assert!(
        text.contains("[PENDING]\ndelete: scsi1\nmemory: 4096\n"),
        "{text}"
    );
    let reverted = after(
        &then,
        &Intent::VmSet {
            vmid: vmid(100),
            settings: Vec::new(),
            delete: Vec::new(),
            revert: vec!["memory".to_owned(), "scsi1".to_owned()],
            force: false,
            digest: None,
        },
    );
    assert_eq!(
        config(&reverted, 100),
        TWO_DISKS.replace("name: t", "name: new")
    );
    then.machines.get_mut(&vmid(100)).unwrap().running = None;
    let started = after(
        &then,
        &Intent::VmStart {
            vmid: vmid(100),
            paused: false,
            skiplock: false,
        },
    );
    let text = config(&started, 100);
    assert!(
        text.contains("memory: 4096\n")
            && text.contains("unused0: local:100/vm-100-disk-1.qcow2\n")
            && !text.contains("PENDING"),
        "{text}"
    );
}

#[test]
fn a_digest_of_yesterday_is_refused() {
    let world = two_disks().build();
    let with = |d: &str| Intent::VmSet {
        vmid: vmid(100),
        settings: vec![("cores".to_owned(), "4".to_owned())],
        delete: Vec::new(),
        revert: Vec::new(),
        force: false,
        digest: Some(d.to_owned()),
    };
    assert_eq!(
        refused(&with("0123"), &world).1,
        "checksum mismatch (file change by other user?)"
    );
    let plan = plan(&with(&digest(TWO_DISKS.as_bytes())), &world).unwrap();
    assert_eq!(plan.done[0], "update VM 100: -cores 4");
}

#[test]
fn a_disk_grows_and_never_shrinks() {
    let world = two_disks().build();
    let grow = |change| Intent::DiskResize {
        vmid: vmid(100),
        slot: slot("scsi0"),
        change,
        digest: None,
    };
    let to = grow(SizeWish::To(ByteCount(10 << 30)));
    let then = after(&world, &to);
    assert!(config(&then, 100).contains("vm-100-disk-0.qcow2,size=10G\n"));
    assert!(plan(&to, &then).unwrap().is_empty());
    assert_eq!(
        refused(&grow(SizeWish::To(ByteCount(1 << 30))), &then).1,
        "shrinking disks is not supported"
    );
    let plus = after(&then, &grow(SizeWish::Plus(ByteCount(1 << 30))));
    assert!(config(&plus, 100).contains("vm-100-disk-0.qcow2,size=11G\n"));
}

#[test]
fn a_template_is_cloned_with_new_names_and_addresses() {
    let world = after(
        &two_disks().build(),
        &Intent::VmTemplate {
            vmid: vmid(100),
            disk: None,
        },
    );
    assert_eq!(
        volumes(&world, "local"),
        ["100/base-100-disk-0.qcow2", "100/base-100-disk-1.qcow2"]
    );
    assert!(config(&world, 100).contains("scsi0: local:100/base-100-disk-0.qcow2,size=8G\n"));
    let clone = |mode, newid| Intent::VmClone {
        vmid: vmid(100),
        newid: vmid(newid),
        name: None,
        description: None,
        mode,
        snapshot: None,
        storage: None,
        format: None,
    };
    let linked = plan(&clone(None, 101), &world).unwrap();
    golden("clone-linked", &linked);
    let then = predict_all(&world, &linked.steps).unwrap();
    let text = config(&then, 101);
    assert!(
        text.contains("scsi0: local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2,size=8G\n"),
        "{text}"
    );
    assert!(
        text.contains("name: Copy-of-VM-t\n")
            && !text.contains("00:00:01")
            && !text.contains("template"),
        "{text}"
    );
    let full = after(&then, &clone(Some(CloneMode::Full), 102));
    assert!(config(&full, 102).contains("scsi1: local:102/vm-102-disk-1.qcow2,size=4G\n"));
    let destroy = Intent::VmDestroy {
        vmid: vmid(100),
        purge: false,
        destroy_unreferenced: false,
        skiplock: false,
    };
    assert!(
        refused(&destroy, &full)
            .1
            .contains("is still in use by linked cloned")
    );
}

#[test]
fn destroying_frees_snapshot_disks_too_and_drops_the_config_last() {
    let world = after(&two_disks().build(), &snap("s1"));
    let world = after(&world, &set(&[], &["scsi1"]));
    let intent = Intent::VmDestroy {
        vmid: vmid(100),
        purge: false,
        destroy_unreferenced: false,
        skiplock: false,
    };
    let plan = plan(&intent, &world).unwrap();
    golden("destroy", &plan);
    assert_eq!(plan.commit, 1);
    assert!(matches!(
        plan.steps.last(),
        Some(Step::WriteConfig { after: None, .. })
    ));
    let then = predict_all(&world, &plan.steps).unwrap();
    assert!(volumes(&then, "local").is_empty() && then.vmids.is_empty());
    assert_eq!(refused(&intent, &then).0, ErrorKind::NotFound);
    let mut running = world.clone();
    running.machines.get_mut(&vmid(100)).unwrap().running = Some(1);
    assert_eq!(
        refused(&intent, &running).1,
        "VM 100 is running - destroy failed"
    );
}

#[test]
fn alloc_takes_the_next_name_and_free_takes_it_back() {
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.raw", 1)
        .build();
    let alloc = |leaf: Option<&str>| Intent::VolumeAlloc {
        storage: StorageId::parse("local").unwrap(),
        vmid: vmid(100),
        leaf: leaf.map(str::to_owned),
        format: None,
        size: ByteCount(1 << 30),
    };
    let plan_it = plan(&alloc(None), &world).unwrap();
    assert_eq!(
        plan_it.done,
        ["successfully created 'local:100/vm-100-disk-1.raw'"]
    );
    let named = plan(&alloc(Some("vm-100-disk-7.qcow2")), &world).unwrap();
    assert!(
        matches!(&named.steps[0], Step::CreateVolume { spec, .. } if spec.format == ImageFormat::Qcow2)
    );
    assert_eq!(
        refused(&alloc(Some("vm-100-disk-0.raw")), &world).0,
        ErrorKind::Conflict
    );
    let free = Intent::VolumeFree {
        volume: volid("local:100/vm-100-disk-0.raw"),
    };
    let gone = plan(&free, &world).unwrap();
    assert_eq!(gone.done, ["Removed volume 'local:100/vm-100-disk-0.raw'"]);
    assert_eq!(refused(&free, &after(&world, &free)).0, ErrorKind::NotFound);
}

#[test]
fn a_volume_is_renamed_to_another_machine_when_nobody_uses_it() {
    let rename = Intent::VolumeRename {
        volume: volid("local:100/vm-100-disk-1.qcow2"),
        to: VolumeName::parse("200/vm-200-disk-0.qcow2").unwrap(),
    };
    let (_, message, hint) = refused(&rename, &two_disks().build());
    assert!(
        message.contains("VM 100 (scsi1)") && hint.contains("--delete scsi1"),
        "{message} {hint}"
    );
    let lone = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-1.qcow2", 4)
        .build();
    assert_eq!(
        volumes(&after(&lone, &rename), "local"),
        ["200/vm-200-disk-0.qcow2"]
    );
}

#[test]
fn the_trash_gives_back_what_it_took() {
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .volume("local:100/vm-100-disk-0.qcow2", 4)
        .volume("local:100/base-100-disk-1.raw", 4)
        .volume("local:101/foo.raw", 4)
        .build();
    let all: Vec<_> = volumes(&world, "local")
        .iter()
        .map(|n| volid(&format!("local:{n}")))
        .collect();
    let mut away = after(
        &world,
        &Intent::Quarantine {
            volumes: all,
            expire_days: 7,
        },
    );
    let trashed = volvisor::plan::trash::trashed(&away);
    assert_eq!(trashed.len(), 3);
    assert!(trashed.iter().all(|t| t.expires == NOW + 7 * 86_400));
    assert!(
        plan(&Intent::TrashEmpty { all: false }, &away)
            .unwrap()
            .is_empty()
    );
    let mut back = away.clone();
    for item in trashed {
        back = after(
            &back,
            &Intent::TrashRestore {
                volume: item.volume,
            },
        );
    }
    let mut names = volumes(&back, "local");
    names.sort();
    assert_eq!(
        names,
        [
            "100/base-100-disk-1.raw",
            "100/vm-100-disk-0.qcow2",
            "101/foo.raw"
        ]
    );
    away.now += 8 * 86_400;
    assert!(volumes(&after(&away, &Intent::TrashEmpty { all: false }), "local").is_empty());
}

#[test]
fn start_and_stop_say_what_is_in_the_way() {
    let start = Intent::VmStart {
        vmid: vmid(100),
        paused: false,
        skiplock: false,
    };
    assert_eq!(
        refused(&start, &two_disks().running(100).build()).1,
        "VM 100 already running"
    );
    let missing = Builder::new()
        .storage("local", StorageKind::Dir)
        .machine(100, TWO_DISKS)
        .build();
    let (kind, message, hint) = refused(&start, &missing);
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(
        message.contains("vm-100-disk-0.qcow2") && hint.contains("scsi0"),
        "{message} {hint}"
    );
    let stop = Intent::VmStop {
        vmid: vmid(100),
        timeout_s: 60,
        skiplock: false,
    };
    assert!(plan(&stop, &two_disks().build()).unwrap().is_empty());
    assert!(
        !plan(&stop, &two_disks().running(100).build())
            .unwrap()
            .is_empty()
    );
}

// ---- audit

#[test]
fn the_audit_finds_both_directions() {
    use volvisor::plan::FindingKind as K;
    let world = Builder::new()
        .storage("local", StorageKind::Dir)
        .storage("other", StorageKind::Dir)
        .storage("dead", StorageKind::Dir)
        .offline("dead", "mount is gone")
        .volume("local:100/vm-100-disk-0.qcow2", 1)
        .volume_with("other:100/vm-100-disk-0.qcow2", 1, |v| {
            v.identity = volvisor::model::Identity("identity of local:100/vm-100-disk-0.qcow2".to_owned());
        })
        .volume("local:100/vm-100-disk-5.qcow2", 1)
        .volume("local:100/vm-100-state-s9.raw", 1)
        .volume("local:555/vm-555-disk-0.qcow2", 1)
        .volume_with("local:100/vm-100-disk-6.qcow2", 1, |v| {
            v.size = None;
            v.problem = Some("truncated at offset 65536".to_owned());
        })
        .volume("local:100/vm-100-disk-7.qcow2", 1)
        .machine(
            100,
            "scsi0: local:100/vm-100-disk-0.qcow2,size=1G\nscsi1: local:100/vm-100-disk-9.qcow2,size=1G\nunused0: local:100/vm-100-disk-6.qcow2\n\n[s1]\nscsi0: local:100/vm-100-disk-0.qcow2,size=1G\nscsi2: local:100/vm-100-disk-7.qcow2,size=1G\nsnaptime: 1\n",
        )
        .machine(101, "scsi0: local:100/vm-100-disk-0.qcow2,size=1G\n")
        .build();
    let found = audit(&world);
    let has = |kind: K, object: &str| found.iter().any(|f| f.kind == kind && f.object == object);
    for (kind, object) in [
        (K::VolumeWithoutVm, "local:555/vm-555-disk-0.qcow2"),
        (K::VolumeWithoutReference, "local:100/vm-100-disk-5.qcow2"),
        (K::OnlyInSnapshot, "local:100/vm-100-disk-7.qcow2"),
        (K::ReferenceWithoutVolume, "local:100/vm-100-disk-9.qcow2"),
        (
            K::SectionWithoutStorageSnapshot,
            "local:100/vm-100-disk-0.qcow2",
        ),
        (K::LeakedState, "local:100/vm-100-state-s9.raw"),
        (K::Alias, "other:100/vm-100-disk-0.qcow2"),
        (K::Alias, "local:100/vm-100-disk-0.qcow2"),
        (K::UnreadableImage, "local:100/vm-100-disk-6.qcow2"),
        (K::StorageNotSeen, "dead"),
    ] {
        assert!(has(kind, object), "{kind:?} {object} not in {found:#?}");
    }
    let orphan = found.iter().find(|f| f.kind == K::VolumeWithoutVm).unwrap();
    assert_eq!(
        (orphan.vmid, orphan.bytes, orphan.age_s),
        (Some(555), Some(1 << 20), Some(86_400))
    );
}

#[test]
fn a_large_world_is_audited_without_quadratic_work() {
    let mut builder = Builder::new().storage("tank", StorageKind::LvmThin);
    for vm in 0..1_000u32 {
        let number = 1_000 + vm;
        let mut text = String::new();
        for disk in 0..10 {
            builder = builder.volume(&format!("tank:vm-{number}-disk-{disk}"), 1);
            if disk < 9 {
                text.push_str(&format!(
                    "scsi{disk}: tank:vm-{number}-disk-{disk},size=1G\n"
                ));
            }
        }
        builder = builder.machine(number, &text);
    }
    let world = builder.build();
    let begun = std::time::Instant::now();
    let found = audit(&world);
    let took = begun.elapsed();
    println!("audited in {took:?}");
    assert_eq!(found.len(), 1_000);
    assert!(took.as_secs() < 5, "{took:?}");
}
