//! The built-in file tools: `read_file`, `write_file`, `edit_file`, `list_dir`, below given folders only.
//!
//! Every path goes through a directory handle that was opened at start, so neither `..`, an absolute
//! path, a link nor a race leads out of a root.

mod attributes;
mod diff;
mod edit;
mod list;
pub(super) mod names;
mod read;
mod replace;
pub(super) mod roots;
mod target;
mod temporary;
mod write;

use std::sync::Arc;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use cap_std::fs::Dir;

use self::roots::Roots;
use super::config::BuiltinTool;
use super::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// Offers the file tools over some roots.
#[derive(Debug)]
pub(super) struct FileProvider {
    roots: Arc<Roots>,
    tools: Vec<BuiltinTool>,
    allow_write: bool,
    /// Most bytes of a file's content or a folder's entries in one result, as written to the wire.
    budget: usize,
}

impl FileProvider {
    /// Of `tools` those that are about files; they use `budget` bytes of a result.
    pub(super) fn new(
        roots: Arc<Roots>,
        wants: impl Fn(BuiltinTool) -> bool,
        allow_write: bool,
        budget: usize,
    ) -> Self {
        let tools = BuiltinTool::FILES.into_iter().filter(|it| wants(*it)).collect();
        Self { roots, tools, allow_write, budget }
    }

    fn is_withheld(&self, tool: BuiltinTool) -> bool {
        tool.writes() && !self.allow_write
    }
}

/// The definitions of the file tools over a folder that is not known yet; by default those that read.
pub(crate) fn file_definitions(allow_write: bool) -> Vec<ToolDefinition> {
    let offered = BuiltinTool::FILES.into_iter().filter(|tool| allow_write || !tool.writes());
    offered.map(|tool| definition(tool, "Paths are relative to the root of the toolkit.")).collect()
}

/// The file tools over an open folder; they use `budget` bytes of a result.
pub(crate) fn file_tools(folder: Dir, allow_write: bool, budget: usize) -> Arc<dyn ToolProvider> {
    let roots = Arc::new(Roots::of("root", folder));
    Arc::new(FileProvider::new(roots, |_| true, allow_write, budget))
}

fn definition(tool: BuiltinTool, paths: &str) -> ToolDefinition {
    match tool {
        BuiltinTool::WriteFile => write::definition(paths),
        BuiltinTool::EditFile => edit::definition(paths),
        BuiltinTool::ListDir => list::definition(paths),
        _ => read::definition(paths),
    }
}

impl ToolProvider for FileProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        let offered = self.tools.iter().filter(|tool| !self.is_withheld(**tool));
        let paths = self.roots.about_paths();
        offered.map(|tool| definition(*tool, &paths)).collect()
    }

    fn withheld(&self) -> Vec<(String, Error)> {
        let text = "this host does not let tools write files; its operator can set \
                    `allow_write: true` in the settings of the tools plugin";
        let withheld = self.tools.iter().filter(|tool| self.is_withheld(**tool));
        let refused = withheld.map(|tool| {
            let error = Error::new(ErrorCode::ToolDenied, text);
            let error = error.with_detail("tool_name", tool.name());
            (tool.name().to_owned(), error.with_detail("setting", "allow_write"))
        });
        refused.collect()
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        match call.tool() {
            "read_file" => read::run(&self.roots, &call, self.budget),
            "write_file" => write::run(&self.roots, &call),
            "edit_file" => edit::run(&self.roots, &call, self.budget),
            _ => list::run(&self.roots, &call, self.budget),
        }
    }
}

/// Fails when the call was cancelled. The error is not sent: the call was answered already.
pub(super) fn stop_if_cancelled(call: &ToolCall) -> Result<()> {
    if call.is_cancelled() {
        return Err(Error::new(ErrorCode::Cancelled, "cancelled"));
    }
    Ok(())
}
