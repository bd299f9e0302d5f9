//! `write_file`: writes a whole file so that readers see the old or the new content, never a part.

use std::io::{self, ErrorKind, Write};

use a2e_core::Result;
use cap_std::fs::OpenOptions;
use serde::Deserialize;
use serde_json::json;

use super::roots::Roots;
use super::stop_if_cancelled;
use super::target::{Change, Target};
use super::temporary::Temporary;
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolParameter};

#[derive(Deserialize)]
struct Arguments {
    path: String,
    content: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    parents: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Create,
    Overwrite,
    Append,
}

pub(super) fn definition(paths: &str) -> ToolDefinition {
    let about = format!(
        "Writes a text file; a reader sees the old content or the new. What else the file has, such \
         as its owner, mode and attributes, stays; where it could not, nothing is written. {paths}"
    );
    let required = ToolParameter::required;
    let optional = ToolParameter::optional;
    let modes = "`create` (default) wants no file there, `overwrite` replaces one, `append` adds to \
                 its end; the last two make it if it is not there.";
    ToolDefinition::new("write_file", about)
        .tagged(&["files", "write"])
        .input(required("path", "string", "The file."))
        .input(required("content", "string", "The text."))
        .input(optional("mode", "string", modes).one_of(&["create", "overwrite", "append"]))
        .input(optional("parents", "boolean", "Also makes the folders above it; false by default."))
        .output(required("path", "string", "The file."))
        .output(required("bytes", "integer", "How many bytes were written."))
}

pub(super) fn run(roots: &Roots, call: &ToolCall) -> Result<ToolOutput> {
    let arguments: Arguments = call.decode()?;
    let Arguments { path, content, mode, parents } = &arguments;
    let target = Target::find(roots, "write", path, *parents)?;
    match mode {
        Mode::Create if target.is_there()? => {
            return Err(target.failed(ErrorKind::AlreadyExists.into()));
        }
        Mode::Create => {
            let new = Temporary::write(&target, content.as_bytes(), false)?;
            stop_if_cancelled(call)?;
            new.create()?;
        }
        Mode::Overwrite => {
            // Asked before anything is written, and again when it is replaced.
            let old = target.open(OpenOptions::new().write(true), Change::Replace)?;
            let new = Temporary::write(&target, content.as_bytes(), old.is_some())?;
            stop_if_cancelled(call)?;
            new.replace(None)?;
        }
        Mode::Append => append(&target, content, call)?,
    }
    ToolOutput::of(&json!({ "path": path, "bytes": content.len() }))
}

fn append(target: &Target<'_>, content: &str, call: &ToolCall) -> Result<()> {
    let failed = |error: io::Error| target.failed(error);
    let mut options = OpenOptions::new();
    options.append(true);
    let mut file = match target.open(&mut options, Change::Append)? {
        Some(old) => old.file,
        None => target.folder.open_with(&target.name, options.create_new(true)).map_err(failed)?,
    };
    stop_if_cancelled(call)?;
    file.write_all(content.as_bytes()).map_err(failed)
}
