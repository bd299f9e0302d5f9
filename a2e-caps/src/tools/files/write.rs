//! `write_file`: writes a whole file so that readers see the old or the new content, never a part.

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use a2e_core::Result;
use cap_std::fs::OpenOptions;
use serde::Deserialize;
use serde_json::json;

use super::roots::{Roots, irregular_kind};
use super::stop_if_cancelled;
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
    let about = format!("Writes a text file; a reader sees the old content or the new. {paths}");
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
    let failed = |error: io::Error| roots.failed("write", path, &error);
    let place = roots.resolve(path)?;
    let Some((above, name)) = place.split() else {
        return Err(failed(ErrorKind::IsADirectory.into()));
    };
    if *parents {
        place.dir.create_dir_all(&above).map_err(failed)?;
    }
    let folder = place.dir.open_dir(&above).map_err(failed)?;
    // A link is refused rather than followed or replaced.
    match folder.symlink_metadata(&name) {
        Ok(it) => match irregular_kind(it.file_type()) {
            Some(kind) => return Err(roots.irregular(path, kind)),
            None if it.is_dir() => return Err(failed(ErrorKind::IsADirectory.into())),
            None if *mode == Mode::Create => return Err(failed(ErrorKind::AlreadyExists.into())),
            None => {}
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if *mode == Mode::Append {
        let mut options = OpenOptions::new();
        let place = super::roots::Place { dir: &folder, path: PathBuf::from(&name) };
        let options = options.append(true).create(true);
        let mut file = place.open(roots, "write", path, options)?;
        stop_if_cancelled(call)?;
        file.write_all(content.as_bytes()).map_err(failed)?;
    } else {
        let new = Temporary::write(&folder, &name, content.as_bytes()).map_err(failed)?;
        stop_if_cancelled(call)?;
        match mode {
            Mode::Create => new.create(&name),
            _ => new.replace(&name),
        }
        .map_err(failed)?;
    }
    ToolOutput::of(&json!({ "path": path, "bytes": content.len() }))
}
