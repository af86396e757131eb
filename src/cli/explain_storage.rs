//! How texts of the storage layer are read, as JSON with the field names of the cases; reads no file.

use serde_json::Value;

/// `None`: not a kind of this layer.
pub fn explain(_kind: &str, _input: &Value) -> Option<Value> {
    None
}
