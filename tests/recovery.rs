//! Recovery when others were at work meanwhile: edited configs, storages that are away, damaged journals, two recoveries at once.

use crate::crash::{copy_tree, is_killed, machine_with_disks};
use crate::support::{Scratch, command, fill, new_root, ok, refused, volvisor, world};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

fn config(root: &Path, vmid: u32) -> PathBuf {
    root.join(format!("etc/pve/qemu-server/{vmid}.conf"))
}

fn journals(root: &Path) -> Vec<PathBuf> {
    let dir = root.join("var/lib/volvisor/journal");
    std::fs::read_dir(dir).map_or(Vec::new(), |d| d.flatten().map(|e| e.path()).collect())
}

/// Dies in front of the step of this kind (`step vol-rollback`), the `nth` of them.
fn die_before(root: &Path, words: &[&str], step: &str, nth: usize) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let scratch = Scratch::new(&format!("recovery-points-{call}"));
    let copy = scratch.path().join("copy");
    copy_tree(root, &copy);
    let log = scratch.path().join("points");
    // The copy's storage.cfg names the real directory: count on the real one, then put it back.
    command(root, words)
        .env("VOLVISOR_TEST_CRASH_LOG", &log)
        .output()
        .unwrap();
    copy_tree(&copy, root);
    let points = std::fs::read_to_string(&log).unwrap();
    let at = points
        .lines()
        .enumerate()
        .filter(|(_, line)| line.ends_with(step))
        .nth(nth)
        .unwrap_or_else(|| panic!("no '{step}' {nth} in:\n{points}"))
        .0
        + 1;
    let output = command(root, words)
        .env("VOLVISOR_TEST_CRASH_AT", at.to_string())
        .output()
        .unwrap();
    assert!(is_killed(output.status));
    assert_eq!(journals(root).len(), 1);
}

fn edit(root: &Path, vmid: u32, change: impl Fn(&str) -> String) {
    let path = config(root, vmid);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(&text)).unwrap();
}

fn text(root: &Path, vmid: u32) -> String {
    std::fs::read_to_string(config(root, vmid)).unwrap()
}

fn with_snapshot(root: &Path) {
    machine_with_disks(root);
    ok(root, &["qm", "snapshot", "100", "one"]);
    fill(root, "store:100/vm-100-disk-0.qcow2", 9, 50_000);
}

#[test]
fn an_edit_of_a_person_survives_undo_and_finish() {
    let scratch = Scratch::new("recovery-edit");
    let root = new_root(scratch.path());
    with_snapshot(&root);
    // Undone: a snapshot that did not get as far as its last write.
    die_before(
        &root,
        &["qm", "snapshot", "100", "two"],
        "step vol-snapshot",
        0,
    );
    edit(&root, 100, |t| format!("cores: 7\n{t}"));
    ok(&root, &["recover"]);
    let now = text(&root, 100);
    assert!(
        now.contains("cores: 7") && !now.contains("[two]") && !now.contains("lock"),
        "{now}"
    );
    // Finished: a rollback that had begun.
    die_before(
        &root,
        &["qm", "rollback", "100", "one"],
        "step vol-rollback",
        1,
    );
    edit(&root, 100, |t| {
        t.replace("cores: 7\n", "cores: 7\nballoon: 0\n")
    });
    ok(&root, &["recover"]);
    let now = text(&root, 100);
    assert!(
        now.contains("balloon: 0") && now.contains("parent: one"),
        "{now}"
    );
    assert!(!now.contains("lock"), "{now}");
}

#[test]
fn a_value_that_both_changed_is_named_with_the_way_out() {
    let scratch = Scratch::new("recovery-clash");
    let root = new_root(scratch.path());
    with_snapshot(&root);
    ok(&root, &["qm", "set", "100", "--memory", "128"]);
    die_before(
        &root,
        &["qm", "rollback", "100", "one"],
        "step vol-rollback",
        1,
    );
    edit(&root, 100, |t| t.replacen("memory: 128", "memory: 256", 1));
    let (_, said) = refused(&root, &["recover"]);
    assert!(
        said.contains("'memory'") && said.contains("'256'"),
        "{said}"
    );
    assert!(
        said.contains("100.conf") && said.contains("volvisor recover"),
        "{said}"
    );
    let (_, said) = refused(&root, &["qm", "start", "100"]);
    assert!(said.contains("stands in the way"), "{said}");
    assert!(text(&root, 100).contains("memory: 256"), "nothing is lost");
    // The way out that was told.
    edit(&root, 100, |t| t.replacen("memory: 256", "memory: 128", 1));
    ok(&root, &["recover"]);
    assert!(text(&root, 100).contains("memory: 64"));
}

