//! The configuration that a command is given, and the one that holds when there is no file.

#![allow(clippy::doc_markdown, reason = "the comments of the flags are the text of --help")]

use std::path::{Path, PathBuf};

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::Registry;
use clap::Args;

use crate::Failure;

/// The variable that names the configuration where the command line does not.
const VARIABLE: &str = "A2E_CONFIG";

/// How every command is told its configuration: `-c FILE`, a bare FILE, or the variable.
#[derive(Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration (YAML); a bare FILE is the same, and so is A2E_CONFIG where neither is given
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The configuration (YAML), as with -c
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub(crate) file: Option<PathBuf>,
    /// Take keys that nobody reads as warnings, and start without any plugin, too
    #[arg(long)]
    pub(crate) lenient: bool,
}

impl ConfigArgs {
    /// What the command line names.
    pub(crate) fn named(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| self.file.clone())
    }

    /// What the command line names, or else the variable.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.named().or_else(from_variable)
    }

    /// The configuration, or the one that holds without a file.
    pub(crate) fn load(&self) -> Result<HostConfig, Failure> {
        load(self.path().as_deref(), self.lenient)
    }
}

impl ConfigArgs {
    /// As [`ConfigArgs::load`], for commands that show what became of each plugin and so start a lenient
    /// host: settings that do not hold are refused here, as `serve` would.
    pub(crate) fn checked(&self) -> Result<HostConfig, Failure> {
        let config = self.load()?;
        let registry = Registry::linked().map_err(Failure::internal)?;
        let plugins = config.enabled_plugins();
        let problems = plugins.filter_map(|it| Some(registry.find(&it.cls)?.check(it))).flatten();
        let errors = problems.filter(|problem| problem.is_error() && !self.lenient);
        let errors: Vec<String> = errors.map(|problem| problem.to_string()).collect();
        if errors.is_empty() { Ok(config) } else { Err(Failure::refused(errors.join("\n"))) }
    }
}

/// The file that the variable names.
pub(crate) fn from_variable() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Whether a bare argument is a configuration, where another kind of file could stand as well.
pub(crate) fn is_config(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "yaml" || it == "yml")
}

/// Reads a file, or makes the configuration that holds without one. Warnings go to the log.
pub(crate) fn load(file: Option<&Path>, is_lenient: bool) -> Result<HostConfig, Failure> {
    match file {
        Some(file) => {
            let loaded = HostConfig::from_yaml_as(file, is_lenient).map_err(Failure::refused)?;
            for warning in &loaded.warnings {
                tracing::warn!("{warning}");
            }
            Ok(loaded.config)
        }
        None => without_file(),
    }
}

/// Every linked class that says it is safe to load unasked, named after its capability.
fn without_file() -> Result<HostConfig, Failure> {
    let registry = Registry::linked().map_err(Failure::internal)?;
    let mut config = HostConfig::new();
    for class in registry.classes() {
        let Some(settings) = class.facts().default_settings else { continue };
        let settings: serde_json::Map<String, serde_json::Value> = serde_json::from_str(settings)
            .map_err(|error| {
            Failure::internal(format_args!("{}: {error}", class.facts().cls))
        })?;
        let mut name = class.facts().capability.to_owned();
        while config.get_plugin(&name).is_some() {
            // Two classes of one capability: the later one is named by its class as well.
            let short = class.facts().cls.rsplit('.').next().unwrap_or(class.facts().cls);
            name = format!("{}_{}", class.facts().capability, short.to_ascii_lowercase());
        }
        let mut plugin = PluginConfig::new(name, class.facts().capability, class.facts().cls);
        for (key, value) in settings {
            plugin = plugin.with_setting(key, value);
        }
        config = config.plugin(plugin);
    }
    Ok(config)
}
