//! In which stream formats a volume can leave or enter a storage (pve-storage 3.3); moves no bytes.

use super::parse;
use crate::model::{ContentType, Result, StorageKind};

/// How a transfer asks for snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithSnapshots {
    No,
    All,
    /// An explicit list of names.
    Listed,
}

/// Names of stream formats, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferFormats {
    pub export: Vec<&'static str>,
    pub import: Vec<&'static str>,
}

/// `snapshot`: the state to send; `base`: the snapshot both sides have (incremental); `chain`: the storage keeps snapshots as
/// volume chains.
pub fn transfer_formats(
    kind: StorageKind,
    name: &str,
    snapshot: Option<&str>,
    base: Option<&str>,
    with: WithSnapshots,
    chain: bool,
) -> Result<TransferFormats> {
    use StorageKind as K;
    let parts = parse(kind, name)?;
    let file = || {
        (
            file_stream(
                &parts.content,
                &parts.format,
                snapshot.is_some(),
                base,
                with,
                chain,
            ),
            file_stream(&parts.content, &parts.format, false, base, with, false),
        )
    };
    let plain = base.is_none() && with == WithSnapshots::No;
    let raw = |possible: bool| possible.then_some("raw+size");
    let (export, import) = match kind {
        K::Btrfs
            if snapshot.is_some()
                && parts.content == ContentType::Images
                && matches!(parts.format.as_str(), "raw" | "subvol") =>
        {
            // All snapshots between two states can be sent only when they are named.
            let stream = (base.is_none() || with != WithSnapshots::All).then_some("btrfs");
            (stream, stream)
        }
        K::Dir | K::Nfs | K::Cifs | K::Cephfs | K::Btrfs => file(),
        K::Lvm | K::LvmThin => (raw(plain && snapshot.is_none()), raw(plain)),
        K::Rbd => (raw(plain), raw(plain)),
        K::Iscsi | K::IscsiDirect => (raw(plain && snapshot.is_none()), None),
        K::ZfsPool => (Some("zfs"), Some("zfs")),
        K::Zfs | K::Pbs | K::Esxi => (None, None),
    };
    Ok(TransferFormats {
        export: export.into_iter().collect(),
        import: import.into_iter().collect(),
    })
}

fn file_stream(
    content: &ContentType,
    format: &str,
    snapshot: bool,
    base: Option<&str>,
    with: WithSnapshots,
    chain: bool,
) -> Option<&'static str> {
    let image = *content == ContentType::Images;
    if base.is_some() || snapshot {
        return None;
    }
    match (with, format) {
        _ if matches!(
            content,
            ContentType::Backup | ContentType::RootDir | ContentType::None
        ) =>
        {
            None
        }
        (WithSnapshots::No, "subvol") => Some("tar+size"),
        (WithSnapshots::No, _) => Some("raw+size"),
        (_, "qcow2") if image && !chain => Some("qcow2+size"),
        (_, "vmdk") if image && !chain => Some("vmdk+size"),
        _ => None,
    }
}