#[test]
fn an_offline_storage_holds_up_its_own_machine_only_and_only_while_it_is_away() {
    let scratch = Scratch::new("recovery-offline");
    let root = new_root(scratch.path());
    with_snapshot(&root);
    ok(&root, &["qm", "create", "200", "--cores", "1"]);
    die_before(
        &root,
        &["qm", "rollback", "100", "one"],
        "step vol-rollback",
        1,
    );
    let (store, away) = (root.join("store"), root.join("away"));
    std::fs::rename(&store, &away).unwrap();
    ok(&root, &["qm", "set", "200", "--cores", "2"]);
    ok(&root, &["pvesm", "set", "store", "--disable", "1"]);
    let (_, said) = refused(&root, &["qm", "set", "100", "--cores", "2"]);
    assert!(
        said.contains("stands in the way") && said.contains("store"),
        "{said}"
    );
    refused(&root, &["recover"]);
    // Enabling the storage must not need the recovery that needs the storage.
    ok(&root, &["pvesm", "set", "store", "--disable", "0"]);
    std::fs::rename(&away, &store).unwrap();
    ok(&root, &["recover"]);
    assert!(journals(&root).is_empty());
    assert!(text(&root, 100).contains("parent: one"));
    ok(&root, &["qm", "set", "100", "--cores", "2"]);
}

