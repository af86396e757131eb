//! The command line as people and scripts use it: the real program in a root of its own.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A throw-away root with a `dir` storage `st` and one that is switched off.
pub struct Root {
    pub dir: tempfile::TempDir,
}

/// What one run of the program gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Root {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root { dir };
        std::fs::create_dir_all(root.path("etc/pve/qemu-server")).unwrap();
        std::fs::create_dir_all(root.path("store")).unwrap();
        let cfg = format!(
            "dir: st\n\tpath {}\n\tcontent images,iso\n\nnfs: far\n\tserver 192.0.2.1\n\texport /x\n\tpath {}\n\tcontent images\n\tdisable\n",
            root.path("store").display(),
            root.path("far").display(),
        );
        std::fs::write(root.path("etc/pve/storage.cfg"), cfg).unwrap();
        root
    }
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }
    pub fn config(&self, vmid: u32, text: &str) {
        std::fs::write(self.path(&format!("etc/pve/qemu-server/{vmid}.conf")), text).unwrap();
    }
    pub fn words(&self, words: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_volvisor"))
            .args(words)
            .env_clear()
            .env("VOLVISOR_ROOT", self.dir.path())
            .env("TZ", "UTC")
            .output()
            .unwrap();
        Ran::of(output)
    }
    pub fn run(&self, line: &str) -> Ran {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }
    /// Runs and must succeed; standard output.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}\n{}{}", ran.out, ran.err);
        ran.out
    }
    pub fn json(&self, line: &str) -> Value {
        let text = self.ok(&format!("{line} -o json"));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["schema"], 1, "{line}: {text}");
        value
    }
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn a_failure_is_never_success() {
    let root = Root::new();
    for (line, code) in [
        ("pvesm", 255),
        ("pvesm explode", 255),
        ("pvesm list", 255),
        ("pvesm list nowhere", 255),
        ("pvesm list st extra", 255),
        ("pvesm free st:100/vm-100-disk-0.raw", 255),
        ("pvesm alloc st 100 x 1Q", 255),
        ("qm config 100", 255),
        ("qm st 100", 255),
        ("qm set 100 --no-such-key 1", 255),
        ("qm start 99", 255),
        ("vm show 100", 7),
        ("volume show st:100/vm-100-disk-0.raw", 7),
        ("vm show ninety", 2),
        ("vm explode", 2),
        ("storage status --storage nowhere", 7),
        ("-o xml vm list", 2),
        ("task show nothing", 7),
        ("plan show /nowhere/at/all", 7),
    ] {
        let ran = root.run(line);
        assert_eq!(ran.code, code, "{line}\n{}{}", ran.out, ran.err);
        assert!(!ran.err.is_empty(), "{line} says why");
    }
}

#[test]
fn the_program_is_what_it_is_called() {
    let root = Root::new();
    let link = root.path("pvesm");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_volvisor"), &link).unwrap();
    let output = Command::new(&link).arg("apiinfo").output().unwrap();
    assert_eq!(Ran::of(output).out, "APIVER 15\nAPIAGE 6\n");
    assert_eq!(root.ok("pvesm apiinfo"), "APIVER 15\nAPIAGE 6\n");
    assert_eq!(
        root.ok("--root /nowhere pvesm apii"),
        "APIVER 15\nAPIAGE 6\n"
    );
}

#[test]
fn parameter_errors_are_those_scripts_know() {
    let root = Root::new();
    let ran = root.run("qm set 100 --no-such-key 1");
    assert!(
        ran.err
            .starts_with("400 Parameter verification failed.\nno-such-key: "),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("qm set "), "usage follows: {}", ran.err);
    assert!(
        root.run("qm set")
            .err
            .starts_with("400 not enough arguments\n")
    );
    assert!(
        root.run("pvesm path a b")
            .err
            .starts_with("400 too many arguments\n")
    );
    assert!(
        root.run("pvesm explode")
            .err
            .starts_with("ERROR: unknown command 'pvesm explode'\n")
    );
    assert!(
        root.run("pvesm status --storage nowhere")
            .err
            .contains("storage: No such storage.")
    );
}

