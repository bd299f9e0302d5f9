//! Definitions of tools against those that are approved (R39).

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::listing::{Listing, RemoteTool};
use super::store::Store;
use crate::mcp::config::{Approval, hex};

/// Most approved definitions that are kept of one server.
const MAX_PINS: usize = 8192;

/// The hash of a definition: all that a model or a client reads of it.
pub(in crate::mcp) fn pin(tool: &RemoteTool) -> String {
    let mut text = String::new();
    canonical(&serde_json::to_value(tool).unwrap_or_default(), &mut text);
    format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())))
}

/// JSON with sorted keys, whatever order the map keeps.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            out.push('{');
            for (key, value) in sorted {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('[');
            for value in list {
                canonical(value, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// A definition that waits for approval.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::mcp) struct Waiting {
    pub(in crate::mcp) tool: String,
    pub(in crate::mcp) found: String,
    /// The one that is approved; none of a tool that is new where all must be approved.
    pub(in crate::mcp) approved: Option<String>,
}

/// Tools that may be offered, and definitions that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::mcp) struct Judged {
    pub(in crate::mcp) offered: Vec<RemoteTool>,
    pub(in crate::mcp) waiting: Vec<Waiting>,
}

/// Holds a list against the approved definitions. `is_live`: the server has just told it, so that what
/// is seen first is approved by that.
pub(in crate::mcp) fn judge(
    listing: &Listing,
    approval: Approval,
    pins: &mut BTreeMap<String, String>,
    is_live: bool,
) -> Judged {
    let mut judged = Judged::default();
    for tool in &listing.tools {
        let found = pin(tool);
        let approved = pins.get(&tool.name).cloned();
        let is_first = approved.is_none() && approval == Approval::FirstUse && is_live;
        if is_first && pins.len() < MAX_PINS {
            pins.insert(tool.name.clone(), found.clone());
        } else if approved.as_ref() != Some(&found) {
            judged.waiting.push(Waiting { tool: tool.name.clone(), found, approved });
            continue;
        }
        judged.offered.push(tool.clone());
    }
    judged
}

/// Approves these definitions, by tool and hash, whatever the server has told since. Gives those that changed.
pub(in crate::mcp) fn approve(
    store: &Store,
    definitions: &[(String, String)],
) -> std::io::Result<Vec<String>> {
    let mut pins = store.pins();
    let mut changed = Vec::new();
    for (tool, hash) in definitions {
        if pins.get(tool) != Some(hash) {
            pins.insert(tool.clone(), hash.clone());
            changed.push(tool.clone());
        }
    }
    if !changed.is_empty() {
        store.keep_pins(&pins)?;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(description: &str) -> RemoteTool {
        let tool = json!({ "name": "a", "description": description,
            "inputSchema": { "type": "object", "properties": { "b": {}, "a": {} } } });
        serde_json::from_value(tool).unwrap()
    }

    #[test]
    fn r39_a_changed_definition_waits() {
        let listing = |text| Listing { tools: vec![tool(text)], ..Listing::default() };
        let mut pins = BTreeMap::new();
        let judged = judge(&listing("x"), Approval::FirstUse, &mut pins, true);
        assert_eq!((judged.offered.len(), judged.waiting.len()), (1, 0));
        let changed = judge(&listing("y"), Approval::FirstUse, &mut pins, true);
        assert_eq!((changed.offered.len(), changed.waiting.len()), (0, 1));
        assert_eq!(changed.waiting[0].approved, Some(pin(&tool("x"))));
        pins.insert("a".to_owned(), pin(&tool("y")));
        assert_eq!(judge(&listing("y"), Approval::FirstUse, &mut pins, true).waiting, []);
    }

    #[test]
    fn r39_nothing_is_approved_by_a_file_or_where_an_operator_must() {
        let listing = Listing { tools: vec![tool("x")], ..Listing::default() };
        let mut pins = BTreeMap::new();
        for (approval, is_live) in [(Approval::FirstUse, false), (Approval::Manual, true)] {
            let judged = judge(&listing, approval, &mut pins, is_live);
            assert_eq!((judged.offered.len(), judged.waiting.len()), (0, 1));
            assert!(pins.is_empty());
        }
    }
}