#[test]
fn many_recoveries_at_once_end_as_one() {
    let scratch = Scratch::new("recovery-many");
    let root = new_root(scratch.path());
    with_snapshot(&root);
    die_before(
        &root,
        &["qm", "rollback", "100", "one"],
        "step vol-rollback",
        1,
    );
    let all: Vec<_> = (0..6)
        .map(|_| {
            command(&root, &["recover"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    assert!(journals(&root).is_empty());
    assert!(text(&root, 100).contains("parent: one"));
    let listed = ok(&root, &["task", "list"]);
    assert!(
        !listed.contains("interrupted") && !listed.contains("damaged"),
        "{listed}"
    );
}

#[test]
fn many_recoveries_of_storage_cfg_end_as_one() {
    let scratch = Scratch::new("recovery-cfg");
    let root = new_root(scratch.path());
    die_before(
        &root,
        &["pvesm", "set", "store", "--content", "images"],
        "step write-config",
        0,
    );
    let path = root.join("etc/pve/storage.cfg");
    let edited =
        std::fs::read_to_string(&path).unwrap() + "dir: mine\n\tpath /mine\n\tcontent iso\n\n";
    std::fs::write(&path, &edited).unwrap();
    let all: Vec<_> = (0..6)
        .map(|_| {
            command(&root, &["recover"])
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    assert!(journals(&root).is_empty());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);
}

#[test]
fn a_damaged_journal_stops_its_own_machine_and_is_named() {
    let scratch = Scratch::new("recovery-damaged");
    let root = new_root(scratch.path());
    with_snapshot(&root);
    ok(&root, &["qm", "create", "200", "--cores", "1"]);
    die_before(
        &root,
        &["qm", "rollback", "100", "one"],
        "step vol-rollback",
        1,
    );
    let journal = journals(&root).remove(0);
    let damaged = std::fs::read_to_string(&journal).unwrap().replacen(
        "\"kind\":\"step-begin\"",
        "\"kind\":\"step-begun\"",
        1,
    );
    std::fs::write(&journal, damaged).unwrap();
    ok(&root, &["qm", "set", "200", "--cores", "2"]);
    let (_, said) = refused(&root, &["qm", "set", "100", "--cores", "2"]);
    assert!(said.contains("damaged at line 2"), "{said}");
    assert!(ok(&root, &["task", "list"]).contains("damaged"));
    let (_, said) = refused(&root, &["recover"]);
    assert!(said.contains("move it away"), "{said}");
}

#[test]
fn a_rollback_whose_start_fails_is_done_and_blocks_nothing() {
    let scratch = Scratch::new("recovery-start");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    // No machine can be built from this, with KVM or without.
    ok(
        &root,
        &["qm", "set", "100", "--args", "-bios /nowhere/at/all"],
    );
    ok(&root, &["qm", "snapshot", "100", "one"]);
    let (_, said) = refused(&root, &["qm", "rollback", "100", "one", "--start", "1"]);
    assert!(said.contains("everything is done but the start"), "{said}");
    assert!(journals(&root).is_empty());
    ok(&root, &["qm", "set", "100", "--delete", "args"]);
    assert!(text(&root, 100).contains("parent: one"));
}

#[test]
fn a_destroy_that_could_not_begin_is_forgotten() {
    let scratch = Scratch::new("recovery-destroy");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    let before = world(&root);
    let volume = volvisor::model::VolumeId::parse("store:100/vm-100-disk-0.qcow2").unwrap();
    let engine = volvisor::engine::Engine::open(volvisor::engine::Paths::new(&root));
    let held = engine
        .backend(&volume.storage)
        .unwrap()
        .open(&volume.name, None, volvisor::backend::OpenMode::ReadWrite)
        .unwrap();
    refused(&root, &["qm", "destroy", "100"]);
    drop(held);
    ok(&root, &["recover"]);
    assert_eq!(
        world(&root),
        before,
        "a later recovery must not destroy what the user was told is still there"
    );
}

#[test]
fn a_journal_that_cannot_be_written_changes_nothing() {
    let scratch = Scratch::new("recovery-full");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    let before = world(&root);
    // A file where the directory should be: even root cannot write there.
    let dir = root.join("var/lib/volvisor/journal");
    std::fs::remove_dir_all(&dir).unwrap();
    std::fs::write(&dir, "").unwrap();
    let (_, said) = refused(&root, &["qm", "snapshot", "100", "snap"]);
    assert!(said.contains("/journal'"), "{said}");
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(world(&root), before);
    ok(&root, &["qm", "snapshot", "100", "snap"]);
}

#[test]
fn garbage_in_leases_and_pid_files_stops_nobody() {
    let scratch = Scratch::new("recovery-garbage");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    let engine = volvisor::engine::Paths::new(&root);
    std::fs::create_dir_all(engine.lease_dir()).unwrap();
    std::fs::create_dir_all(engine.run_dir()).unwrap();
    std::fs::write(engine.lease_dir().join("vm-100.lease"), b"\xff\0garbage").unwrap();
    let pid = engine.machine_pid(volvisor::model::VmId::new(100).unwrap());
    // The pid of a process that lives, but began at another time.
    let reused = format!(
        "{{\"process\":{{\"pid\":{},\"start\":1,\"boot\":\"x\"}},\"since\":1}}",
        std::process::id()
    );
    for garbage in [reused.as_bytes(), b"\xff{", b""] {
        std::fs::write(&pid, garbage).unwrap();
        assert!(ok(&root, &["qm", "status", "100"]).contains("stopped"));
        ok(
            &root,
            &[
                "qm",
                "set",
                "100",
                "--description",
                &garbage.len().to_string(),
            ],
        );
    }
    ok(&root, &["recover"]);
    assert!(!pid.exists(), "what a dead machine left is swept");
}

#[test]
fn a_saved_plan_is_refused_when_a_volume_was_replaced() {
    let scratch = Scratch::new("recovery-saved");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    let plan = scratch.path().join("plan.json");
    let output = volvisor(&root, &["vm", "destroy", "100", "--dry-run", "-o", "json"]);
    if !output.status.success() {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::write(&plan, &output.stdout).unwrap();
    let image = root.join("store/images/100/vm-100-disk-0.qcow2");
    let copy = root.join("store/images/100/copy");
    std::fs::copy(&image, &copy).unwrap();
    std::fs::rename(&copy, &image).unwrap();
    let (_, said) = refused(&root, &["plan", "apply", plan.to_str().unwrap(), "--yes"]);
    assert!(
        said.contains("vm-100-disk-0.qcow2") && said.contains("out of date"),
        "{said}"
    );
    assert!(image.exists() && config(&root, 100).exists());
}

#[test]
fn unlock_is_a_task_like_any_other() {
    let scratch = Scratch::new("recovery-unlock");
    let root = new_root(scratch.path());
    machine_with_disks(&root);
    edit(&root, 100, |t| format!("{t}lock: backup\n"));
    for words in [
        &["qm", "destroy", "100"][..],
        &["qm", "template", "100"],
        &["qm", "clone", "100", "101"],
        &["qm", "snapshot", "100", "snap"],
        &["qm", "start", "100"],
        &["qm", "set", "100", "--cores", "2"],
        &["qm", "resize", "100", "scsi0", "+1M"],
    ] {
        let before = world(&root);
        let (_, said) = refused(&root, words);
        assert!(said.contains("locked (backup)"), "{words:?}: {said}");
        assert_eq!(before, world(&root));
    }
    ok(&root, &["qm", "unlock", "100"]);
    let listed = ok(&root, &["task", "list"]);
    assert!(
        listed.contains("vm-unlock") && listed.contains("done"),
        "{listed}"
    );
    ok(&root, &["qm", "set", "100", "--protection", "1"]);
    let (_, said) = refused(&root, &["qm", "destroy", "100"]);
    assert!(said.contains("protection"), "{said}");
    ok(&root, &["qm", "set", "100", "--protection", "0"]);
    ok(&root, &["qm", "template", "100"]);
    for words in [
        &["qm", "start", "100"][..],
        &["qm", "snapshot", "100", "snap"],
        &["qm", "rollback", "100", "snap"],
    ] {
        let (_, said) = refused(&root, words);
        assert!(said.contains("template"), "{said}");
    }
}
