//! Retention marks agree with what the original answers on the same groups.

use serde_json::Value;
use volvisor::plan::intent::KeepRules;
use volvisor::plan::prune::{Mark, marks};

fn rules(keep: &Value) -> KeepRules {
    let count = |key: &str| {
        keep.get(key)
            .and_then(|v| {
                v.as_u64()
                    .or_else(|| v.as_str().and_then(|t| t.parse().ok()))
            })
            .map(|n| n as u32)
    };
    KeepRules {
        all: count("keep-all").is_some_and(|n| n > 0),
        last: count("keep-last"),
        hourly: count("keep-hourly"),
        daily: count("keep-daily"),
        weekly: count("keep-weekly"),
        monthly: count("keep-monthly"),
        yearly: count("keep-yearly"),
    }
}

#[test]
fn every_observed_group_gets_the_same_marks() {
    let text = include_str!("../testdata/cases/plan/prune_mark.jsonl");
    let mut tried = 0;
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let group = case["input"]["group"].as_array().unwrap();
        let entries: Vec<(u64, bool)> = group
            .iter()
            .map(|e| {
                let protected = e.get("mark").is_some_and(|m| m == "protected");
                (e["ctime"].as_u64().unwrap(), protected)
            })
            .collect();
        let found = marks(&entries, &rules(&case["input"]["keep"]));
        let wanted = case["expected"].as_array().unwrap();
        for (entry, mark) in group.iter().zip(&found) {
            let want = wanted
                .iter()
                .find(|w| w["volid"] == entry["volid"])
                .and_then(|w| w["mark"].as_str());
            assert_eq!(
                want,
                Some(mark.as_str()),
                "{} {}",
                case["id"],
                entry["volid"]
            );
        }
        tried += 1;
    }
    assert!(tried > 100, "only {tried} cases");
}

#[test]
fn without_a_positive_rule_everything_stays() {
    let group = [(10, false), (20, false)];
    let none = KeepRules {
        last: Some(0),
        ..KeepRules::default()
    };
    assert_eq!(marks(&group, &none), [Mark::Keep, Mark::Keep]);
}
