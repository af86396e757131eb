//! `pvesm status`: every storage, whether it works and how full it is; builds nothing but the backends it shows.

use crate::cli::args::{bad, flag, flag_arg, option, text};
use crate::cli::context::Context;
use crate::cli::storages::{Filter, Row, rows};
use crate::cli::verb::Verb;
use crate::cli::{parse, storages};
use crate::engine::node_name;
use crate::model::{ByteCount, Error, Result, Space};
use clap::{ArgMatches, Command};

pub const VERB: Verb = Verb::reads("status", "Status of all storages", define, run);

fn define(command: Command) -> Command {
    command.args([
        option("storage", "STORAGE", "Only this storage"),
        option(
            "content",
            "LIST",
            "Only storages that may hold one of these",
        ),
        flag_arg("enabled", "Only storages that are enabled here"),
        option(
            "target",
            "NODE",
            "Only storages that this node and NODE share",
        ),
        flag_arg(
            "format",
            "Accepted for compatibility; the table has no formats",
        ),
    ])
}

fn run(ctx: &Context, m: &ArgMatches) -> Result<i32> {
    if let Some(node) = text(m, "target").filter(|node| *node != node_name()) {
        return Err(Error::unsupported(format!(
            "node '{node}' is not this node: there is no cluster here"
        )));
    }
    let filter = Filter {
        storage: parse::storage_if_given(m, "storage")?,
        content: parse::contents(m, "content")?,
        enabled: flag(m, "enabled"),
    };
    let rows = rows(ctx, &filter)?;
    if rows.is_empty() && filter.storage.is_some() {
        return Err(bad("storage", "No such storage."));
    }
    if ctx.json() {
        let all: Vec<_> = rows.iter().map(storages::Row::json).collect();
        ctx.object([("storages", all.into())]);
    } else {
        ctx.text(table(&rows));
        for row in rows.iter().filter(|r| r.enabled) {
            if let Some(reason) = &row.reason {
                let named = format!("storage '{}'", row.storage);
                match reason.starts_with(&named) {
                    true => ctx.note(reason),
                    false => ctx.note(&format!("{named}: {reason}")),
                }
            }
        }
    }
    Ok(0)
}

/// Proxmox VE's table, byte for byte.
fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|r| r.storage.len()).max().unwrap_or(0) + 1;
    let mut text = format!(
        "{:<width$} {:>10} {:>10} {:>15} {:>15} {:>15} {:>8}\n",
        "Name", "Type", "Status", "Total (KiB)", "Used (KiB)", "Available (KiB)", "%"
    );
    for row in rows {
        let percent = match (row.enabled, row.space.total.get()) {
            (false, _) => "N/A".to_owned(),
            (true, 0) => "0.00%".to_owned(),
            (true, total) => {
                format!("{:.2}%", row.space.used.get() as f64 * 100.0 / total as f64)
            }
        };
        text.push_str(&format!(
            "{:<width$} {:>10} {:>10} {:>15} {:>15} {:>15} {percent:>8}\n",
            row.storage,
            row.type_word,
            row.status(),
            row.space.total.whole_kib(),
            row.space.used.whole_kib(),
            row.space.available.whole_kib(),
        ));
    }
    text
}

/// The table for rows given as JSON (`explain cli_output`); rows that miss a name or type are left out.
pub fn of_cases(data: &serde_json::Value) -> String {
    let bytes = |v: &serde_json::Value| ByteCount(v.as_f64().unwrap_or(0.0) as u64);
    let row = |s: &serde_json::Value| {
        Some(Row {
            storage: s["storage"].as_str()?.to_owned(),
            type_word: s["type"].as_str()?.to_owned(),
            content: Vec::new(),
            enabled: s["enabled"] == 1,
            active: s["active"] == 1,
            space: Space {
                total: bytes(&s["total"]),
                used: bytes(&s["used"]),
                available: bytes(&s["avail"]),
            },
            reason: None,
        })
    };
    let mut rows: Vec<Row> = data
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(row)
        .collect();
    rows.sort_by(|a, b| a.storage.cmp(&b.storage));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pvesm::list::tests::cases;

    #[test]
    fn the_table_is_the_one_scripts_cut_up() {
        let mut seen = 0;
        for (input, expected) in cases("status") {
            assert_eq!(of_cases(&input), expected);
            seen += 1;
        }
        assert!(seen >= 4);
    }
}
