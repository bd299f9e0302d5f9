//! Changes of the policy: what is wrong with an edit, what a review says, values at dotted paths.

use std::collections::{BTreeMap, HashSet};

use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::protocol::{Edit, LearnReviewResponse, OPS, Proposal, Risk, TARGETS};
use crate::json::Room;

/// Beginnings of paths that look like a way out of the state.
const FOREIGN: [&str; 4] = ["__", "os.", "sys.", "subprocess"];

/// Fields of the state that are the plugin's own.
pub(super) const OWN: [&str; 11] = [
    "policy_name",
    "policy_version",
    "checkpoint_uri",
    "rollouts",
    "experiences",
    "stats",
    "scope",
    "created_at",
    "updated_at",
    "logged",
    "adapted_at",
];

/// Longest path, in names; and longest path in bytes.
const MOST_NAMES: usize = 16;
const MOST_PATH: usize = 1024;

/// Most levels of a value with the names of its path: a state, a snapshot and a reply put a few around them, and
/// none is read beyond 127.
const MOST_LEVELS: usize = 100;

/// Most bytes of a proposal, as it is written.
const MOST_PROPOSAL: usize = 256 << 10;

/// The value that was at a path before an edit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Undo {
    path: String,
    /// `None`: nothing was there.
    value: Option<Value>,
}

/// The names of a path; a dot in a name is written `\.`.
pub(super) fn names(path: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => names.push(String::new()),
            '\\' => names.extend_last(letters.next().unwrap_or('\\')),
            letter => names.extend_last(letter),
        }
    }
    names
}

trait ExtendLast {
    fn extend_last(&mut self, letter: char);
}

impl ExtendLast for Vec<String> {
    fn extend_last(&mut self, letter: char) {
        if let Some(last) = self.last_mut() {
            last.push(letter);
        }
    }
}

/// A name as it stands in a path.
pub(super) fn escaped(name: &str) -> String {
    name.replace('\\', r"\\").replace('.', r"\.")
}

/// Levels of lists and objects.
fn levels(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(levels).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Refuses a proposal that is not kept as a whole, whatever comes of its edits.
///
/// # Errors
/// `schema_violation` with the field.
pub(super) fn check(proposal: &Proposal) -> Result<()> {
    if !Room(MOST_PROPOSAL).take(proposal) {
        return Err(Error::schema("proposal", format!("more than {MOST_PROPOSAL} bytes")));
    }
    let is_deep = |edit: &Edit| levels(&edit.old_value).max(levels(&edit.new_value)) > MOST_LEVELS;
    match proposal.edits.iter().position(is_deep) {
        Some(place) => {
            let text = format!("a value has more than {MOST_LEVELS} levels");
            Err(Error::schema(format!("proposal.edits[{place}]"), text))
        }
        None => Ok(()),
    }
}

/// What is wrong with an edit by itself; empty where nothing is.
fn fault(edit: &Edit) -> String {
    let names = names(&edit.path);
    let is_own = names.first().is_some_and(|first| OWN.contains(&first.as_str()));
    if !TARGETS.contains(&edit.target.as_str()) {
        format!("target `{}` is none of {}", edit.target, TARGETS.join(", "))
    } else if !OPS.contains(&edit.op.as_str()) {
        format!("op `{}` is none of {}", edit.op, OPS.join(", "))
    } else if edit.path.is_empty() || names.iter().any(String::is_empty) {
        format!("path `{}` has an empty name", edit.path)
    } else if edit.path.len() > MOST_PATH || names.len() > MOST_NAMES {
        "path is too long".to_owned()
    } else if names.len() + levels(&edit.new_value) > MOST_LEVELS {
        format!("path and value have more than {MOST_LEVELS} levels")
    } else if FOREIGN.iter().any(|it| edit.path.starts_with(it)) || is_own {
        format!("path `{}` is not for edits", edit.path)
    } else if edit.op != "delete" && edit.new_value.is_null() {
        "new_value is null".to_owned()
    } else {
        String::new()
    }
}

/// Makes an edit; gives what was there before.
///
/// # Errors
/// What is wrong with it; then nothing has changed.
pub(super) fn make(
    state: &mut Map<String, Value>,
    edit: &Edit,
) -> std::result::Result<Undo, String> {
    let fault = fault(edit);
    if !fault.is_empty() {
        return Err(fault);
    }
    let names = names(&edit.path);
    let before = find(state, &names).cloned();
    if edit.op == "insert" && before.is_some() {
        return Err(format!("`{}` is there already", edit.path));
    }
    if edit.op == "delete" && before.is_none() {
        return Err(format!("`{}` is not there", edit.path));
    }
    let value = (edit.op != "delete").then(|| edit.new_value.clone());
    put(state, &names, value)?;
    Ok(Undo { path: edit.path.clone(), value: before })
}

/// Takes an edit back.
pub(super) fn take_back(state: &mut Map<String, Value>, undo: Undo) {
    // What is in the way now was put there by a later change; it stays.
    put(state, &names(&undo.path), undo.value).ok();
}

/// The value at a path.
pub(super) fn find<'s>(state: &'s Map<String, Value>, names: &[String]) -> Option<&'s Value> {
    let (first, rest) = names.split_first()?;
    rest.iter().try_fold(state.get(first)?, |value, name| value.get(name))
}