#[test]
fn native_errors_name_what_and_the_next_step() {
    let root = Root::new();
    let ran = root.run("volume show st:100/vm-100-disk-0.raw");
    assert!(
        ran.err
            .starts_with("error: volume 'st:100/vm-100-disk-0.raw' does not exist\n"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("\nhelp: volvisor") || ran.err.contains("\nhelp: list"),
        "{}",
        ran.err
    );
    let ran = root.run("vm show 100 -o json");
    let value: Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(value["error"]["exit_code"], 7);
}

#[test]
fn status_shows_every_storage_and_why_not() {
    let root = Root::new();
    let table = root.ok("pvesm status");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0],
        "Name       Type     Status     Total (KiB)      Used (KiB) Available (KiB)        %",
        "{table}"
    );
    let far = lines.iter().find(|l| l.starts_with("far ")).unwrap();
    assert!(far.contains("disabled") && far.ends_with("N/A"), "{table}");
    let st = lines.iter().find(|l| l.starts_with("st ")).unwrap();
    assert!(st.contains(" active ") && st.ends_with('%'), "{table}");
    assert!(!root.ok("pvesm status --enabled").contains("far"));
    assert!(!root.ok("pvesm status -enabled 1").contains("far"));
    assert!(root.ok("pvesm status --enabled 0").contains("far"));
    assert_eq!(root.ok("pvesm stat --stor st").lines().count(), 2);
    assert_eq!(
        root.ok("pvesm status --storage=st --content iso")
            .lines()
            .count(),
        2
    );
    let value = root.json("storage status");
    let all = value["storages"].as_array().unwrap();
    let st = all.iter().find(|s| s["storage"] == "st").unwrap();
    assert!(st["total"].as_u64().unwrap() > 0, "bytes are integers");
    // A storage of a kind without a backend is shown, not hidden.
    let cfg = root.path("etc/pve/storage.cfg");
    let text = std::fs::read_to_string(&cfg).unwrap();
    std::fs::write(&cfg, format!("{text}\nwhat: odd\n\tthing 1\n")).unwrap();
    assert!(root.ok("storage list").contains("st "));
    assert_eq!(
        std::fs::read_to_string(&cfg)
            .unwrap()
            .matches("thing 1")
            .count(),
        1
    );
}

