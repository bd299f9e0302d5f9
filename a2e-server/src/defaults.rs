//! Reading a configuration, and the one that holds when there is no file.

use std::path::Path;

use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::plugin::Registry;

use crate::Failure;

/// Reads a file, or makes the configuration that holds without one. Warnings go to the log.
pub(crate) fn load(file: Option<&Path>) -> Result<HostConfig, Failure> {
    match file {
        Some(file) => {
            let loaded = HostConfig::from_yaml(file).map_err(Failure::refused)?;
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
        let Some(settings) = class.default_settings() else { continue };
        let settings: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(settings)
                .map_err(|error| Failure::internal(format_args!("{}: {error}", class.cls())))?;
        let mut name = class.capability().to_owned();
        while config.get_plugin(&name).is_some() {
            // Two classes of one capability: the later one is named by its class as well.
            let short = class.cls().rsplit('.').next().unwrap_or(class.cls());
            name = format!("{}_{}", class.capability(), short.to_ascii_lowercase());
        }
        let mut plugin = PluginConfig::new(name, class.capability(), class.cls());
        for (key, value) in settings {
            plugin = plugin.with_setting(key, value);
        }
        config = config.plugin(plugin);
    }
    Ok(config)
}
