//! A scripted administrator's day: sensible and senseless commands, each with a clear answer and nothing changed by a refusal.

use crate::cli::Root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file below a directory with its bytes.
fn everything(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => {
                    found.insert(path.clone(), Vec::new());
                    open.push(path);
                }
                false => {
                    found.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

#[test]
fn a_dry_run_of_any_changing_command_leaves_every_byte_and_makes_no_file() {
    let root = Root::new();
    root.ok("qm create 100 --memory 64 --scsi0 st:1,format=qcow2");
    root.ok("qm snapshot 100 one");
    root.ok("pvesm alloc st 777 vm-777-disk-0.raw 1M");
    root.ok("pvesm alloc st 778 vm-778-disk-0.raw 1M");
    root.ok("audit --fix quarantine");
    root.ok("pvesm alloc st 779 vm-779-disk-0.raw 1M");
    let trash = root.json("trash list")["trash"][0]["volume"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = everything(root.dir.path());
    let lines = [
        "pvesm add dir more --path /nowhere",
        "pvesm set far --content iso",
        "pvesm remove far",
        "pvesm alloc st 100 vm-100-disk-7.raw 1M",
        "pvesm free st:779/vm-779-disk-0.raw",
        "qm create 200 --memory 64 --scsi0 st:1",
        "qm set 100 --memory 128 --scsi1 st:1",
        "qm start 100",
        "qm stop 100",
        "qm shutdown 100",
        "qm snapshot 100 two",
        "qm rollback 100 one",
        "qm delsnapshot 100 one",
        "qm rescan",
        "qm disk resize 100 scsi0 +1G",
        "qm disk unlink 100 --idlist scsi0",
        "qm clone 100 201 --full",
        "qm destroy 100",
        "qm unlock 100",
        "volume rename st:779/vm-779-disk-0.raw 779/vm-779-disk-1.raw",
        "volume resize st:779/vm-779-disk-0.raw 2M",
        "snapshot prune 100 --keep-last 1",
        "audit --fix quarantine",
        "trash empty --all",
        "recover",
    ];
    let restore = format!("trash restore {trash}");
    for line in lines.into_iter().chain([restore.as_str()]) {
        root.ok(&format!("{line} --dry-run"));
        root.json(&format!("{line} --dry-run"));
        let after = everything(root.dir.path());
        assert!(before == after, "{line} --dry-run changed something");
    }
}

#[test]
fn a_setting_the_config_could_not_be_read_with_is_refused() {
    let root = Root::new();
    root.ok("qm create 100 --memory 64");
    let before = root.ok("qm config 100");
    for line in [
        "--memory abc",
        "--memory 1",
        "--cores x",
        "--name bad_name",
        "--net0 foo",
        "--agent 7",
        "--boot foo",
        "--vga foo",
    ] {
        let key = line[2..].split(' ').next().unwrap();
        for ran in [
            root.run(&format!("qm set 100 {line}")),
            root.run(&format!("qm create 101 {line}")),
        ] {
            assert_eq!(ran.code, 255, "{line}");
            assert!(
                ran.err.starts_with(key) && ran.err.contains("\nhelp: "),
                "{}",
                ran.err
            );
        }
    }
    assert_eq!(root.ok("qm config 100"), before);
    assert_eq!(root.run("qm config 101").code, 255);
    assert!(
        root.run("qm set 100")
            .err
            .starts_with("no options specified")
    );
}

#[test]
fn a_snapshot_that_no_config_records_is_found_and_deleted_as_the_audit_says() {
    let root = Root::new();
    root.ok("qm create 100 --memory 64 --scsi0 st:1,format=qcow2");
    root.ok("qm snapshot 100 one");
    let volume = "st:100/vm-100-disk-0.qcow2";
    let refused = root.run(&format!("volume delsnapshot {volume} one --yes"));
    assert_eq!(refused.code, 8, "{}", refused.err);
    assert!(refused.err.contains("qm delsnapshot 100 one"));
    root.config(100, &format!("memory: 64\nscsi0: {volume},size=1G\n"));
    let found = root.run("audit -o json");
    assert_eq!(found.code, 3);
    let found: serde_json::Value = serde_json::from_str(&found.out).unwrap();
    let advice = found["findings"][0]["suggestion"].as_str().unwrap();
    let advice = advice.strip_prefix("volvisor ").unwrap();
    root.ok(&format!("{advice} --yes"));
    root.ok("audit");
    assert_eq!(root.run(&format!("{advice} --yes")).code, 7);
}

#[test]
fn below_a_root_of_its_own_local_lies_where_the_file_says() {
    let root = Root::new();
    let path = root.path("mine");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(
        root.path("etc/pve/storage.cfg"),
        format!(
            "dir: local\n\tpath {}\n\tcontent images,iso\n",
            path.display()
        ),
    )
    .unwrap();
    assert!(root.ok("pvesm status").contains("local"));
    root.ok("pvesm alloc local 100 vm-100-disk-0.raw 1M");
    assert!(path.join("images/100/vm-100-disk-0.raw").exists());
    assert_eq!(
        root.ok("pvesm path local:iso/a.iso").trim_end(),
        path.join("template/iso/a.iso").display().to_string()
    );
}

#[test]
fn a_text_without_a_valid_reading_is_a_finding() {
    let root = Root::new();
    for (line, code) in [
        ("explain drive st:8,size=1G", 0),
        ("explain drive st:8,foo=1", 3),
        ("explain volid x", 3),
        ("explain frob x", 2),
        ("explain property --kind zz 1", 2),
    ] {
        let ran = root.run(line);
        assert_eq!(ran.code, code, "{line}\n{}{}", ran.out, ran.err);
    }
}

#[test]
fn completions_know_the_applets_and_the_keys_of_a_config() {
    let root = Root::new();
    for shell in ["bash", "zsh", "fish"] {
        let all = root.ok(&format!("completions {shell}"));
        for word in ["listsnapshot", "apiinfo", "ostype"] {
            assert!(all.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_pattern_narrows_the_list_of_volumes_and_a_bad_one_is_explained() {
    let root = Root::new();
    for vmid in [100, 101] {
        root.ok(&format!("pvesm alloc st {vmid} vm-{vmid}-disk-0.raw 1M"));
    }
    let listed = root.json("volume list --match vm-101-disk")["volumes"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let refused = root.words(&["volume", "list", "--match", "("]);
    assert_eq!(refused.code, 2);
    assert!(
        refused.err.contains("regular expression"),
        "{}",
        refused.err
    );
}