#[test]
fn a_volume_is_made_listed_found_and_freed() {
    let root = Root::new();
    let volid = "st:100/vm-100-disk-0.raw";
    assert_eq!(
        root.ok("pvesm list st"),
        "Volid Format  Type      Size VMID\n"
    );
    assert!(
        root.words(&["pvesm", "alloc", "st", "100", "", "1M"])
            .out
            .ends_with(&format!("successfully created '{volid}'\n"))
    );
    assert_eq!(
        root.ok("pvesm list st"),
        "Volid                    Format  Type         Size VMID\n\
         st:100/vm-100-disk-0.raw raw     images    1048576 100\n"
    );
    let path = root.path("store/images/100/vm-100-disk-0.raw");
    assert_eq!(
        root.ok(&format!("pvesm path {volid}")).trim(),
        path.to_str().unwrap()
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
    root.ok("pvesm alloc st 100 vm-100-disk-7.qcow2 2048");
    assert!(
        root.run("pvesm alloc st 100 vm-100-disk-8.qcow2 1M --format raw")
            .code
            == 255
    );
    let value = root.json("volume list");
    let sizes: Vec<u64> = value["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [1 << 20, 2 << 20]);
    let zeros = blake3::hash(&[0u8; 1 << 20]).to_hex().to_string();
    assert!(
        root.ok(&format!("volume digest {volid}"))
            .starts_with(&zeros)
    );
    // Native commands want a yes before data are lost.
    assert_eq!(root.run(&format!("volume free {volid}")).code, 6);
    assert!(path.exists());
    let plan = root.ok(&format!("pvesm free {volid} --dry-run"));
    assert!(
        plan.contains("destroy volume st:100/vm-100-disk-0.raw"),
        "{plan}"
    );
    assert!(path.exists());
    assert!(
        root.ok(&format!("pvesm free {volid}"))
            .contains(&format!("Removed volume '{volid}'"))
    );
    assert!(!path.exists());
    root.ok("volume free st:100/vm-100-disk-7.qcow2 --yes");
    let tasks = root.json("task list");
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 4, "{tasks}");
}

#[test]
fn storages_are_added_changed_and_removed_and_the_rest_of_the_file_stays() {
    let root = Root::new();
    let cfg = root.path("etc/pve/storage.cfg");
    let before = std::fs::read_to_string(&cfg).unwrap();
    std::fs::create_dir_all(root.path("two")).unwrap();
    let two = root.path("two").display().to_string();
    root.ok(&format!("pvesm add dir two --path {two} --content images"));
    let added = std::fs::read_to_string(&cfg).unwrap();
    assert!(added.starts_with(&before), "{added}");
    root.ok("pvesm set two -disable");
    assert!(
        root.ok("pvesm status")
            .lines()
            .any(|l| l.starts_with("two ") && l.contains("disabled"))
    );
    root.ok("pvesm set two --disable no");
    root.ok("pvesm set two --nodes elsewhere");
    root.ok("pvesm set two --delete nodes");
    assert_eq!(
        root.run("pvesm set two --path /x").code,
        255,
        "path is fixed"
    );
    assert_eq!(
        root.run(&format!("pvesm add dir two --path {two}")).code,
        255,
        "exists"
    );
    root.ok("pvesm remove two");
    assert_eq!(
        std::fs::read_to_string(&cfg).unwrap().trim_end(),
        before.trim_end()
    );
    assert!(root.path("two").is_dir(), "data stay");
}

#[test]
fn machines_are_listed_and_shown_as_scripts_expect() {
    let root = Root::new();
    assert_eq!(root.ok("qm list"), "", "no machines, no header");
    root.config(100, "#two%3A lines\nboot: order=scsi0\ncores: 2\nmemory: 2048\nname: web\nscsi0: st:100/vm-100-disk-0.raw,size=8G\n\n[PENDING]\ncores: 4\n");
    root.config(101, "memory: 512\n");
    assert_eq!(
        root.ok("qm list"),
        "      VMID NAME                 STATUS     MEM(MB)    BOOTDISK(GB) PID       \n\
         \x20      100 web                  stopped    2048               8.00 0         \n\
         \x20      101 VM 101               stopped    512                0.00 0         \n"
    );
    let current = root.ok("qm config 100 --current");
    assert_eq!(
        current,
        "boot: order=scsi0\ncores: 2\ndescription: two%3A lines\nmemory: 2048\nname: web\nscsi0: st:100/vm-100-disk-0.raw,size=8G\n"
    );
    assert!(root.ok("qm config 100").contains("cores: 4\n"));
    assert_eq!(root.ok("qm pending 101"), "cur memory: 512\n");
    assert!(
        root.ok("qm pending 100")
            .contains("cur cores: 2\nnew cores: 4\n")
    );
    assert_eq!(root.ok("qm status 100"), "status: stopped\n");
    assert!(
        root.ok("qm status 100 --verbose")
            .contains("maxmem: 2147483648\n")
    );
    let ran = root.run("qm status 999");
    let said: Vec<&str> = ran.err.lines().collect();
    assert!(
        said[0].ends_with("/qemu-server/999.conf' does not exist"),
        "{}",
        ran.err
    );
    assert_eq!(said[1..], ["help: list machines with: qm list"]);
    let value = root.json("vm list");
    assert_eq!(value["machines"][0]["memory"], 2048u64 << 20);
    assert!(root.ok("qm showcmd 100").contains("scsi0: "));
    assert!(root.run("qm reset 100").err.contains("VM 100 not running"));
    assert_eq!(
        root.ok("qm listsnapshot 101").trim_end(),
        "`-> current                                             You are here!"
    );
}

#[test]
fn the_orphan_is_adopted_only_when_asked() {
    let root = Root::new();
    let volid = "st:9999/vm-9999-disk-0.raw";
    root.ok("pvesm alloc st 9999 vm-9999-disk-0 1M");
    assert!(root.ok("pvesm list st").contains(volid));
    // Renamed outside the tool: it belongs to whoever its name says, at once.
    let image = |vmid: u32| root.path(&format!("store/images/{vmid}/vm-{vmid}-disk-0.raw"));
    std::fs::create_dir_all(image(8888).parent().unwrap()).unwrap();
    std::fs::rename(image(9999), image(8888)).unwrap();
    let moved = root.ok("pvesm list st");
    assert!(
        moved.contains("st:8888/vm-8888-disk-0.raw") && !moved.contains(volid),
        "{moved}"
    );
    assert!(root.ok("pvesm list st --vmid 9999").lines().count() == 1);
    std::fs::rename(image(8888), image(9999)).unwrap();
    root.ok("qm create 9999 --name adopt --memory 512");
    assert!(
        !root.ok("qm config 9999").contains("disk-0"),
        "creating does not grab it"
    );
    let dry = root.ok("qm rescan --dryrun");
    assert!(
        dry.starts_with("NOTE: running in dry-run mode, won't write changes out!\n"),
        "{dry}"
    );
    assert!(
        !root.ok("qm config 9999").contains("unused0"),
        "a dry run writes nothing"
    );
    let adopted = root.ok("qm disk rescan --vmid 9999");
    assert!(
        adopted.contains(&format!(
            "VM 9999 add unreferenced volume '{volid}' as 'unused0' to config"
        )),
        "{adopted}"
    );
    assert!(
        root.ok("qm config 9999")
            .contains(&format!("unused0: {volid}\n"))
    );
    root.words(&["qm", "set", "9999", "--scsi0", volid]);
    let config = root.ok("qm config 9999");
    assert!(
        config.contains(&format!("scsi0: {volid}")) && !config.contains("unused0"),
        "{config}"
    );
    root.ok("qm destroy 9999");
    assert!(!image(9999).exists());
}

#[test]
fn a_machine_lives_its_life_on_disk() {
    let root = Root::new();
    root.ok("qm create 100 --name web --memory 512 --scsi0 st:1,format=qcow2 --net0 virtio,bridge=vmbr0");
    assert!(
        root.ok("qm config 100")
            .contains("scsi0: st:100/vm-100-disk-0.qcow2,")
    );
    assert!(
        root.run("qm create 100")
            .err
            .contains("unable to create VM 100")
    );
    let update = root.ok("qm set 100 --cores 2 --onboot");
    assert!(update.contains("update VM 100: "), "{update}");
    assert!(root.ok("qm config 100").contains("onboot: 1\n"));
    root.words(&[
        "qm",
        "snapshot",
        "100",
        "before",
        "--description",
        "before the upgrade",
    ]);
    let tree = root.ok("qm listsnapshot 100");
    assert!(
        tree.starts_with("`-> before ") && tree.contains("before the upgrade\n `-> current"),
        "{tree}"
    );
    let value = root.json("snapshot list 100");
    assert_eq!(
        value["snapshots"][0]["disks"][0]["method"],
        "qcow2-internal"
    );
    assert!(value["snapshots"][0]["disks"][0]["why"].is_string());
    assert_eq!(root.run("qm snapshot 100 before").code, 255, "exists");
    root.ok("qm resize 100 scsi0 +1G");
    assert!(root.ok("qm config 100").contains("size=2G"));
    assert!(
        root.run("qm resize 100 scsi0 1G")
            .err
            .contains("shrinking disks is not supported")
    );
    root.ok("qm rollback 100 before");
    assert_eq!(
        root.run("snapshot rollback 100 before").code,
        6,
        "native asks first"
    );
    root.ok("snapshot rollback 100 before --yes");
    root.ok("qm delsnapshot 100 before");
    root.ok("qm disk unlink 100 --idlist scsi0");
    assert!(root.ok("qm config 100").contains("unused0: "));
    root.ok("qm destroy 100 --purge 1");
    assert_eq!(root.ok("qm list"), "");
}

#[test]
fn a_saved_plan_runs_only_in_the_world_it_saw() {
    let root = Root::new();
    root.config(100, "memory: 512\n");
    let file = root.path("p.json");
    let file = file.to_str().unwrap();
    root.ok(&format!("qm set 100 --cores 4 --save-plan {file}"));
    assert!(
        !root.ok("qm config 100").contains("cores"),
        "saving changes nothing"
    );
    assert!(root.ok(&format!("plan show {file}")).contains("+ cores: 4"));
    root.config(100, "memory: 1024\n");
    let ran = root.run(&format!("plan apply {file}"));
    assert_eq!(ran.code, 8, "{}", ran.err);
    root.config(100, "memory: 512\n");
    root.ok(&format!("plan apply {file}"));
    assert!(root.ok("qm config 100").contains("cores: 4"));
    let plan = root.ok("qm set 100 --cores 8 --dry-run -o json");
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["intent"]["verb"], "vm-set");
}

