//! One suite of guarantees that every backend keeps: in memory, directories of raw and of qcow2 images, on file systems with
//! and without shared blocks.

mod content;
pub mod kit;
mod life;
mod names;
mod snapshots;
mod users;

use kit::{Abilities, Ground, dir_backend, mounted};
use volvisor::backend::Backend;
use volvisor::backend::mem::Mem;
use volvisor::model::{ImageFormat, StorageId};

/// Every guarantee of `trait Backend`, told on fresh storages made by `make`.
fn suite(make: impl Fn() -> Box<dyn Backend>, abilities: Abilities) {
    let make = || kit::Checked::new(make());
    life::created_listed_and_destroyed(&make(), abilities);
    life::every_verb_may_be_repeated(&make(), abilities);
    life::another_volume_of_the_same_name_is_refused(&make(), abilities);
    life::what_was_not_made_here_is_not_withdrawn(&make(), abilities);
    life::disks_grow_and_never_shrink(&make(), abilities);
    life::renamed_with_everything(&make(), abilities);
    life::the_missing_are_not_found(&make(), abilities);
    names::names_that_try_to_escape(&make(), abilities);
    users::reading_never_writes(&make(), abilities);
    users::one_writer(&make(), abilities);
    content::bytes_stay(&make(), abilities);
    content::full_clones_are_independent(&make(), abilities);
    content::linked_clones_follow_their_base(&make(), abilities);
    if abilities.snapshots {
        snapshots::group_is_taken_and_deleted(&make(), abilities);
        snapshots::deleted_in_every_order(&make, abilities);
        snapshots::rolled_back_in_every_order(&make, abilities);
        snapshots::sizes_come_back(&make(), abilities);
        snapshots::clones_of_a_snapshot(&make(), abilities);
        snapshots::taken_by_the_holder(&make(), abilities);
    } else {
        snapshots::refused_before_any_change(&make(), abilities);
    }
}

const RAW: Abilities = Abilities {
    format: ImageFormat::Raw,
    snapshots: false,
};
const QCOW2: Abilities = Abilities {
    format: ImageFormat::Qcow2,
    snapshots: true,
};
const RAW_REFLINK: Abilities = Abilities {
    format: ImageFormat::Raw,
    snapshots: true,
};

#[test]
fn memory_keeps_every_guarantee() {
    let id = || StorageId::parse("mem").unwrap();
    suite(|| Box::new(Mem::new(id())), RAW_REFLINK);
    suite(|| Box::new(Mem::new(id())), QCOW2);
}

#[test]
fn directory_of_raw_images_keeps_every_guarantee() {
    let ground = Ground::new("conf-raw");
    suite(|| dir_backend(&ground.fresh()), RAW);
}

#[test]
fn directory_of_qcow2_images_keeps_every_guarantee() {
    let ground = Ground::new("conf-qcow2");
    suite(|| dir_backend(&ground.fresh()), QCOW2);
}

#[test]
fn directory_on_btrfs_keeps_every_guarantee() {
    on_reflinks("conf-btrfs", &["mkfs.btrfs", "-q"], 128);
}

#[test]
fn directory_on_xfs_keeps_every_guarantee() {
    on_reflinks("conf-xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"], 320);
}

fn on_reflinks(name: &str, mkfs: &[&str], mib: u64) {
    let Some(ground) = mounted(name, mkfs, mib) else {
        return;
    };
    suite(|| dir_backend(&ground.fresh()), RAW_REFLINK);
    suite(|| dir_backend(&ground.fresh()), QCOW2);
}
