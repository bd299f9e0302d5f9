//! `filesystem`: the file tools over a folder that the session chooses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use a2e_core::{Error, Result};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{read, resolve, schema};
use crate::toolkits::config::FilesystemSettings;
use crate::toolkits::contract::{Toolkit, ToolkitAbout};
use crate::tools::contract::{ToolProvider, file_definitions, file_tools};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The folder that the tools work below; relative to one that the operator has opened, or a full path below one.
    root: String,
}

struct Filesystem {
    /// `None`: any folder, for the operator's own configuration.
    within: Option<Vec<PathBuf>>,
    allow_write: bool,
    budget: usize,
}

/// The toolkit.
pub(super) fn kit(settings: &FilesystemSettings, budget: usize) -> Arc<dyn Toolkit> {
    let within = Some(settings.within.clone());
    Arc::new(Filesystem { within, allow_write: settings.allow_write, budget })
}

impl Filesystem {
    fn open(&self, root: &str) -> Result<Dir> {
        let Some(within) = &self.within else {
            let opened = Dir::open_ambient_dir(Path::new(root), ambient_authority());
            return opened.map_err(|error| Error::runtime(format!("root: `{root}`: {error}")));
        };
        let open = || {
            let (folder, rest) = resolve(within, root)?;
            let folder = Dir::open_ambient_dir(folder, ambient_authority()).ok()?;
            // Through the handle, so that a link put there meanwhile does not lead out.
            if rest.as_os_str().is_empty() { Some(folder) } else { folder.open_dir(rest).ok() }
        };
        open().ok_or_else(|| {
            let text =
                format!("root: `{root}` is no folder below those that the operator has opened");
            Error::runtime(text)
        })
    }
}

impl Toolkit for Filesystem {
    fn about(&self) -> ToolkitAbout {
        let about =
            "Reads and lists files below a folder, and writes them where the operator allows it.";
        let tools = file_definitions(self.allow_write);
        let about = ToolkitAbout::new("filesystem", about, schema::<Config>(), tools);
        ToolkitAbout { category: "files".into(), tags: vec!["files".into()], ..about }
    }

    fn configure(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        let Config { root } = read(config)?;
        Ok(file_tools(self.open(&root)?, self.allow_write, self.budget))
    }

    fn configure_own(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        let own = Self { within: None, allow_write: self.allow_write, budget: self.budget };
        own.configure(config)
    }
}
