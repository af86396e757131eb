//! Retention (pve-storage 3.4): which of a group stays by keep-last ... keep-yearly, in UTC, and the plan that deletes the rest.

use super::draft::Draft;
use super::intent::KeepRules;
use super::sections::Sections;
use super::{Intent, Plan, World, check, snapshot_delete};
use crate::model::calendar::civil;
use crate::model::{Error, Result, SnapshotName};
use std::collections::HashSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Keep,
    Remove,
    /// Neither counted nor removed.
    Protected,
}

impl Mark {
    pub fn as_str(self) -> &'static str {
        match self {
            Mark::Keep => "keep",
            Mark::Remove => "remove",
            Mark::Protected => "protected",
        }
    }
}

/// The ISO 8601 week as a number that is the same for all days of the week: the week's Thursday, in days since 1970.
fn iso_week(days: i64) -> i64 {
    // 1970-01-01 was a Thursday: weekday 0 is Monday here.
    let weekday = (days + 3).rem_euclid(7);
    days - weekday + 3
}

/// One mark per entry of `(time, protected)`, in the order given. Times are seconds since 1970.
pub fn marks(group: &[(u64, bool)], keep: &KeepRules) -> Vec<Mark> {
    let rules = keep.counts();
    let all = keep.all || !rules.iter().any(|r| r.is_some_and(|n| n > 0));
    let mut order: Vec<usize> = (0..group.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(group[*i].0));
    let mut found: Vec<Option<Mark>> = group
        .iter()
        .map(|(_, protected)| protected.then_some(Mark::Protected))
        .collect();
    if !all {
        let periods: [fn(u64) -> (i64, u32); 6] = [
            |t| (t as i64, 0),
            |t| ((t / 3_600) as i64, 0),
            |t| ((t / 86_400) as i64, 0),
            |t| (iso_week((t / 86_400) as i64), 0),
            |t| {
                let (year, month, _) = civil((t / 86_400) as i64);
                (year, month)
            },
            |t| (civil((t / 86_400) as i64).0, 0),
        ];
        for (count, period) in rules.iter().zip(periods) {
            one_rule(group, &order, &mut found, count.unwrap_or(0), period);
        }
    }
    let rest = if all { Mark::Keep } else { Mark::Remove };
    found.into_iter().map(|m| m.unwrap_or(rest)).collect()
}

/// Periods with something kept already are passed over; of up to `count` new ones the newest entry stays.
fn one_rule(
    group: &[(u64, bool)],
    order: &[usize],
    found: &mut [Option<Mark>],
    count: u32,
    period: fn(u64) -> (i64, u32),
) {
    if count == 0 {
        return;
    }
    let covered: HashSet<(i64, u32)> = order
        .iter()
        .filter(|i| found[**i] == Some(Mark::Keep))
        .map(|i| period(group[*i].0))
        .collect();
    let mut fresh: HashSet<(i64, u32)> = HashSet::new();
    for i in order {
        let id = period(group[*i].0);
        if found[*i].is_some() || covered.contains(&id) {
            continue;
        }
        if fresh.contains(&id) {
            found[*i] = Some(Mark::Remove);
        } else if fresh.len() >= count as usize {
            break;
        } else {
            fresh.insert(id);
            found[*i] = Some(Mark::Keep);
        }
    }
}

pub(super) fn plan(intent: &Intent, world: &World) -> Result<Plan> {
    let Intent::SnapshotPrune { vmid, keep, prefix } = intent else {
        return Err(check::wrong_planner(intent));
    };
    let mut draft = Draft::new(world, intent);
    let view = world.machine(*vmid)?;
    let mut names: Vec<SnapshotName> = Vec::new();
    let mut group = Vec::new();
    let sections = Sections::read(&view.bytes.0);
    for name in sections.names().cloned() {
        if prefix
            .as_ref()
            .is_some_and(|p| !name.as_str().starts_with(p.as_str()))
        {
            continue;
        }
        if let Some(state) = sections.get(&name, "snapstate") {
            draft.note(format!(
                "snapshot '{name}' is incomplete (snapstate = {state}) and stays"
            ));
            continue;
        }
        let time = sections.get(&name, "snaptime");
        let Some(time) = time.and_then(|t| t.parse::<u64>().ok()) else {
            draft.note(format!(
                "snapshot '{name}' has no readable snaptime and stays"
            ));
            continue;
        };
        group.push((time, false));
        names.push(name);
    }
    if !keep.all && keep.counts().iter().all(Option::is_none) {
        return Err(
            Error::usage("prune needs at least one rule of what to keep")
                .hint("for example: --keep-last 3 --keep-daily 7, or --keep-all"),
        );
    }
    let marks = marks(&group, keep);
    let doomed: Vec<SnapshotName> = names
        .iter()
        .zip(&marks)
        .filter(|(_, mark)| **mark == Mark::Remove)
        .map(|(name, _)| name.clone())
        .collect();
    draft.note(format!(
        "{} of {} snapshots are deleted",
        doomed.len(),
        names.len()
    ));
    if doomed.is_empty() {
        return Ok(draft.finish());
    }
    snapshot_delete::remove_snapshots(&mut draft, *vmid, view, sections, &doomed, false)?;
    for name in &doomed {
        draft.done(format!("removed snapshot '{name}'"));
    }
    Ok(draft.finish())
}
