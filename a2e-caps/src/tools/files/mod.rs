//! The built-in file tools: `read_file`, `write_file`, `edit_file`, `list_dir`, below given folders only.
//!
//! Every path goes through a directory handle that was opened at start, so neither `..`, an absolute
//! path, a link nor a race leads out of a root.

mod diff;
mod edit;
mod list;
mod read;
mod replace;
pub(super) mod roots;
mod temporary;
mod write;

use std::sync::Arc;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};

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

impl ToolProvider for FileProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        let offered = self.tools.iter().filter(|tool| !self.is_withheld(**tool));
        let paths = self.roots.about_paths();
        let defined = offered.map(|tool| match tool {
            BuiltinTool::WriteFile => write::definition(&paths),
            BuiltinTool::EditFile => edit::definition(&paths),
            BuiltinTool::ListDir => list::definition(&paths),
            _ => read::definition(&paths),
        });
        defined.collect()
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
