//! `glob`: files and folders whose path fits a pattern.

use a2e_core::Result;
use a2e_core::protocol::number::integer;
use serde::Deserialize;
use serde_json::json;

use super::patterns::Pattern;
use super::walk::{Seen, Wanted, walk};
use super::{Cut, common, common_output, shares};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter};
use crate::tools::files::names;
use crate::tools::files::roots::Roots;
use crate::tools::result::text_len;

/// Findings of one call.
const MAX_FOUND: usize = 10_000;

#[derive(Deserialize)]
struct Arguments {
    pattern: String,
    #[serde(default = "here")]
    path: String,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    ignored: bool,
    #[serde(default)]
    kind: Kind,
    #[serde(default = "thousand", deserialize_with = "integer")]
    limit: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    File,
    Dir,
    Any,
}

fn here() -> String {
    ".".to_owned()
}

fn thousand() -> usize {
    1000
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Finds files by their paths, in the order of their names. What .gitignore and .ignore files \
         leave out is left out, and so are hidden files that the pattern does not name. Links are not \
         followed; one to a file within the folder is a file, others are shown with `any`. {} {paths}",
        names::ABOUT
    );
    let pattern = "`*` and `?` within a name, `**` over folders, `[ab]`, `{a,b}`; without a slash it \
                   is for names at every depth, with one for paths below `path`. One that ends in a \
                   slash is for folders; `.github/**` or `.*` also finds hidden names.";
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let tool = ToolDefinition::new("glob", about)
        .tagged(&["files", "read", "search"])
        .input(required("pattern", "string", pattern))
        .input(
            optional("kind", "string", "What to find; files by default.")
                .one_of(&["file", "dir", "any"]),
        )
        .input(optional("limit", "integer", "Most findings; 1000 by default, 10000 at most."));
    let tool = common(tool).output(required("paths", "array", "Texts; folders end with a slash."));
    ToolDefinition { idempotent: true, ..common_output(tool) }
}

/// `budget` bounds the paths as they are written to the wire.
pub(super) fn run(roots: &Roots, call: &ToolCall, budget: usize) -> Result<ToolOutput> {
    let arguments: Arguments = call.decode()?;
    let Arguments { path, hidden, ignored, kind, .. } = &arguments;
    let pattern = Pattern::new(roots, "pattern", &arguments.pattern)?;
    let kind = if pattern.is_for_folders() { &Kind::Dir } else { kind };
    let limit = arguments.limit.clamp(1, MAX_FOUND);
    let wanted = Wanted { hidden: *hidden, ignored: *ignored, pattern: Some(&pattern) };
    let (unseen, mut room) = shares(budget);
    let mut paths = Vec::new();
    let seen = walk(roots, call, path, wanted, Seen::new(unseen), &mut |found, _| {
        if !pattern.matches(found.below, found.is_dir) {
            return Ok(None);
        }
        let is_meant = match kind {
            Kind::File => found.is_file(),
            Kind::Dir => found.is_dir,
            Kind::Any => true,
        };
        if !is_meant {
            return Ok(None);
        }
        if paths.len() >= limit {
            return Ok(Some(Cut::Limit));
        }
        let slash = if found.is_dir { "/" } else { "" };
        let shown = format!("{}{slash}", found.path);
        let Some(left) = room.checked_sub(text_len(&shown) + 3) else {
            return Ok(Some(Cut::ResultSize));
        };
        room = left;
        paths.push(shown);
        Ok(None)
    })?;
    let is_cut = seen.cut.is_some();
    let data = json!({
        "paths": paths,
        "visited": seen.visited,
        "left_out": seen.left_out,
        "skipped": seen.skipped,
        "unseen": seen.unseen.fitting(),
        "truncated": is_cut,
        "reason": seen.cut,
    });
    Ok(ToolOutput::of(&data)?.truncated(is_cut))
}
