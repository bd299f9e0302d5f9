//! Stands for what is known of a plugin.

#[derive(Debug)]
pub(crate) struct PluginLabel;
