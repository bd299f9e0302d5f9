//! `edit_file`: exact replacements, each with the number of places it expects; all of them or none.

use std::io::{ErrorKind, Read};

use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::number::integer;
use a2e_core::{Error, Result};
use cap_std::fs::{File, OpenOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::diff::unified;
use super::replace::{Edit, MAX_PLACES, Mismatch, Unfit, applied, new_length, places};
use super::roots::Roots;
use super::stop_if_cancelled;
use super::target::{Change, Target};
use super::temporary::Temporary;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, schema_of};

/// Longest file that is edited, before and after, in bytes: it is held in memory twice.
const MAX_FILE: usize = 16 << 20;

/// Most edits of one call.
const MAX_EDITS: usize = 100;

/// Longest diff, in bytes on the wire.
const MAX_DIFF: usize = 16 * 1024;

#[derive(Deserialize, JsonSchema)]
struct Arguments {
    /// The file.
    path: String,
    /// Objects of `old`, `new` and `count`.
    edits: Vec<Wanted>,
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// The exact text, blanks and line ends included.
    old: String,
    /// What stands there then.
    new: String,
    /// How often `old` must be there.
    #[serde(default = "one", deserialize_with = "integer")]
    count: usize,
}

fn one() -> usize {
    1
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Replaces exact pieces of a text file. Every edit says how often its `old` text is there; \
         if any is there more or less often, nothing is written and the error tells the lines. \
         Edits are looked for in the file as it is, not in what other edits make of it. Owner, mode \
         and attributes stay; where they could not, nothing is written. {paths}"
    );
    let required = ToolParameter::required;
    ToolDefinition::new("edit_file", about)
        .tagged(&["files", "write"])
        .with_input_schema(&schema_of::<Arguments>())
        .output(required("path", "string", "The file."))
        .output(required("replacements", "integer", "How many places were changed."))
        .output(required("bytes", "integer", "Bytes of the file as it is now."))
        .output(required("diff", "string", "What has changed, as a unified diff."))
        .output(required("diff_truncated", "boolean", "Whether the diff leaves some of it out."))
}

/// `budget` bounds the diff as it is written to the wire.
pub(super) fn run(roots: &Roots, call: &ToolCall, budget: usize) -> Result<ToolOutput> {
    let Arguments { path, edits } = call.decode()?;
    let edits = checked(edits)?;
    let target = Target::find(roots, "edit", &path, false)?;
    // Opened for writing, too: what may not be written is not replaced either.
    let old = target.open(OpenOptions::new().read(true).write(true), Change::Replace)?;
    let old = old.ok_or_else(|| target.failed(ErrorKind::NotFound.into()))?;
    let seen = old.metadata;
    let text = text(old.file, &path)?;
    let places = places(&text, &edits).map_err(|unfit| refusal(&path, &edits, unfit))?;
    if new_length(&text, &edits) > MAX_FILE {
        return Err(too_long(&path, new_length(&text, &edits)));
    }
    let new = applied(&text, 0..text.len(), &places, &edits);
    let (diff, is_cut) = unified(&text, &places, &edits, MAX_DIFF.min(budget));
    let ready = Temporary::write(&target, new.as_bytes(), true)?;
    stop_if_cancelled(call)?;
    ready.replace(Some(&seen))?;
    ToolOutput::of(&json!({
        "path": path,
        "replacements": places.len(),
        "bytes": new.len(),
        "diff": diff,
        "diff_truncated": is_cut,
    }))
}

/// The edits, if they make sense by themselves.
fn checked(edits: Vec<Wanted>) -> Result<Vec<Edit>> {
    if edits.is_empty() || edits.len() > MAX_EDITS {
        let msg = format!("expected 1 to {MAX_EDITS} edits, found {}", edits.len());
        return Err(Error::schema("arguments.edits", msg));
    }
    let check = |(number, Wanted { old, new, count }): (usize, Wanted)| {
        let wrong = |field: &str, msg: &str| {
            Err(Error::schema(format!("arguments.edits[{number}].{field}"), msg))
        };
        if old.is_empty() {
            return wrong("old", "is empty; give the text around the place, too");
        }
        if old == new {
            return wrong("new", "is the same as `old`");
        }
        if !(1..=MAX_PLACES).contains(&count) {
            return wrong("count", &format!("expected 1 to {MAX_PLACES}"));
        }
        Ok(Edit { old, new, count })
    };
    edits.into_iter().enumerate().map(check).collect()
}

fn text(file: File, path: &str) -> Result<String> {
    let failed = |why: &str| {
        Error::new(ErrorCode::ToolError, format!("cannot edit `{path}`: {why}"))
            .with_detail("path", path)
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error.to_string()))?;
    if bytes.len() > MAX_FILE {
        return Err(too_long(path, bytes.len()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        failed(&format!("it is no UTF-8 text (byte {at}); write_file replaces it as a whole"))
    })
}

fn too_long(path: &str, length: usize) -> Error {
    let text = format!("cannot edit `{path}`: {length} bytes or more, of {MAX_FILE} that may be");
    Error::new(ErrorCode::ToolError, text).with_detail("path", path)
}

/// Why nothing was written, in words and as data.
fn refusal(path: &str, edits: &[Edit], unfit: Unfit) -> Error {
    let (why, detail) = match unfit {
        Unfit::Overlap { first, second, line } => {
            (format!("edits {first} and {second} overlap in line {line}"), json!([]))
        }
        Unfit::Counts(mismatches) => {
            let told: Vec<String> = mismatches.iter().map(|it| told(it, edits)).collect();
            (told.join("; "), json!(mismatches))
        }
    };
    let text = format!("nothing was written to `{path}`: {why}");
    Error::new(ErrorCode::ToolError, text)
        .with_detail("path", path)
        .with_detail("mismatches", detail)
}

fn told(it: &Mismatch, edits: &[Edit]) -> String {
    let old = edits.get(it.edit).map_or("", |edit| edit.old.as_str());
    let shown: String = old.chars().take(40).collect();
    let dots = if shown.len() < old.len() { "…" } else { "" };
    let found = match it.found {
        0 => "none".to_owned(),
        found if found > MAX_PLACES => format!("more than {MAX_PLACES}"),
        found => found.to_string(),
    };
    let lines: Vec<String> = it.lines.iter().map(usize::to_string).collect();
    let lines = match (it.found, lines.as_slice()) {
        (0, []) => String::new(),
        (0, _) => format!("; its first line is in line {}: compare blanks", lines.join(", ")),
        _ => format!(", in lines {}", lines.join(", ")),
    };
    let Mismatch { edit, expected, .. } = it;
    format!("edit {edit} expects {expected} of {shown:?}{dots} and there is {found}{lines}")
}
