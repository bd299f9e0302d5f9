//! Plugins that come and go one by one, each in a transaction of its own.

use std::sync::Arc;

use super::{Executor, ReloadError, ReloadReport};
use crate::config::PluginConfig;
use crate::lifecycle::Change;
use crate::plugin::{PluginClass, RegistryError};
use crate::protocol::PluginName;

impl Executor {
    /// Adds a class that is known only at run time, so that plugins of it can be added.
    ///
    /// # Errors
    /// When its `cls` or an alias is taken.
    pub fn add_class(&self, class: Arc<dyn PluginClass>) -> Result<(), RegistryError> {
        self.kernel.plugins.registry.add(class)
    }

    /// Removes a class; plugins of it that are loaded stay. False when there was none.
    pub fn remove_class(&self, cls: &str) -> bool {
        self.kernel.plugins.registry.remove(cls)
    }

    /// Adds a plugin behind those that there are. Nothing else is touched.
    ///
    /// # Errors
    /// When its name is taken, or it cannot be built or started; then nothing has changed.
    pub async fn add_plugin(&self, config: PluginConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Add(Box::new(config))).await
    }

    /// Removes a plugin: its calls come to their end, then it is torn down.
    ///
    /// # Errors
    /// When there is none of this name.
    pub async fn remove_plugin(&self, name: &PluginName) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Remove(name.clone())).await
    }

    /// Replaces the configuration of a plugin: it moves, or is built anew with the state of the one
    /// before, as at a reload.
    ///
    /// # Errors
    /// When there is none of this name, or the new one cannot be built or started; then nothing has
    /// changed.
    pub async fn replace_plugin(&self, config: PluginConfig) -> Result<ReloadReport, ReloadError> {
        self.kernel.plugins.change_one(Change::Replace(Box::new(config))).await
    }
}
