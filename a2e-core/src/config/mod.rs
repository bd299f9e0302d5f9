//! The registry file: from YAML text to a checked [`HostConfig`], with every problem at once.
//!
//! Text becomes a tree in which each key knows its place (`node`), `${VAR}` is expanded in values
//! (`expand`), then each section is checked (`check`, `plugin`, `limits`) and every problem noted.
//! A plugin's own settings are checked later, by [`settings_problems`], when its type is known.
//!
//! ```
//! use a2e_core::config::HostConfig;
//! let text = "plugins:\n  - {name: files, type: tools, cls: a.B}\nauth_tokn: x\n";
//! let loaded = HostConfig::from_str("a2e.yaml", text, &|_| None).unwrap();
//! assert_eq!(loaded.config.plugins.len(), 1);
//! assert_eq!(
//!     loaded.warnings[0].to_string(),
//!     "a2e.yaml:3:1: unknown key \"auth_tokn\" (did you mean \"auth_token\"?)",
//! );
//! ```

mod access;
mod check;
mod expand;
mod host;
mod limits;
mod listen;
mod load;
mod network;
mod node;
mod plugin;
mod problem;
mod secret;
mod section;
mod settings;
mod walk;

pub use host::{
    AuditConfig, AuditMode, AuditOnError, HostConfig, HttpPaths, ServerConfig, SessionIdSource,
    SnapshotMode, SnapshotStoreConfig, Tls, TransportConfig,
};
pub use limits::Limits;
pub use listen::{ListenAddr, ListenAddrError};
pub use load::Loaded;
pub use node::Position;
pub use plugin::{PluginConfig, PluginMeta, PluginScope};
pub use problem::{ConfigErrors, Problem, Severity};
pub use secret::Secret;
pub use settings::settings_problems;

#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod tests;
