//! Bad input of every kind: a clear error that names the object and the next step, and nothing lost.

use crate::support::{
    Scratch, command, fill, kvm_missing, new_root, ok, refused, skip, volvisor, world,
};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn machine(root: &Path) {
    ok(
        root,
        &[
            "qm",
            "create",
            "100",
            "--name",
            "t",
            "--memory",
            "64",
            "--scsi0",
            "store:0.001,format=qcow2",
        ],
    );
    fill(root, "store:100/vm-100-disk-0.qcow2", 3, 100_000);
}

/// The command is refused with these words, with a failing exit code, and the world stays as it was.
fn refused_without_change(root: &Path, words: &[&str], expected: &str) {
    let before = world(root);
    let (code, said) = refused(root, words);
    assert_ne!(code, 0);
    assert!(!said.contains("panicked"), "{words:?}: {said}");
    assert!(
        said.contains(expected),
        "`{}` should say '{expected}', said: {said}",
        words.join(" ")
    );
    assert_eq!(
        before,
        world(root),
        "`{}` changed something",
        words.join(" ")
    );
}

#[test]
fn names_that_try_to_leave_the_storage() {
    let scratch = Scratch::new("bad-names");
    let root = new_root(scratch.path());
    machine(&root);
    let long = format!("vm-100-{}.raw", "x".repeat(4096));
    let names = [
        "../vm-100-x.raw",
        "a/b.raw",
        "vm-100-@.raw/..",
        "vm-100-a\nb.raw",
        "..",
        "/etc/passwd",
        "vm-100-disk-0@s1",
        &long,
    ];
    for name in names {
        let output = volvisor(&root, &["pvesm", "alloc", "store", "100", name, "1M"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && !said.contains("panicked"),
            "{name:?} was taken: {said}"
        );
        let volid = format!("store:100/{name}");
        refused_without_change(&root, &["pvesm", "free", &volid], "volume");
        refused_without_change(&root, &["pvesm", "path", &volid], "volume");
    }
    assert!(
        !scratch
            .path()
            .join("root/store/images/vm-100-x.raw")
            .exists()
    );
}

#[test]
fn a_raw_disk_whose_guest_wrote_a_qcow2_header_stays_raw() {
    let scratch = Scratch::new("bad-header");
    let root = new_root(scratch.path());
    ok(
        &root,
        &["pvesm", "alloc", "store", "200", "vm-200-disk-0.raw", "1M"],
    );
    fill(&root, "store:200/vm-200-disk-0.raw", 9, 1 << 20);
    ok(
        &root,
        &["qm", "create", "100", "--scsi0", "store:0.001,format=raw"],
    );
    let victim = root.join("store/images/200/vm-200-disk-0.raw");
    let evil = scratch.path().join("evil.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&victim)
        .arg(&evil)
        .arg("1M")
        .status()
        .unwrap();
    assert!(made.success());
    let disk = root.join("store/images/100/vm-100-disk-0.raw");
    let mut bytes = std::fs::read(&evil).unwrap();
    let length = std::fs::metadata(&disk).unwrap().len() as usize;
    bytes.resize(length, 0);
    std::fs::write(&disk, &bytes).unwrap();
    let listed = ok(&root, &["volvisor", "volume", "list", "-o", "json"][1..]);
    assert!(!listed.contains("vm-200-disk-0.raw\",\"parent"), "{listed}");
    let table = ok(&root, &["pvesm", "list", "store", "--vmid", "100"]);
    let line = table
        .lines()
        .find(|l| l.contains("vm-100-disk-0.raw"))
        .unwrap();
    assert!(
        line.contains("raw") && line.contains(&length.to_string()),
        "read as raw, with its real size: {line}"
    );
    // A full clone copies the header as data; it does not follow it.
    ok(&root, &["qm", "clone", "100", "101", "--full"]);
    let copy = std::fs::read(root.join("store/images/101/vm-101-disk-0.raw")).unwrap();
    assert!(
        copy == bytes,
        "the copy must be byte for byte what the guest wrote"
    );
}

#[test]
fn an_image_that_names_a_file_it_may_not_have_is_not_opened() {
    let scratch = Scratch::new("bad-backing");
    let root = new_root(scratch.path());
    machine(&root);
    let disk = root.join("store/images/100/vm-100-disk-0.qcow2");
    for backing in [
        "/etc/passwd",
        "../../../../etc/passwd",
        "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}",
    ] {
        let made = Command::new("qemu-img")
            .args([
                "rebase", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing,
            ])
            .arg(&disk)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if made.success() {
            refused_without_change(
                &root,
                &["qm", "clone", "100", "101", "--full"],
                "vm-100-disk-0.qcow2",
            );
        }
    }
}

#[test]
fn configs_in_any_state_are_read_and_kept() {
    let scratch = Scratch::new("bad-configs");
    let root = new_root(scratch.path());
    machine(&root);
    let path = root.join("etc/pve/qemu-server/100.conf");
    let original = std::fs::read(&path).unwrap();
    let long = [b"args: ".to_vec(), vec![b'x'; 1 << 19], b"\n".to_vec()].concat();
    let additions: [(&str, &[u8]); 5] = [
        ("duplicate keys", b"cores: 2\ncores: 3\n"),
        ("invalid UTF-8", b"name2: \xff\xfe\n"),
        (
            "unknown keys and sections",
            b"futurekey: 1\n\n[unknown section!]\nkey: value\n",
        ),
        ("a very long line", &long),
        ("no final newline", b"sockets: 1"),
    ];
    for (what, addition) in additions {
        let text = [original.as_slice(), addition].concat();
        std::fs::write(&path, &text).unwrap();
        ok(&root, &["qm", "config", "100"]);
        assert_eq!(
            std::fs::read(&path).unwrap(),
            text,
            "{what}: reading must not write"
        );
        let output = volvisor(&root, &["qm", "set", "100", "--onboot", "1"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{what}: {said}");
        if output.status.success() {
            let now = std::fs::read(&path).unwrap();
            for line in addition.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                let is_kept = now.split(|b| *b == b'\n').any(|l| l == line);
                assert!(is_kept, "{what}: lost by a change of another key");
            }
        }
    }
    let crlf: Vec<u8> = original
        .iter()
        .flat_map(|b| {
            if *b == b'\n' {
                vec![b'\r', b'\n']
            } else {
                vec![*b]
            }
        })
        .collect();
    std::fs::write(&path, &crlf).unwrap();
    ok(&root, &["qm", "config", "100"]);
    ok(&root, &["qm", "snapshot", "100", "crlf"]);
}

#[test]
fn a_storage_cfg_in_any_state_is_read_and_kept() {
    let scratch = Scratch::new("bad-storage-cfg");
    let root = new_root(scratch.path());
    machine(&root);
    let path = root.join("etc/pve/storage.cfg");
    let original = std::fs::read_to_string(&path).unwrap();
    let odd = "# a comment\nfuture: thing\n\tsecret 42\n\ndir: broken\n\tcontent images\n\nthis is no line at all\n";
    std::fs::write(&path, format!("{original}{odd}")).unwrap();
    ok(&root, &["pvesm", "status"]);
    ok(
        &root,
        &["pvesm", "add", "dir", "more", "--path", "/nowhere/at/all"],
    );
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(
        now.contains(odd),
        "unknown types, comments and broken sections must survive:\n{now}"
    );
    std::fs::write(
        &path,
        [
            original.as_bytes(),
            b"dir: x\xff\n\tpath /y\n\n",
            &vec![b'z'; 1 << 20],
        ]
        .concat(),
    )
    .unwrap();
    let output = volvisor(&root, &["pvesm", "status"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("store"));
}

#[test]
fn a_storage_directory_that_vanishes_is_offline_and_holds_up_nothing_else() {
    let scratch = Scratch::new("bad-vanish");
    let root = new_root(scratch.path());
    machine(&root);
    let second = scratch.path().join("second");
    std::fs::create_dir_all(&second).unwrap();
    ok(
        &root,
        &[
            "pvesm",
            "add",
            "dir",
            "second",
            "--path",
            second.to_str().unwrap(),
            "--content",
            "images",
        ],
    );
    ok(&root, &["qm", "create", "101", "--scsi0", "second:0.001"]);
    std::fs::remove_dir_all(&second).unwrap();
    let status = ok(&root, &["pvesm", "status"]);
    let line = status.lines().find(|l| l.starts_with("second")).unwrap();
    assert!(line.contains("inactive"), "{line}");
    let (code, said) = refused(&root, &["qm", "snapshot", "101", "sn"]);
    assert!(code != 0 && said.contains("second"), "{said}");
    ok(&root, &["qm", "rescan"]);
    ok(&root, &["qm", "snapshot", "100", "sn"]);
}

#[test]
fn two_processes_on_one_machine_take_turns() {
    let scratch = Scratch::new("bad-two");
    let root = new_root(scratch.path());
    machine(&root);
    let children: Vec<_> = (0..6)
        .map(|n| {
            let name = format!("snap{n}");
            command(&root, &["qm", "snapshot", "100", &name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let tree = ok(&root, &["qm", "listsnapshot", "100"]);
    assert_eq!(
        (0..6)
            .filter(|n| tree.contains(&format!("snap{n}")))
            .count(),
        6,
        "{tree}"
    );
    crate::support::check_images(&root).unwrap();
}

#[test]
fn a_stale_pid_file_of_another_process_is_not_believed() {
    let scratch = Scratch::new("bad-pid");
    let root = new_root(scratch.path());
    machine(&root);
    let mut other = Command::new("sleep").arg("30").spawn().unwrap();
    std::fs::create_dir_all(root.join("run/volvisor")).unwrap();
    let text = format!(
        "{{\"process\":{{\"pid\":{},\"start\":1,\"boot\":\"x\"}},\"since\":1}}",
        other.id()
    );
    std::fs::write(root.join("run/volvisor/100.pid"), text).unwrap();
    assert!(ok(&root, &["qm", "status", "100"]).contains("stopped"));
    ok(&root, &["qm", "stop", "100"]);
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other process must not be touched"
    );
    ok(&root, &["qm", "snapshot", "100", "fine"]);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_machine_that_runs_refuses_a_second_start_and_keeps_its_disks_to_itself() {
    if let Some(reason) = kvm_missing() {
        skip(&format!("KVM: {reason}"));
        return;
    }
    let scratch = Scratch::new("bad-double");
    let root = new_root(scratch.path());
    machine(&root);
    ok(&root, &["qm", "set", "100", "--args", "-bios test-guest"]);
    ok(&root, &["qm", "start", "100"]);
    let (_, said) = refused(&root, &["qm", "start", "100"]);
    assert!(said.contains("already running"), "{said}");
    let disk = root.join("store/images/100/vm-100-disk-0.qcow2");
    let write = Command::new("qemu-io")
        .args(["-c", "write 0 512"])
        .arg(&disk)
        .output()
        .unwrap();
    assert!(
        !write.status.success(),
        "QEMU must be kept out of a disk that is in use"
    );
    let (_, said) = refused(&root, &["pvesm", "free", "store:100/vm-100-disk-0.qcow2"]);
    assert!(said.contains("vm-100-disk-0.qcow2"), "{said}");
    ok(&root, &["qm", "stop", "100"]);
    assert!(ok(&root, &["qm", "status", "100"]).contains("stopped"));
}

#[test]
fn a_killed_machine_leaves_nothing_that_the_next_start_minds() {
    if let Some(reason) = kvm_missing() {
        skip(&format!("KVM: {reason}"));
        return;
    }
    let scratch = Scratch::new("bad-killed");
    let root = new_root(scratch.path());
    machine(&root);
    ok(&root, &["qm", "set", "100", "--args", "-bios test-guest"]);
    for _ in 0..3 {
        ok(&root, &["qm", "start", "100"]);
        let engine = volvisor::engine::Engine::open(volvisor::engine::Paths::new(&root));
        let pid = engine
            .running(volvisor::model::VmId::new(100).unwrap())
            .unwrap()
            .pid;
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(ok(&root, &["qm", "status", "100"]).contains("stopped"));
    }
    ok(&root, &["qm", "snapshot", "100", "after"]);
    crate::support::check_images(&root).unwrap();
}
