//! Configured storages as they are now, for every command that lists them; changes nothing.

use super::context::Context;
use crate::engine::node_name;
use crate::format::storage_cfg::StorageSection;
use crate::model::{ContentType, Result, Space, StorageId};
use serde_json::{Value, json};

/// One storage and how it is.
#[derive(Debug, Clone)]
pub struct Row {
    pub storage: String,
    pub type_word: String,
    pub content: Vec<ContentType>,
    /// Neither switched off nor restricted to other nodes.
    pub enabled: bool,
    pub active: bool,
    pub space: Space,
    /// Why it is not active.
    pub reason: Option<String>,
}

/// Which storages to look at. Only these are touched.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub storage: Option<StorageId>,
    /// Any of these; empty: all.
    pub content: Vec<ContentType>,
    pub enabled: bool,
}

/// Sorted by name.
pub fn rows(ctx: &Context, filter: &Filter) -> Result<Vec<Row>> {
    let sections = ctx.engine.sections()?;
    let node = node_name();
    let mut rows: Vec<Row> = sections
        .iter()
        .filter(|s| filter.storage.as_ref().is_none_or(|id| s.id == *id))
        .filter_map(|section| {
            let enabled = on_this_node(section, &node);
            let wanted = filter.content.is_empty()
                || (enabled && filter.content.iter().any(|c| section.content.contains(c)));
            (wanted && (enabled || !filter.enabled)).then(|| row(ctx, section, enabled))
        })
        .collect();
    rows.sort_by(|a, b| a.storage.cmp(&b.storage));
    Ok(rows)
}

fn on_this_node(section: &StorageSection, node: &str) -> bool {
    let here = section.get("nodes").is_none_or(|nodes| {
        nodes.is_empty() || super::parse::list(nodes).iter().any(|n| n == node)
    });
    section.enabled() && here
}

fn row(ctx: &Context, section: &StorageSection, enabled: bool) -> Row {
    let space = match (enabled, &section.broken) {
        (false, _) => Err("disabled".to_owned()),
        (true, Some(why)) => Err(why.clone()),
        (true, None) => ctx
            .engine
            .backend(&section.id)
            .and_then(|backend| backend.space())
            .map_err(|e| e.full_text()),
    };
    Row {
        storage: section.id.to_string(),
        type_word: section.type_word.clone(),
        content: section.content.clone(),
        enabled,
        active: space.is_ok(),
        space: space.as_ref().copied().unwrap_or_default(),
        reason: space.err(),
    }
}

impl Row {
    pub fn status(&self) -> &'static str {
        match (self.enabled, self.active) {
            (false, _) => "disabled",
            (true, true) => "active",
            (true, false) => "inactive",
        }
    }
    pub fn json(&self) -> Value {
        json!({
            "storage": self.storage,
            "type": self.type_word,
            "content": self.content,
            "status": self.status(),
            "enabled": self.enabled,
            "active": self.active,
            "total": self.space.total,
            "used": self.space.used,
            "available": self.space.available,
            "reason": self.reason,
        })
    }
}
