//! The demonstration: one disk from its name to a guest and back, in a throw-away root, told as a timeline; it uses only what
//! every command uses.

use crate::backend::OpenMode;
use crate::engine::{Engine, Paths};
use crate::model::{Error, Result, SnapshotName, VmId, VolumeId};
use crate::plan::{Intent, render, tree};
use crate::sys::clock;
use crate::vmm::guest::client::Guest;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const VOLUME: &str = "store:100/vm-100-disk-0.qcow2";
const SECTORS: u64 = 256;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the demonstration and returns the exit code. `keep`: leave everything in this directory.
pub fn main(keep: Option<PathBuf>) -> i32 {
    let throw_away = keep.is_none();
    let unique = format!("volvisor-demo-{}-{}", std::process::id(), clock::now());
    let root = keep.unwrap_or_else(|| std::env::temp_dir().join(unique));
    let result = Demo::new(&root).and_then(|demo| {
        let told = demo.tell();
        // Whatever happened: no process is left behind.
        let _ = crate::engine::machine::stop(
            demo.engine.paths(),
            demo.vmid,
            crate::plan::step::StopHow::Stop,
            5,
        );
        told
    });
    if throw_away {
        let _ = std::fs::remove_dir_all(&root);
    }
    match result {
        Ok(()) if throw_away => {
            println!("Nothing is left behind; to look around afterwards: volvisor demo --keep DIR");
            0
        }
        Ok(()) => {
            println!(
                "Everything is kept in {}; look at it with: volvisor --root {} vm list",
                root.display(),
                root.display()
            );
            0
        }
        Err(error) => {
            eprintln!("error: {}", error.full_text());
            if let Some(hint) = error.hint_text() {
                eprintln!("help: {hint}");
            }
            error.kind().exit_code()
        }
    }
}

struct Demo {
    engine: Engine,
    vmid: VmId,
    volume: VolumeId,
    started: Instant,
    /// False: /dev/kvm is not usable; the host writes in place of the guest.
    has_kvm: bool,
}

impl Demo {
    fn new(root: &Path) -> Result<Self> {
        let store = root.join("store");
        let configs = root.join("etc/pve/qemu-server");
        for dir in [&store, &configs] {
            std::fs::create_dir_all(dir)
                .map_err(|e| Error::io(format!("cannot make '{}'", dir.display()), e))?;
        }
        let root = root
            .canonicalize()
            .map_err(|e| Error::io("cannot find the demonstration's root", e))?;
        let cfg = root.join("etc/pve/storage.cfg");
        if cfg.exists() {
            return Err(
                Error::conflict(format!("'{}' already holds a root", root.display()))
                    .hint("give --keep a directory that is new or empty"),
            );
        }
        let text = format!(
            "dir: store\n\tpath {}\n\tcontent images\n\n",
            root.join("store").display()
        );
        std::fs::write(&cfg, text)
            .map_err(|e| Error::io(format!("cannot write '{}'", cfg.display()), e))?;
        let has_kvm = match crate::vmm::probe() {
            Ok(()) => true,
            Err(error) => {
                let hint = error
                    .hint_text()
                    .map(|h| format!("; {h}"))
                    .unwrap_or_default();
                println!(
                    "No guest today: {}{hint}. The host writes in its place; everything else is real.",
                    error.full_text()
                );
                false
            }
        };
        println!("root: {}", root.display());
        Ok(Demo {
            engine: Engine::open(Paths::new(root)),
            vmid: VmId::new(100)?,
            volume: VolumeId::parse(VOLUME)?,
            started: Instant::now(),
            has_kvm,
        })
    }

