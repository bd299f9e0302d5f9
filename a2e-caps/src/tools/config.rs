//! The settings of a tools plugin, and the built-in tools by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::catalog::Pin;
use super::http::HttpGetConfig;

/// The settings of a tools plugin.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct ToolConfig {
    /// Which built-in tools to offer; all by default.
    #[serde(default)]
    pub providers: Option<Vec<BuiltinTool>>,
    /// The folders that file tools may use; without any there are no file tools.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
    /// Whether `write_file` and `edit_file` may write.
    #[serde(default)]
    pub allow_write: bool,
    /// Most bytes of a result's `data`; half of `global_limits.max_line_bytes` by default.
    #[serde(default)]
    pub max_result_bytes: Option<usize>,
    /// What `http_get` may do; without this section (`{}` is enough) it is not offered.
    #[serde(default)]
    pub http_get: Option<HttpGetConfig>,
    /// The approved definition of each tool named here, as the hash that the log and errors tell.
    #[serde(default)]
    pub pinned: BTreeMap<String, Pin>,
    /// Whether tools of other plugins are served only when they are pinned.
    #[serde(default)]
    pub require_pins: bool,
}

impl ToolConfig {
    /// Whether `providers` wants this tool.
    pub(super) fn wants(&self, tool: BuiltinTool) -> bool {
        self.providers.as_ref().is_none_or(|wanted| wanted.contains(&tool))
    }
}

/// A built-in tool, as `providers` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BuiltinTool {
    /// Reads a file or a part of it.
    ReadFile,
    /// Writes a file.
    WriteFile,
    /// Replaces pieces of a file.
    EditFile,
    /// Lists a folder.
    ListDir,
    /// Finds files by their names (feature `search`).
    Glob,
    /// Finds lines of files (feature `search`).
    Grep,
    /// Fetches a page (feature `http`).
    HttpGet,
}

impl BuiltinTool {
    /// The tools over files, in the order of lists.
    pub const FILES: [Self; 4] = [Self::ReadFile, Self::WriteFile, Self::EditFile, Self::ListDir];

    /// The tools that search files.
    pub const SEARCH: [Self; 2] = [Self::Glob, Self::Grep];

    /// The tool's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::EditFile => "edit_file",
            Self::ListDir => "list_dir",
            Self::Glob => "glob",
            Self::Grep => "grep",
            Self::HttpGet => "http_get",
        }
    }

    /// Whether it changes files.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::WriteFile | Self::EditFile)
    }
}
