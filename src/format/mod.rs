//! Bytes and text to nouns and back, losslessly; every reader is total (never panics) and does no I/O.

pub mod drive;
pub mod property;
pub mod qcow2;
pub mod size;
pub mod storage_cfg;
pub mod storage_kind;
pub mod value;
pub mod vm_config;
pub mod vm_key;
pub mod volname;
