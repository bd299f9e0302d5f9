//! `glob` and `grep`: finds files by name and lines by content, below the roots of the file tools.
//!
//! The walk is ours, over directory handles: a path is never opened by its text, so no link and no
//! race leads out of a root. What is matched, and how, is ripgrep's: its globs, ignore rules, regular
//! expressions and line search.

mod glob;
mod grep;
mod hits;
mod ignores;
mod lines;
mod patterns;
mod unseen;
mod walk;

use std::sync::Arc;

use a2e_core::Result;
use serde::Serialize;

use super::config::BuiltinTool;
use super::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter, ToolProvider};
use super::files::roots::Roots;

/// Offers `glob` and `grep` over some roots.
#[derive(Debug)]
pub(super) struct SearchProvider {
    roots: Arc<Roots>,
    tools: Vec<BuiltinTool>,
    /// Most bytes of the findings in one result, as written to the wire.
    budget: usize,
}

impl SearchProvider {
    /// Those of the two tools that are wanted; they use `budget` bytes of a result.
    pub(super) fn new(
        roots: Arc<Roots>,
        wants: impl Fn(BuiltinTool) -> bool,
        budget: usize,
    ) -> Self {
        let tools = BuiltinTool::SEARCH.into_iter().filter(|it| wants(*it)).collect();
        Self { roots, tools, budget }
    }
}

impl ToolProvider for SearchProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        let paths = self.roots.about_paths();
        let defined = self.tools.iter().map(|tool| match tool {
            BuiltinTool::Glob => glob::definition(&paths),
            _ => grep::definition(&paths),
        });
        defined.collect()
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        match call.tool() {
            "glob" => glob::run(&self.roots, &call, self.budget),
            _ => grep::run(&self.roots, &call, self.budget),
        }
    }
}

/// Why a search ended before it had seen everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cut {
    /// As many findings as were asked for.
    Limit,
    /// No more fits into a result.
    ResultSize,
    /// Too many files and folders looked at.
    Visited,
    /// Too many bytes read.
    BytesRead,
    /// Folders nested too deep; those were left out, the search went on.
    Depth,
}

/// Bytes of a result for the names of what was not seen, and those for the findings.
fn shares(budget: usize) -> (usize, usize) {
    let names = (budget / 8).min(16 * 1024);
    (names, budget - names)
}

/// The parameters that both tools have.
fn common(tool: ToolDefinition) -> ToolDefinition {
    let optional = ToolParameter::optional;
    tool.input(optional("path", "string", "The folder or file to search; the topmost by default."))
        .input(optional(
            "hidden",
            "boolean",
            "Also names that begin with a dot, beside those that a pattern names; false by default.",
        ))
        .input(optional(
            "ignored",
            "boolean",
            "Also what .gitignore and .ignore files leave out; false by default.",
        ))
}

/// The results that both tools have.
fn common_output(tool: ToolDefinition) -> ToolDefinition {
    let required = ToolParameter::required;
    tool.output(required("visited", "integer", "Files and folders looked at."))
        .output(required("left_out", "integer", "Names that were passed over, hidden or ignored."))
        .output(required("skipped", "integer", "Files and folders that could not be read."))
        .output(required(
            "unseen",
            "array",
            "Objects of `path` and `why` (unreadable, binary, long_line, depth): what was not seen, or \
             not all of it; up to 100, as many as fit.",
        ))
        .output(required("truncated", "boolean", "Whether there may be more."))
        .output(
            ToolParameter::optional(
                "reason",
                "string",
                "What ended it early; null if nothing did.",
            )
            .one_of(&["limit", "result_size", "visited", "bytes_read", "depth"]),
        )
}
