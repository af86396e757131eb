//! What several stories need: throw-away roots, running the program, looking at a whole world, printing skips.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use volvisor::backend::OpenMode;
use volvisor::engine::{Engine, Paths};
use volvisor::model::SnapshotName;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_volvisor");

/// Says that a check cannot run. `tests/run` collects these lines and makes them failures in CI.
pub fn skip(reason: &str) {
    println!("SKIPPED: {reason}");
}

/// A directory that is removed afterwards; in memory where possible, because these stories sync a lot.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let base = if Path::new("/dev/shm").is_dir() {
            PathBuf::from("/dev/shm")
        } else {
            std::env::temp_dir()
        };
        let path = base.join(format!("volvisor-{name}-{}", std::process::id()));
        remove_tree(&path);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_tree(&self.0);
    }
}

/// Base images may carry the immutable flag.
pub fn remove_tree(path: &Path) {
    if std::fs::remove_dir_all(path).is_err() {
        let _ = Command::new("chattr")
            .args(["-R", "-f", "-i", "--"])
            .arg(path)
            .status();
        let _ = std::fs::remove_dir_all(path);
    }
}

/// A root with one dir storage `store` below it.
pub fn new_root(at: &Path) -> PathBuf {
    let root = at.join("root");
    std::fs::create_dir_all(root.join("etc/pve/qemu-server")).unwrap();
    let store = root.join("store");
    std::fs::create_dir_all(store.join("images")).unwrap();
    let cfg = format!(
        "dir: store\n\tpath {}\n\tcontent images,rootdir\n\n",
        store.display()
    );
    std::fs::write(root.join("etc/pve/storage.cfg"), cfg).unwrap();
    root
}

/// Runs the program with this root. `words` starts with the applet or noun.
pub fn volvisor(root: &Path, words: &[&str]) -> Output {
    command(root, words).output().unwrap()
}

pub fn command(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(words)
        .env("VOLVISOR_ROOT", root)
        .env("TZ", "UTC")
        .env_remove("VOLVISOR_TEST_CRASH_AT");
    command
}

/// Runs and requires success; returns stdout.
pub fn ok(root: &Path, words: &[&str]) -> String {
    let output = volvisor(root, words);
    assert!(
        output.status.success(),
        "`{}` failed with {}:\n{}{}",
        words.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs and requires failure; returns the exit code and stderr.
pub fn refused(root: &Path, words: &[&str]) -> (i32, String) {
    let output = volvisor(root, words);
    assert!(
        !output.status.success(),
        "`{}` should have been refused",
        words.join(" ")
    );
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Everything a user could see, and every file there is: equal worlds have equal maps. Random and timed values are masked.
pub fn world(root: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let engine = Engine::open(Paths::new(root));
    for vmid in engine.vmids().unwrap() {
        let (text, _) = engine.vm_config(vmid).unwrap();
        seen.insert(format!("config {vmid}"), masked(&text.lossy()));
    }
    let (cfg, parsed) = engine.storage_cfg().unwrap();
    seen.insert(
        "storage.cfg".to_owned(),
        cfg.map(|t| t.lossy().into_owned()).unwrap_or_default(),
    );
    for section in parsed.sections() {
        let Ok(backend) = engine.backend(&section.id) else {
            continue;
        };
        let Ok(inventory) = backend.inventory() else {
            continue;
        };
        for volume in inventory.volumes {
            let key = masked_trash(&format!("volume {}:{}", section.id, volume.name));
            let mut facts = format!(
                "{:?} {:?} ro={} problem={:?}",
                volume.size, volume.format, volume.read_only, volume.problem
            );
            facts.push_str(&format!(
                " now={}",
                digest(backend.as_ref(), &volume.name, None)
            ));
            for snapshot in &volume.snapshots {
                let name = SnapshotName::parse(&snapshot.name).unwrap();
                facts.push_str(&format!(
                    " {}={}",
                    snapshot.name,
                    digest(backend.as_ref(), &volume.name, Some(&name))
                ));
            }
            seen.insert(key, facts);
        }
    }
    for file in files(&root.join("store"))
        .into_iter()
        .chain(files(&root.join("etc")))
    {
        seen.insert(format!("file {}", masked_trash(&file)), String::new());
    }
    for journal in files(&root.join("var/lib/volvisor/journal")) {
        seen.insert(format!("open journal {journal}"), String::new());
    }
    seen
}

fn digest(
    backend: &dyn volvisor::backend::Backend,
    name: &volvisor::model::VolumeName,
    at: Option<&SnapshotName>,
) -> String {
    let device = match backend.open(name, at, OpenMode::ReadOnly) {
        Ok(device) => device,
        Err(error) => return format!("cannot open: {}", error.full_text()),
    };
    let size = device.geometry().size.get();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; 1 << 16];
    let mut offset = 0;
    while offset < size {
        let count = buffer.len().min((size - offset) as usize);
        if let Err(error) = device.read_at(offset, &mut buffer[..count]) {
            return format!("cannot read: {}", error.full_text());
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Values that differ from run to run by design.
fn masked(config: &str) -> String {
    let random = ["vmgenid", "snaptime", "smbios1", "meta", "net0"];
    config
        .lines()
        .map(|line| match line.split_once(": ") {
            Some((key, _)) if random.contains(&key) => format!("{key}: *\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

fn masked_trash(file: &str) -> String {
    let mut text = String::new();
    let mut digits = 0;
    for c in file.chars() {
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        text.push(c);
        if digits >= 10 {
            text.truncate(text.len() - digits);
            text.push('T');
            digits = 0;
        }
    }
    text
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.push(format!("{}/", path.display()));
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Runs one of QEMU's tools. A process that another test is starting shares that test's open images until its exec, and so their
/// locks: a refusal for a lock is tried again for a while.
pub fn qemu(program: &str, args: &[&str]) -> std::io::Result<Output> {
    let mut tries = 0;
    loop {
        let output = Command::new(program).args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        tries += 1;
        if tries > 50 || !(said.contains("Failed to get") && said.contains("lock")) {
            return Ok(output);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Every qcow2 image of the storage passes `qemu-img check` with neither errors nor leaks.
pub fn check_images(root: &Path) -> Result<(), String> {
    for file in files(&root.join("store")) {
        if !file.ends_with(".qcow2") {
            continue;
        }
        let output =
            qemu("qemu-img", &["check", "-f", "qcow2", &file]).map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(format!(
                "qemu-img check {file}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
    Ok(())
}

/// Writes a recognisable pattern into a volume through the program's own block layer.
pub fn fill(root: &Path, volume: &str, seed: u8, length: usize) {
    let engine = Engine::open(Paths::new(root));
    let volume = volvisor::model::VolumeId::parse(volume).unwrap();
    let device = engine
        .backend(&volume.storage)
        .unwrap()
        .open(&volume.name, None, OpenMode::ReadWrite)
        .unwrap();
    let bytes: Vec<u8> = (0..length)
        .map(|i| seed.wrapping_add((i / 512) as u8).wrapping_mul(31) ^ seed)
        .collect();
    device.write_at(0, &bytes).unwrap();
    device.flush().unwrap();
}

pub fn kvm_missing() -> Option<String> {
    volvisor::vmm::probe().err().map(|e| e.full_text())
}
