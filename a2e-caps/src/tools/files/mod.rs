//! The built-in file tools: `read_file`, `write_file`, `list_dir`, below given folders only.
//!
//! Every path goes through a directory handle that was opened at start, so neither `..`, an absolute
//! path, a link nor a race leads out of a root.

mod base64;
mod list;
mod read;
mod roots;
mod write;

use std::path::PathBuf;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde::Deserialize;

use self::roots::Roots;
use super::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// A file tool, as `providers` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileTool {
    /// Reads a file or a part of it.
    ReadFile,
    /// Writes a file.
    WriteFile,
    /// Lists a folder.
    ListDir,
}

impl FileTool {
    /// Every file tool.
    pub const ALL: [Self; 3] = [Self::ReadFile, Self::WriteFile, Self::ListDir];

    /// The tool's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::ListDir => "list_dir",
        }
    }
}

/// Offers the file tools over some roots.
#[derive(Debug)]
pub(super) struct FileProvider {
    roots: Roots,
    tools: Vec<FileTool>,
    allow_write: bool,
    /// Most bytes of a file's content or a folder's entries in one result, as written to the wire.
    budget: usize,
}

impl FileProvider {
    /// Opens the roots.
    ///
    /// # Errors
    /// When a root is no folder that can be opened.
    pub(super) fn open(
        roots: &[PathBuf],
        tools: Vec<FileTool>,
        allow_write: bool,
        max_result_bytes: usize,
    ) -> Result<Self> {
        // The rest is for the fields beside the content; a path alone may need 24 KiB when escaped.
        let budget = max_result_bytes - max_result_bytes.min(64 * 1024) / 2;
        Ok(Self { roots: Roots::open(roots)?, tools, allow_write, budget })
    }

    fn offers(&self, tool: FileTool) -> bool {
        self.tools.contains(&tool) && (tool != FileTool::WriteFile || self.allow_write)
    }
}

impl ToolProvider for FileProvider {
    fn tools(&self) -> Vec<ToolDefinition> {
        let offered = FileTool::ALL.into_iter().filter(|tool| self.offers(*tool));
        let paths = self.roots.about_paths();
        let defined = offered.map(|tool| match tool {
            FileTool::ReadFile => read::definition(&paths),
            FileTool::WriteFile => write::definition(&paths),
            FileTool::ListDir => list::definition(&paths),
        });
        defined.collect()
    }

    fn withheld(&self) -> Vec<(String, Error)> {
        if self.allow_write || !self.tools.contains(&FileTool::WriteFile) {
            return Vec::new();
        }
        let text = "this host does not let tools write files; its operator can set \
                    `allow_write: true` in the settings of the tools plugin";
        let name = FileTool::WriteFile.name();
        let error = Error::new(ErrorCode::ToolDenied, text).with_detail("tool_name", name);
        vec![(name.to_owned(), error.with_detail("setting", "allow_write"))]
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        match call.tool() {
            "read_file" => read::run(&self.roots, &call, self.budget),
            "write_file" => write::run(&self.roots, &call),
            _ => list::run(&self.roots, &call, self.budget),
        }
    }
}

/// Nobody waits for the result any more; the answer was given elsewhere.
fn stop_if_cancelled(call: &ToolCall) -> Result<()> {
    if call.is_cancelled() {
        return Err(Error::new(ErrorCode::Cancelled, "cancelled"));
    }
    Ok(())
}
