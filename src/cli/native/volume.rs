//! `volvisor volume`: the volumes of all storages, one of them in full, and the verbs that change one.

use crate::backend::OpenMode;
use crate::cli::args::{bad, flag, flag_arg, option, positional, text};
use crate::cli::context::Context;
use crate::cli::output::{Align, human_or_unknown, table, utc};
use crate::cli::pvesm::volume_json;
use crate::cli::verb::Verb;
use crate::cli::{parse, run};
use crate::format::size;
use crate::model::{ByteCount, Error, Result, StorageId, VolumeId, VolumeInfo, VolumeName};
use crate::plan::Intent;
use clap::{ArgMatches, Command};
use serde_json::json;

pub const LIST: Verb = Verb::reads(
    "volume list",
    "Volumes of all storages, or of some",
    |c| {
        c.args([
            option("storage", "LIST", "Only of these storages"),
            option("vmid", "VMID", "Only of this VM"),
            option("match", "REGEX", "Only names that this pattern finds"),
        ])
    },
    list,
);
pub const SHOW: Verb = Verb::reads("volume show", "One volume with its snapshots", one, show);
pub const ALLOC: Verb = Verb::changes(
    "volume alloc",
    "Allocate a volume",
    |c| {
        c.args([
            positional("storage", "The storage"),
            positional("vmid", "The VM that owns the volume"),
            positional("size", "Size: 10G, 512M"),
            option("name", "NAME", "Name (default: the next free one)"),
            option("format", "FORMAT", "raw, qcow2, subvol or vmdk"),
        ])
    },
    alloc,
);
pub const RESIZE: Verb = Verb::changes(
    "volume resize",
    "Grow a volume",
    |c| one(c).arg(positional("size", "New size: 20G")),
    resize,
);
pub const RENAME: Verb = Verb::changes(
    "volume rename",
    "Rename a volume inside its storage",
    |c| one(c).arg(positional("name", "The new name inside the storage")),
    rename,
);
pub const DELSNAPSHOT: Verb = Verb::changes(
    "volume delsnapshot",
    "Delete a snapshot of one volume that no config records",
    |c| {
        one(c).arg(positional(
            "snapname",
            "The snapshot, as volume show lists it",
        ))
    },
    |ctx, m| {
        let intent = Intent::VolumeForgetSnapshot {
            volume: parse::volume(m, "volume")?,
            name: parse::snapshot(m, "snapname")?,
        };
        run::change(ctx, &intent)
    },
);
pub const DIGEST: Verb = Verb::reads(
    "volume digest",
    "BLAKE3 of the content a guest would read",
    |c| {
        one(c).args([
            option("snapshot", "NAME", "Of this snapshot"),
            flag_arg("progress", "Show progress"),
        ])
    },
    digest,
);

fn one(command: Command) -> Command {
    command.arg(positional("volume", "The volume, STORAGE:NAME"))
}

