//! Throw-away roots with a dir storage `store`, filled with images and configs of a regular shape.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use volvisor::block::qcow2::{self, NewImage};
use volvisor::model::{ByteCount, Preallocation};

/// A directory that is removed afterwards.
pub struct Root(PathBuf);

impl Root {
    /// In memory where possible, so that the disk of the machine is not what is measured.
    pub fn new(name: &str) -> Self {
        let shm = Path::new("/dev/shm");
        let base = match shm.is_dir() {
            true => shm.to_owned(),
            false => std::env::temp_dir(),
        };
        let path = base.join(format!("volvisor-bench-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        let store = path.join("store");
        fs::create_dir_all(store.join("images")).expect("a new directory");
        fs::create_dir_all(path.join("etc/pve/qemu-server")).expect("a new directory");
        let config = format!("dir: store\n\tpath {}\n\tcontent images\n", store.display());
        fs::write(path.join("etc/pve/storage.cfg"), config).expect("a new file");
        Root(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn text(&self) -> &str {
        self.0.to_str().expect("made from text")
    }

    /// An image of 1 GiB; the name decides the format.
    pub fn image(&self, vmid: u32, name: &str) -> PathBuf {
        let directory = self.0.join(format!("store/images/{vmid}"));
        fs::create_dir_all(&directory).expect("a new directory");
        let path = directory.join(name);
        let file = File::create_new(&path).expect("a new file");
        if name.ends_with(".qcow2") {
            let new = NewImage {
                size: ByteCount(1 << 30),
                cluster_size: 65536,
                preallocation: Preallocation::Off,
                backing: None,
            };
            qcow2::create(&file, &new).expect("a new image");
        } else {
            file.set_len(1 << 30).expect("a sparse file");
        }
        path
    }

    /// `machines` configs from VM 100 on, each with `disks` raw disks of which the last is in no config, as after a crash;
    /// every first one is qcow2.
    pub fn fleet(&self, machines: u32, disks: u32) {
        for vmid in 100..100 + machines {
            let mut config = format!("cores: 2\nmemory: 2048\nname: vm{vmid}\n");
            for disk in 0..disks {
                let extension = if disk == 0 { "qcow2" } else { "raw" };
                let name = format!("vm-{vmid}-disk-{disk}.{extension}");
                self.image(vmid, &name);
                if disk + 1 < disks {
                    let _ = writeln!(config, "scsi{disk}: store:{vmid}/{name},size=1G");
                }
            }
            let path = format!("etc/pve/qemu-server/{vmid}.conf");
            fs::write(self.0.join(path), config).expect("a new file");
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
