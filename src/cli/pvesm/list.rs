//! `pvesm list`: the volumes of one storage by one bulk query.

use crate::cli::args::{option, positional};
use crate::cli::context::Context;
use crate::cli::parse;
use crate::cli::verb::Verb;
use crate::model::{ContentType, ImageFormat, Result, StorageId, VmId, VolumeId, VolumeInfo};
use clap::{ArgMatches, Command};
use serde_json::json;

pub const VERB: Verb = Verb::reads("list", "Volumes of a storage", define, run);

fn define(command: Command) -> Command {
    command.args([
        positional("storage", "The storage"),
        option("content", "TYPE", "Only volumes of this content type"),
        option("vmid", "VMID", "Only volumes of this VM"),
    ])
}

/// One line of the table.
struct Row {
    volid: String,
    format: String,
    content: String,
    size: Option<u64>,
    /// Where the exact size is not known; printed with `~`.
    approximate: Option<u64>,
    vmid: Option<u32>,
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    let storage = parse::storage(m, "storage")?;
    let contents = parse::contents(m, "content")?;
    let vmid = parse::vmid_if_given(m, "vmid")?;
    let inventory = ctx.engine.backend(&storage)?.inventory()?;
    let wanted = |v: &&VolumeInfo| {
        (contents.is_empty() || contents.contains(&content_of(v)))
            && vmid.is_none_or(|id: VmId| v.owner == Some(id.get()))
    };
    let volumes: Vec<&VolumeInfo> = inventory.volumes.iter().filter(wanted).collect();
    if ctx.json() {
        let all: Vec<_> = volumes.iter().map(|v| value(&storage, v)).collect();
        ctx.object([("storage", json!(storage)), ("volumes", all.into())]);
        return Ok(0);
    }
    let rows = volumes.iter().map(|v| Row {
        volid: VolumeId::new(storage.clone(), v.name.clone()).to_string(),
        format: v.format.to_string(),
        content: content_of(v).to_string(),
        size: v.size.map(|s| s.get()),
        approximate: None,
        vmid: v.owner.filter(|n| *n != 0),
    });
    ctx.text(table(rows.collect()));
    for volume in volumes {
        if let Some(problem) = &volume.problem {
            ctx.note(&format!("volume '{storage}:{}': {problem}", volume.name));
        }
    }
    Ok(0)
}

fn content_of(volume: &VolumeInfo) -> ContentType {
    match volume.format {
        ImageFormat::Subvol => ContentType::RootDir,
        _ => ContentType::Images,
    }
}

/// One volume as JSON: everything that was observed.
pub fn value(storage: &StorageId, volume: &VolumeInfo) -> serde_json::Value {
    let mut value = json!(volume);
    value["volid"] = json!(format!("{storage}:{}", volume.name));
    value["content"] = json!(content_of(volume));
    value["vmid"] = json!(volume.owner);
    for snapshot in value["snapshots"].as_array_mut().into_iter().flatten() {
        let method = volume
            .snapshots
            .iter()
            .find(|s| snapshot["name"] == json!(s.name))
            .map(|s| s.method.reason());
        snapshot["why"] = json!(method);
    }
    value
}

/// Proxmox VE's table, byte for byte: volumes of machines by volume id, then the others by format.
fn table(mut rows: Vec<Row>) -> String {
    rows.sort_by(|a, b| match (a.vmid, b.vmid) {
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (Some(_), Some(_)) => a.volid.cmp(&b.volid),
        (None, None) => (&a.format, &a.volid).cmp(&(&b.format, &b.volid)),
    });
    let size = |row: &Row| match (row.size, row.approximate) {
        (Some(size), _) => size.to_string(),
        (None, Some(size)) => format!("~{size}"),
        (None, None) => "-".to_owned(),
    };
    let wide = rows.iter().map(|r| r.volid.len()).max().unwrap_or(0);
    let digits = rows.iter().map(|r| size(r).len()).max().unwrap_or(0);
    let mut text = format!(
        "{:<wide$} {:<7} {:<9} {:>digits$} VMID\n",
        "Volid", "Format", "Type", "Size"
    );
    for row in &rows {
        text.push_str(&format!(
            "{:<wide$} {:<7} {:<9} {:>digits$}",
            row.volid,
            row.format,
            row.content,
            size(row)
        ));
        if let Some(vmid) = row.vmid {
            text.push_str(&format!(" {vmid}"));
        }
        text.push('\n');
    }
    text
}

/// The table for rows given as JSON (`explain cli_output`); rows without a volume id are left out.
pub fn of_cases(data: &serde_json::Value) -> String {
    let word = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let row = |v: &serde_json::Value| {
        Some(Row {
            volid: v["volid"].as_str()?.to_owned(),
            format: word(&v["format"]),
            content: word(&v["content"]),
            size: v["size"].as_f64().map(|s| s as u64),
            approximate: v["approximate-size"].as_f64().map(|s| s as u64),
            vmid: v["vmid"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n != 0),
        })
    };
    table(
        data.as_array()
            .into_iter()
            .flatten()
            .filter_map(row)
            .collect(),
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::Value;

    /// Observed outputs of one command: rows in, text out.
    pub fn cases(command: &str) -> Vec<(Value, String)> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/testdata/cases/storage/cli_output.jsonl"
        );
        std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|case| case["input"]["command"] == command)
            .map(|case| {
                let text = case["expected"].as_str().unwrap().to_owned();
                (case["input"]["data"].clone(), text)
            })
            .collect()
    }

    #[test]
    fn the_table_is_the_one_scripts_cut_up() {
        let mut seen = 0;
        for (input, expected) in cases("list") {
            assert_eq!(of_cases(&input), expected);
            seen += 1;
        }
        assert!(seen >= 4);
    }
}
