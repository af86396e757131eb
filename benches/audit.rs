//! Auditing 10,000 volumes against 1,000 configs, next to QEMU's tool looking at one of the images.

use crate::measure::{PROGRAM, installed, processes, table};
use crate::roots::Root;

pub fn run() {
    if !installed("qemu-img") {
        return;
    }
    let root = Root::new("audit");
    root.fleet(1000, 10);
    let one = root.path().join("store/images/100/vm-100-disk-0.qcow2");
    let one = one.to_str().expect("made from text");
    let contenders = [
        ("qemu-img info, 1 image", "qemu-img", vec!["info", one]),
        (
            "volvisor audit, 10000 volumes",
            PROGRAM,
            vec!["--root", root.text(), "audit"],
        ),
    ];
    table(&processes(&contenders, 5), 0);
}
