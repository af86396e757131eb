//! Making a fresh image: everything but the header first, the header last.

use super::image::Image;
use super::store::Store;
use super::{NewImage, Qcow2};
use crate::format::qcow2::bytes::entry_bytes;
use crate::format::qcow2::header::{MAX_BACKING_NAME, MAX_L1_BYTES, extension};
use crate::format::qcow2::{Cluster, Extension, Header, Layout, RawHeader, Width};
use crate::model::{Error, Preallocation, Result};
use std::fs::File;

const HEADER_LENGTH: u32 = 112;
/// 16-bit counts, as QEMU makes them.
const REFCOUNT_ORDER: u32 = 4;

/// Where the parts of an empty image go, in clusters.
struct Parts {
    table: u64,
    blocks: u64,
    l1: u64,
}

impl Parts {
    fn total(&self) -> u64 {
        1 + self.table + self.blocks + self.l1
    }
    fn plan(layout: Layout, width: Width, l1_entries: u64) -> Self {
        let cluster = layout.cluster_size();
        let mut parts = Parts {
            table: 1,
            blocks: 1,
            l1: layout.clusters(l1_entries * 8),
        };
        loop {
            let blocks = parts.total().div_ceil(width.per_block(cluster));
            let table = layout.clusters(blocks * 8);
            if blocks <= parts.blocks && table <= parts.table {
                return parts;
            }
            parts.blocks = parts.blocks.max(blocks);
            parts.table = parts.table.max(table);
        }
    }
}

fn header(new: &NewImage, layout: Layout, width: Width, parts: &Parts) -> Result<Header> {
    let cluster = layout.cluster_size();
    let mut extensions = Vec::new();
    let mut backing_name = None;
    if let Some((name, format)) = &new.backing {
        if name.is_empty() || name.len() > MAX_BACKING_NAME as usize {
            return Err(Error::usage(format!(
                "a backing file name of {} bytes is not from 1 to {MAX_BACKING_NAME}",
                name.len()
            )));
        }
        extensions.push(Extension {
            kind: extension::BACKING_FORMAT,
            data: format.as_str().as_bytes().to_vec(),
        });
        backing_name = Some(name.as_bytes().to_vec());
    }
    Ok(Header {
        fields: RawHeader {
            version: 3,
            backing_offset: 0,
            backing_size: 0,
            cluster_bits: layout.cluster_bits,
            size: new.size.get(),
            crypt_method: 0,
            l1_size: layout.l1_entries(new.size.get()) as u32,
            l1_offset: (1 + parts.table + parts.blocks) * cluster,
            refcount_offset: cluster,
            refcount_clusters: parts.table as u32,
            snapshot_count: 0,
            snapshot_offset: 0,
            incompatible: 0,
            compatible: 0,
            autoclear: 0,
            refcount_order: REFCOUNT_ORDER,
            header_length: HEADER_LENGTH,
            compression: 0,
        },
        layout,
        width,
        extensions,
        backing_name,
    })
}

pub(super) fn create(file: &File, new: &NewImage) -> Result<()> {
    let size = u64::from(new.cluster_size);
    if !size.is_power_of_two() || !(512..=2 << 20).contains(&size) {
        return Err(Error::usage(format!(
            "cluster size {size} is not a power of two from 512 to 2097152"
        )));
    }
    if new.backing.is_some() && new.preallocation != Preallocation::Off {
        return Err(Error::usage(
            "an image with a backing file cannot be preallocated",
        ));
    }
    let layout = Layout {
        version: 3,
        cluster_bits: size.trailing_zeros(),
    };
    let disk = new.size.get();
    if disk > i64::MAX as u64 || layout.l1_entries(disk) * 8 > MAX_L1_BYTES {
        return Err(Error::usage(format!(
            "a disk of {disk} bytes needs clusters larger than {size}"
        )));
    }
    let width = Width::from_order(REFCOUNT_ORDER).expect("order 4 is a width");
    let copy = file
        .try_clone()
        .map_err(|e| Error::io("cannot use the new image file", e))?;
    let mut store = Store::new(copy, "new image".into())?;
    if store.end() > 0 && file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(Error::conflict("the file for the new image is not empty"));
    }
    let parts = Parts::plan(layout, width, layout.l1_entries(disk));
    let mut header = header(new, layout, width, &parts)?;
    let head = header.cluster_bytes()?;
    let offsets: Vec<u64> = (0..parts.blocks)
        .map(|n| (1 + parts.table + n) * size)
        .collect();
    let mut table = entry_bytes(&offsets);
    table.resize((parts.table * size) as usize, 0);
    store.write(size, &table)?;
    let mut block = vec![0; (parts.blocks * size) as usize];
    for number in 0..parts.total() {
        width.set(&mut block, number as usize, 1);
    }
    store.write(offsets[0], &block)?;
    if parts.l1 > 0 {
        store.write(
            header.fields.l1_offset,
            &vec![0; (parts.l1 * size) as usize],
        )?;
    }
    store.sync()?;
    store.write(0, &head)?;
    store.sync()?;
    drop(store);
    if new.preallocation != Preallocation::Off && disk > 0 {
        preallocate(file, new)?;
    }
    Ok(())
}

/// Maps every cluster of the disk.
fn preallocate(file: &File, new: &NewImage) -> Result<()> {
    let copy = file
        .try_clone()
        .map_err(|e| Error::io("cannot use the new image file", e))?;
    let mut image = Image::open(copy, "new image".into(), true, None)?;
    let cluster = image.layout.cluster_size();
    let zeros = vec![0; cluster as usize];
    let mut guest = 0;
    while guest < image.size() {
        let (first, second) = image.indexes(guest);
        let table = image.l2_for_change(first)?;
        let host = image.allocate()?;
        if new.preallocation == Preallocation::Full {
            image.store.write(host, &zeros)?;
        } else {
            image.store.extend(host + cluster)?;
        }
        image.set_entry(table, second, Cluster::Data { host, copied: true })?;
        guest += cluster;
    }
    if new.preallocation == Preallocation::Falloc {
        let end = image.end();
        image.store.touched();
        crate::sys::fs::fallocate(
            image.store.file(),
            rustix::fs::FallocateFlags::empty(),
            0,
            end,
        )
        .map_err(|e| Error::io("cannot reserve the space of the new image", e))?;
    }
    image.flush()
}

impl Qcow2 {
    /// Bytes of one cluster.
    pub fn cluster_size(&self) -> Result<u64> {
        Ok(self.lock()?.layout.cluster_size())
    }
}
