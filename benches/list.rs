//! Listing a thousand qcow2 images, next to QEMU's tool looking at one of them.

use crate::measure::{PROGRAM, installed, processes, table};
use crate::roots::Root;

pub fn run() {
    if !installed("qemu-img") {
        return;
    }
    let root = Root::new("list");
    let mut last = String::new();
    for vmid in 100..1100 {
        let path = root.image(vmid, &format!("vm-{vmid}-disk-0.qcow2"));
        last = path.to_str().expect("made from text").to_owned();
    }
    let contenders = [
        ("qemu-img info, 1 image", "qemu-img", vec!["info", &last]),
        (
            "volvisor pvesm list, 1000 images",
            PROGRAM,
            vec!["--root", root.text(), "pvesm", "list", "store"],
        ),
    ];
    table(&processes(&contenders, 15), 0);
}
