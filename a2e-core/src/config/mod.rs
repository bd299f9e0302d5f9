//! The registry file: from YAML text to a checked [`HostConfig`], with every problem at once.
//!
//! Text becomes a tree in which each key knows its place (`tree`), `${VAR}` is expanded in
//! values, then each section is checked (`check`, `plugin`, `limits`) and every
//! problem noted. A plugin's own settings are checked later, by [`settings_problems`], when its type
//! is known.
//!
//! Variables: `${VAR}` and `${VAR:-default}` stand in values, never in keys; the default counts when
//! the variable is unset or empty and holds no further reference; `$$` is a literal `$`. Where the
//! host reads a number or a switch, an expanded text is read as one. In a plugin's settings only an
//! unquoted value that is one reference and nothing else becomes a number or boolean, and only when
//! it reads exactly as we would write it (`3` does, `007` does not); quotes keep it text. Inside
//! `{ }` and `[ ]` YAML wants references in quotes.
//!
//! ```
//! use a2e_core::config::HostConfig;
//! let errors = HostConfig::from_str("a2e.yaml", "auth_tokn: x\n", &|_| None).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "a2e.yaml:1:1: unknown key \"auth_tokn\" (did you mean \"auth_token\"?)",
//! );
//! ```

mod access;
mod approve;
mod check;
mod host;
mod limits;
mod listen;
mod load;
mod named;
mod plugin;
mod principal;
mod problem;
mod secret;
mod settings;
mod tree;

pub use approve::ApproveRule;
pub use host::{
    AuditConfig, AuditDetail, AuditMode, AuditOnError, HostConfig, HttpPaths, Operators,
    ServerConfig, SessionIdSource, SnapshotMode, SnapshotStoreConfig, TenantConfig, Tls,
    TransportConfig,
};
pub use limits::Limits;
pub use listen::{ListenAddr, ListenAddrError};
pub use load::LoadedConfig;
pub use named::Named;
pub use plugin::{PluginConfig, PluginMeta, PluginScope};
pub use principal::PrincipalConfig;
pub use problem::{ConfigErrors, Problem, Severity, did_you_mean, nearest};
pub use secret::{Secret, TokenDigest};
pub use settings::settings_problems;
pub use tree::node::Position;

#[cfg(test)]
mod tests;