/// Puts a value, or takes it out; objects on the way are made.
fn put(
    state: &mut Map<String, Value>,
    names: &[String],
    value: Option<Value>,
) -> std::result::Result<(), String> {
    let Some((last, way)) = names.split_last() else { return Err("empty path".to_owned()) };
    let mut object = state;
    for name in way {
        let entry = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        object =
            entry.as_object_mut().ok_or_else(|| format!("`{name}` on the way is no object"))?;
    }
    match value {
        Some(value) => object.insert(last.clone(), value),
        None => object.remove(last),
    };
    Ok(())
}

/// Four decimals; what is too large to have any stays.
pub(super) fn rounded(value: f64) -> f64 {
    let shifted = value * 10_000.0;
    if shifted.is_finite() { shifted.round() / 10_000.0 } else { value }
}

/// What makes two edits the same.
fn whole(edit: &Edit) -> (&str, &str, &str, &Value) {
    (&edit.op, &edit.path, &edit.target, &edit.new_value)
}

/// What speaks against a proposal. `past` are edits that were in force.
pub(super) fn review<'e>(
    proposal: &Proposal,
    threshold: f64,
    past: impl Iterator<Item = &'e Edit>,
) -> LearnReviewResponse {
    let mut reasons = Vec::new();
    let mut risk = Risk::Low;
    let mut past = past;
    let new: HashSet<_> = proposal.edits.iter().map(whole).collect();
    if let Some(again) = past.find(|old| new.contains(&whole(old))) {
        risk = Risk::Medium;
        reasons.push(format!("the same edit of `{}` was made before", again.path));
    }
    let mut values = BTreeMap::new();
    for edit in &proposal.edits {
        let first = values.entry((&edit.target, &edit.path)).or_insert(&edit.new_value);
        if **first != edit.new_value {
            risk = Risk::High;
            reasons.push(format!("`{}` gets two values", edit.path));
        }
    }
    if proposal.confidence < threshold {
        risk = Risk::High;
        reasons.push(format!("confidence {} is below {threshold}", proposal.confidence));
    }
    if proposal.edits.is_empty() {
        reasons.push("there is no edit".to_owned());
    }
    let factor = match risk {
        Risk::Low => 1.0,
        Risk::Medium => 0.8,
        Risk::High => 0.5,
    };
    let confidence_adjusted = rounded(proposal.confidence * factor);
    if risk != Risk::High && confidence_adjusted < threshold {
        reasons.push(format!(
            "confidence {confidence_adjusted} in view of the risk is below {threshold}"
        ));
    }
    let approved =
        risk != Risk::High && !proposal.edits.is_empty() && confidence_adjusted >= threshold;
    LearnReviewResponse { approved, confidence_adjusted, reasons, risk_level: risk }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edit(op: &str, path: &str, new_value: Value) -> Edit {
        let (target, op, path) = ("router".to_owned(), op.to_owned(), path.to_owned());
        Edit { target, op, path, new_value, ..Edit::default() }
    }

    #[test]
    fn edits_are_made_and_taken_back() {
        let before = json!({ "a": { "b": 1, "list": [1] }, "text": "x" });
        for (edit, expected) in [
            (edit("update", "a.b", json!(2)), json!({ "a": { "b": 2, "list": [1] }, "text": "x" })),
            (edit("replace", "a", json!(0)), json!({ "a": 0, "text": "x" })),
            (
                edit("insert", "a.c", json!(3)),
                json!({ "a": { "b": 1, "c": 3, "list": [1] }, "text": "x" }),
            ),
            (edit("delete", "a.b", json!(null)), json!({ "a": { "list": [1] }, "text": "x" })),
            (
                edit("update", r"a.v4\.1", json!(4)),
                json!({ "a": { "b": 1, "list": [1], "v4.1": 4 }, "text": "x" }),
            ),
        ] {
            let Value::Object(mut state) = before.clone() else { unreachable!() };
            let undo = make(&mut state, &edit).unwrap();
            assert_eq!(Value::Object(state.clone()), expected, "{edit:?}");
            take_back(&mut state, undo);
            assert_eq!(Value::Object(state), before, "{edit:?}");
        }
    }

    #[test]
    fn edits_that_are_not_made_change_nothing() {
        let before = json!({ "a": { "b": 1 }, "text": "x" });
        let long = "a.".repeat(20) + "b";
        for (target, op, path, value, expected) in [
            ("world", "update", "a", json!(1), "target `world`"),
            ("router", "append", "a", json!(1), "op `append`"),
            ("router", "update", "", json!(1), "empty name"),
            ("router", "update", "a..b", json!(1), "empty name"),
            ("router", "update", "__class__", json!(1), "not for edits"),
            ("router", "update", "os.environ", json!(1), "not for edits"),
            ("router", "update", "sys.path", json!(1), "not for edits"),
            ("router", "update", "subprocess", json!(1), "not for edits"),
            ("router", "delete", "stats.a", json!(null), "not for edits"),
            ("router", "update", "policy_version", json!("v1"), "not for edits"),
            ("router", "update", long.as_str(), json!(1), "too long"),
            ("router", "update", "a.b", json!(null), "new_value is null"),
            ("router", "insert", "a.b", json!(1), "is there already"),
            ("router", "delete", "a.c", json!(null), "is not there"),
            ("router", "update", "text.b", json!(1), "no object"),
        ] {
            let Value::Object(mut state) = before.clone() else { unreachable!() };
            let it = Edit { target: target.into(), ..edit(op, path, value) };
            let error = make(&mut state, &it).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert_eq!(Value::Object(state), before, "{it:?}");
        }
    }

    #[test]
    fn a_review_weighs_as_the_protocol_says() {
        let (one, two) = (edit("update", "a", json!(1)), edit("update", "a", json!(2)));
        for (edits, confidence, past, expected) in [
            (vec![one.clone()], 0.9, vec![], (true, 0.9, Risk::Low)),
            (vec![one.clone()], 0.2, vec![], (false, 0.1, Risk::High)),
            (vec![one.clone(), two.clone()], 0.9, vec![], (false, 0.45, Risk::High)),
            (vec![one.clone()], 0.9, vec![one.clone()], (true, 0.72, Risk::Medium)),
            (vec![one.clone()], 0.3, vec![one.clone()], (false, 0.24, Risk::Medium)),
            (vec![one.clone()], 0.9, vec![two.clone()], (true, 0.9, Risk::Low)),
            (vec![], 0.9, vec![], (false, 0.9, Risk::Low)),
        ] {
            let proposal = Proposal { edits, confidence, ..Proposal::default() };
            let said = review(&proposal, 0.3, past.iter());
            assert_eq!((said.approved, said.confidence_adjusted, said.risk_level), expected);
            assert_eq!(said.reasons.is_empty(), expected == (true, 0.9, Risk::Low), "{said:?}");
        }
    }
}
