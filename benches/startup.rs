//! Whole processes that do next to nothing, next to `qemu-img --version`; what a script pays for each call.

use crate::measure::{PROGRAM, installed, processes, table};
use crate::roots::Root;

pub fn run() {
    if !installed("qemu-img") {
        return;
    }
    let root = Root::new("startup");
    root.image(100, "vm-100-disk-0.qcow2");
    let at = root.text();
    let volume = "store:100/vm-100-disk-0.qcow2";
    let contenders = [
        ("qemu-img --version", "qemu-img", vec!["--version"]),
        ("volvisor --help", PROGRAM, vec!["--help"]),
        (
            "volvisor pvesm status",
            PROGRAM,
            vec!["--root", at, "pvesm", "status"],
        ),
        (
            "volvisor pvesm path",
            PROGRAM,
            vec!["--root", at, "pvesm", "path", volume],
        ),
    ];
    table(&processes(&contenders, 51), 0);
}