#[test]
fn audit_finds_both_directions_and_says_so_with_its_exit_code() {
    let root = Root::new();
    let clean = root.run("audit");
    assert_eq!(clean.code, 0, "{}{}", clean.out, clean.err);
    root.ok("pvesm alloc st 500 vm-500-disk-0 1M");
    root.config(100, "scsi0: st:100/vm-100-disk-3.raw,size=1G\n");
    let ran = root.run("audit");
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("st:500/vm-500-disk-0.raw"), "{}", ran.out);
    assert!(ran.out.contains("st:100/vm-100-disk-3.raw"), "{}", ran.out);
    let ran = root.run("audit -o json");
    assert_eq!(ran.code, 3);
    let value: Value = serde_json::from_str(&ran.out).unwrap();
    let findings = value["findings"].as_array().unwrap();
    assert!(findings.len() >= 2);
    assert!(
        findings
            .iter()
            .all(|f| f["evidence"].is_string() || f["evidence"].is_array()),
        "{value}"
    );
    // Into the trash and back.
    root.ok("audit --fix quarantine --expire-days 7");
    assert!(
        !root
            .ok("pvesm list st")
            .contains("st:500/vm-500-disk-0.raw")
    );
    let trash = root.json("trash list");
    let volume = trash["trash"][0]["volume"].as_str().unwrap().to_owned();
    assert_eq!(trash["trash"][0]["original"], "st:500/vm-500-disk-0.raw");
    root.ok(&format!("trash restore {volume}"));
    assert!(
        root.ok("pvesm list st")
            .contains("st:500/vm-500-disk-0.raw")
    );
    root.ok("audit --fix quarantine");
    assert_eq!(root.run("trash empty --all").code, 6);
    root.ok("trash empty --all --yes");
    assert_eq!(
        root.json("trash list")["trash"].as_array().unwrap().len(),
        0
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let root = Root::new();
    let line = format!(
        "set -o pipefail; {} completions bash | head -1 >/dev/null; {} man | true",
        env!("CARGO_BIN_EXE_volvisor"),
        env!("CARGO_BIN_EXE_volvisor")
    );
    let ran = Ran::of(
        Command::new("bash")
            .args(["-c", &line])
            .current_dir(root.dir.path())
            .output()
            .unwrap(),
    );
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn manuals_and_completions_come_from_the_same_definitions() {
    let root = Root::new();
    let dir = root.path("man");
    std::fs::create_dir_all(&dir).unwrap();
    let pages = root.ok(&format!("man --dir {}", dir.display()));
    assert!(pages.lines().any(|l| l == "qm-disk-resize.1"), "{pages}");
    let page = std::fs::read_to_string(Path::new(&dir).join("pvesm-alloc.1")).unwrap();
    assert!(
        page.contains("pvesm") && page.contains("\\-\\-format"),
        "{page}"
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            root.ok(&format!("completions {shell}"))
                .contains("volvisor")
        );
    }
    assert!(root.ok("qm help disk resize").contains("+2G"));
}