fn list(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let named = parse::lists(m, "storage");
    let vmid = parse::vmid_if_given(m, "vmid")?;
    let pattern = match text(m, "match") {
        None => None,
        Some(given) => Some(regex::Regex::new(&given).map_err(|why| {
            bad("match", format!("'{given}' is not a regular expression"))
                .with_source(why)
                .hint("for example: --match 'vm-1[0-9]+-disk-0'")
        })?),
    };
    let wanted = |v: &VolumeInfo| {
        vmid.is_none_or(|id| v.owner == Some(id.get()))
            && pattern.as_ref().is_none_or(|p| p.is_match(v.name.as_str()))
    };
    let mut found: Vec<(StorageId, VolumeInfo)> = Vec::new();
    let mut failed = Vec::new();
    for section in ctx.engine.sections()? {
        let asked = named.iter().any(|n| n == section.id.as_str());
        if !(asked || (named.is_empty() && section.enabled())) {
            continue;
        }
        match ctx.engine.backend(&section.id).and_then(|b| b.inventory()) {
            Ok(inventory) => found.extend(
                inventory
                    .volumes
                    .into_iter()
                    .filter(|v| wanted(v))
                    .map(|v| (section.id.clone(), v)),
            ),
            Err(error) if asked => return Err(error),
            Err(error) => failed.push(json!({"storage": section.id, "reason": error.full_text()})),
        }
    }
    if ctx.json() {
        let all: Vec<_> = found.iter().map(|(s, v)| volume_json(s, v)).collect();
        ctx.object([("volumes", all.into()), ("not_listed", failed.into())]);
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(storage, v)| {
            vec![
                format!("{storage}:{}", v.name),
                v.format.to_string(),
                human_or_unknown(v.size),
                human_or_unknown(v.used),
                v.owner.map_or_else(|| "-".to_owned(), |n| n.to_string()),
                v.snapshots.len().to_string(),
                v.problem.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        ("VOLUME", Align::Left),
        ("FORMAT", Align::Left),
        ("SIZE", Align::Right),
        ("USED", Align::Right),
        ("VM", Align::Right),
        ("SNAPSHOTS", Align::Right),
        ("PROBLEM", Align::Left),
    ];
    ctx.text(table(&head, &rows));
    for failure in failed {
        let word = |key: &str| failure[key].as_str().unwrap_or_default().to_owned();
        ctx.note(&format!(
            "storage '{}' is not listed: {}",
            word("storage"),
            word("reason")
        ));
    }
    Ok(0)
}

fn find(ctx: &Context, id: &VolumeId) -> Result<VolumeInfo> {
    let inventory = ctx.engine.backend(&id.storage)?.inventory()?;
    inventory.find(&id.name).cloned().ok_or_else(|| {
        Error::not_found(format!("volume '{id}' does not exist")).hint(format!(
            "list volumes with: volvisor volume list --storage {}",
            id.storage
        ))
    })
}

fn show(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let id = parse::volume(m, "volume")?;
    let volume = find(ctx, &id)?;
    let path = ctx.engine.backend(&id.storage)?.path(&id.name, None).ok();
    if ctx.json() {
        let mut value = volume_json(&id.storage, &volume);
        value["path"] = json!(path);
        ctx.object([("volume", value)]);
        return Ok(0);
    }
    let line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            ctx.line(format!("{:<10} {value}", format!("{name}:")));
        }
    };
    line("volume", Some(id.to_string()));
    line("path", path.map(|p| p.to_string_lossy().into_owned()));
    line("format", Some(volume.format.to_string()));
    line("size", Some(human_or_unknown(volume.size)));
    line("used", Some(human_or_unknown(volume.used)));
    line("owner", volume.owner.map(|n| format!("VM {n}")));
    line("created", volume.created.map(|t| format!("{} UTC", utc(t))));
    line("parent", volume.parent.clone());
    line(
        "base",
        volume
            .is_base
            .then(|| "yes, image of a template".to_owned()),
    );
    line("read-only", volume.read_only.then(|| "yes".to_owned()));
    line("identity", Some(volume.identity.to_string()));
    line("problem", volume.problem.clone());
    for snapshot in &volume.snapshots {
        ctx.line(format!(
            "snapshot:  {} taken {} UTC by {} ({})",
            snapshot.name,
            utc(snapshot.created),
            snapshot.method,
            snapshot.method.reason()
        ));
    }
    Ok(0)
}

fn bytes(m: &ArgMatches, name: &str) -> Result<ByteCount> {
    let word = parse::required(m, name)?;
    size::parse_disk_size(&word).ok_or_else(|| {
        Error::usage(format!("'{word}' is not a size"))
            .hint("write a number with K, M, G or T: 10G")
    })
}

fn alloc(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VolumeAlloc {
        storage: parse::storage(m, "storage")?,
        vmid: parse::vmid(m, "vmid")?,
        leaf: text(m, "name").filter(|n| !n.is_empty()),
        format: parse::format(m, "format")?,
        size: bytes(m, "size")?,
    };
    run::change(ctx, &intent)
}

fn resize(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let intent = Intent::VolumeResize {
        volume: parse::volume(m, "volume")?,
        to: bytes(m, "size")?,
    };
    run::change(ctx, &intent)
}

fn rename(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let volume = parse::volume(m, "volume")?;
    let word = parse::required(m, "name")?;
    let prefix = format!("{}:", volume.storage);
    let to = VolumeName::parse(word.strip_prefix(&prefix).unwrap_or(&word))?;
    run::change(ctx, &Intent::VolumeRename { volume, to })
}

fn digest(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let id = parse::volume(m, "volume")?;
    let snapshot = parse::snapshot_if_given(m, "snapshot")?;
    let device =
        ctx.engine
            .backend(&id.storage)?
            .open(&id.name, snapshot.as_ref(), OpenMode::ReadOnly)?;
    let size = device.geometry().size.get();
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0u8; 1 << 20];
    let mut at = 0;
    while at < size {
        let count = buffer.len().min((size - at) as usize);
        device.read_at(at, &mut buffer[..count])?;
        hash.update(&buffer[..count]);
        at += count as u64;
        if flag(m, "progress") && at % (1 << 30) == 0 {
            ctx.note(&format!(
                "{} of {}",
                human_or_unknown(Some(ByteCount(at))),
                human_or_unknown(Some(ByteCount(size)))
            ));
        }
    }
    let hex = hash.finalize().to_hex().to_string();
    match ctx.json() {
        true => ctx.object([
            ("volid", json!(id)),
            ("snapshot", json!(snapshot)),
            ("size", size.into()),
            ("blake3", hex.into()),
        ]),
        false => ctx.line(format!("{hex}  {id}")),
    }
    Ok(0)
}