    fn tell(&self) -> Result<()> {
        let name = SnapshotName::parse("before-upgrade")?;
        self.heading(
            "a machine with one disk is wanted: VM 100, 16 MiB, qcow2, on storage 'store'",
        );
        self.perform(&Intent::VmCreate {
            vmid: self.vmid,
            settings: settings(&[
                ("name", "demo"),
                ("memory", "32"),
                ("scsi0", "store:0.015625,format=qcow2"),
                ("args", "-bios test-guest"),
            ]),
            storage: None,
            start: false,
        })?;
        let path = self
            .engine
            .backend(&self.volume.storage)?
            .path(&self.volume.name, None)?;
        self.fact(&format!(
            "the name '{VOLUME}' resolves to {}",
            path.display()
        ));

        self.heading("the guest boots and writes its first data");
        self.start()?;
        let first = self.write(1)?;

        self.heading("a snapshot is taken while the machine runs");
        let measured = self.perform(&Intent::Snapshot {
            vmid: self.vmid,
            name: name.clone(),
            description: None,
            vmstate: false,
        })?;
        for (what, key) in [
            ("guest paused for", "pause_us"),
            ("of which draining and flushing", "drain_us"),
            ("skew between disks", "skew_us"),
        ] {
            if let Some((_, value)) = measured.iter().find(|(k, _)| k == key) {
                self.fact(&format!("{what}: {value} us"));
            }
        }
        if let Some((_, level)) = measured.iter().find(|(k, _)| k == "consistency") {
            self.fact(&format!("consistency: {level}"));
        }

        self.heading("the guest overwrites everything: the upgrade went wrong");
        let second = self.write(2)?;
        self.fact(&format!(
            "the data changed: {}",
            if first == second { "NO" } else { "yes" }
        ));

        self.heading("everything is rolled back");
        self.perform(&Intent::Rollback {
            vmid: self.vmid,
            name: name.clone(),
            start: false,
        })?;
        let (_, config) = self.engine.vm_config(self.vmid)?;
        for line in tree::render(&tree::nodes(&config), |_| 0).lines() {
            println!("             | {line}");
        }

        self.heading("the guest boots again and reads its disk");
        self.start()?;
        let found = self.read()?;
        self.stop()?;
        let held = self.host_digest(Some(&name))?;
        let now = self.host_digest(None)?;
        self.fact(&format!("digest of the first data:      {first}"));
        self.fact(&format!("digest of the overwritten data: {second}"));
        self.fact(&format!("digest found after rollback:   {found}"));
        self.fact(&format!("blake3 of the snapshot:        {held}"));
        self.fact(&format!("blake3 of the volume now:      {now}"));
        if found != first || first == second || held != now {
            return Err(
                Error::integrity("the rolled-back bytes are not the old ones").hint(
                    "this is a bug; run again with --keep DIR and report it with that directory",
                ),
            );
        }
        println!(
            "\n{:>9.3} s  The rolled-back bytes are the old ones.",
            self.started.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn heading(&self, text: &str) {
        println!("\n{:>9.3} s  {text}", self.started.elapsed().as_secs_f64());
    }

    fn fact(&self, text: &str) {
        println!("             = {text}");
    }

    /// Plans, shows the plan, does it, and says how long it took.
    fn perform(&self, intent: &Intent) -> Result<Vec<(String, String)>> {
        for line in render::render(&self.engine.plan(intent)?).lines() {
            println!("             | {line}");
        }
        let before = Instant::now();
        let report = self.engine.run(intent, &mut |_| {})?;
        let op = report.op.map(|op| op.to_string()).unwrap_or_default();
        self.fact(&format!(
            "{} in {:.1} ms, journalled as {op}",
            report.outcome,
            before.elapsed().as_secs_f64() * 1e3
        ));
        Ok(report.measured)
    }

    fn start(&self) -> Result<()> {
        if !self.has_kvm {
            return Ok(());
        }
        let before = Instant::now();
        let intent = Intent::VmStart {
            vmid: self.vmid,
            paused: false,
            skiplock: false,
        };
        self.engine.run(&intent, &mut |_| {})?;
        let devices = self.guest()?.devices()?;
        let sectors = devices.first().map_or(0, |d| d.capacity);
        self.fact(&format!(
            "guest up after {:.1} ms; it sees a virtio disk of {sectors} sectors",
            before.elapsed().as_secs_f64() * 1e3
        ));
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        if self.has_kvm {
            self.engine.run(
                &Intent::VmStop {
                    vmid: self.vmid,
                    timeout_s: 10,
                    skiplock: false,
                },
                &mut |_| {},
            )?;
        }
        Ok(())
    }

    fn guest(&self) -> Result<Guest<std::os::unix::net::UnixStream>> {
        Guest::connect(&self.engine.paths().machine_serial(self.vmid), TIMEOUT)
    }

    /// Fills the disk's beginning from a seed and gives the digest read back.
    fn write(&self, seed: u64) -> Result<String> {
        if self.has_kvm {
            let mut guest = self.guest()?;
            guest.write(0, 0, SECTORS, seed)?;
            guest.flush(0)?;
        } else {
            let device = self.engine.backend(&self.volume.storage)?.open(
                &self.volume.name,
                None,
                OpenMode::ReadWrite,
            )?;
            device.write_at(0, &crate::vmm::guest::pattern::sectors(seed, 0, SECTORS))?;
            device.flush()?;
        }
        let digest = self.read()?;
        let who = if self.has_kvm {
            "the guest"
        } else {
            "the host"
        };
        self.fact(&format!(
            "{who} wrote and flushed {} KiB; digest read back: {digest}",
            SECTORS / 2
        ));
        Ok(digest)
    }

    /// Digest of the disk's beginning as the guest (else the host) reads it.
    fn read(&self) -> Result<String> {
        let digest = if self.has_kvm {
            self.guest()?.digest(0, 0, SECTORS)?
        } else {
            let device = self.engine.backend(&self.volume.storage)?.open(
                &self.volume.name,
                None,
                OpenMode::ReadOnly,
            )?;
            let mut bytes = vec![0; (SECTORS * 512) as usize];
            device.read_at(0, &mut bytes)?;
            crate::vmm::guest::pattern::digest(&bytes)
        };
        Ok(format!("{digest:016x}"))
    }

    /// blake3 of the whole volume as the host sees it.
    fn host_digest(&self, snapshot: Option<&SnapshotName>) -> Result<String> {
        let device = self.engine.backend(&self.volume.storage)?.open(
            &self.volume.name,
            snapshot,
            OpenMode::ReadOnly,
        )?;
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; 1 << 20];
        let size = device.geometry().size.get();
        for offset in (0..size).step_by(bytes.len()) {
            let count = bytes.len().min((size - offset) as usize);
            device.read_at(offset, &mut bytes[..count])?;
            hasher.update(&bytes[..count]);
        }
        Ok(hasher.finalize().to_hex()[..32].to_owned())
    }
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