#[test]
fn explain_answers_whole_case_files_line_by_line() {
    use std::io::Write;
    for (kind, field) in [
        ("listsnapshot-tree", "stdout"),
        ("pending-output", "stdout"),
    ] {
        let path = format!(
            "{}/testdata/cases/vm/{kind}.jsonl",
            env!("CARGO_MANIFEST_DIR")
        );
        let cases = std::fs::read_to_string(path).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_volvisor"))
            .args(["explain", kind, "--batch"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(cases.as_bytes())
            .unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0);
        assert_eq!(ran.out.lines().count(), cases.lines().count());
        for (case, answer) in cases.lines().zip(ran.out.lines()) {
            let case: Value = serde_json::from_str(case).unwrap();
            let answer: Value = serde_json::from_str(answer).unwrap();
            assert_eq!(answer[field], case[field], "{}", case["name"]);
        }
    }
    let root = Root::new();
    assert!(
        root.ok("explain drive st:100/vm-100-disk-0.raw,size=8G")
            .contains("size")
    );
    assert!(
        root.ok("explain volname --type dir 100/vm-100-disk-0.qcow2")
            .contains("vmid: 100")
    );
    assert!(root.ok("explain size 10G").contains("bytes: 10737418240"));
    assert!(
        root.ok("explain property --kind agent 1")
            .contains("enabled: 1")
    );
    root.config(100, "memory: 512\nnonsense line\n");
    let config = root.path("etc/pve/qemu-server/100.conf");
    assert!(
        root.ok(&format!("explain config {}", config.display()))
            .contains("line: 2")
    );
}
