//! Toolkits: bundles of tools that a session configures before it calls them.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `toolkit/list/req` | `toolkit/list/resp` | the toolkits, the JSON Schema of their configurations, their tools |
//! | `toolkit/configure/req` | `toolkit/configure/resp` | makes the tools of one usable; `tool/changed/push` follows |
//!
//! | Toolkit | Configuration | Tools |
//! |---|---|---|
//! | `filesystem` | `root` | `filesystem__read_file`, `…__list_dir`, and where the operator allows it `…__write_file`, `…__edit_file` |
//! | `http` | `base_url`, `headers` | `http__get`: pages below the URL, with the headers (feature `http`) |
//! | `sqlite` | `path` | `sqlite__query`, `sqlite__tables`: read only (feature `sqlite`) |
//!
//! - A configuration belongs to its session: no other sees its tools in `tool/list`, or what it holds. Secrets
//!   (`writeOnly` in the schema) are `***` in lists and in no snapshot; other configurations are found again by a session
//!   that is resumed.
//! - The operator opens each toolkit with a section of its own, and says in `within` what agents may configure.
//!   With `config` it is configured for every session, by the operator, whose secrets no agent sees.
//! - The tools are served by the tools plugin of the host. Other plugins offer toolkits by [`contract::Toolkit`].
//!
//! ```yaml
//! plugins:
//!   - {name: tools, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
//!   - name: toolkits
//!     type: toolkits
//!     cls: a2e.caps.toolkits.plugin.ToolkitPlugin
//!     metadata:
//!       filesystem: {within: [/srv/projects], allow_write: true}
//!       http: {config: {base_url: "https://api.example.com/v1/", headers: {Authorization: Bearer x}}}
//!       sqlite: {within: [/srv/data]}
//! ```

#[cfg(feature = "client")]
mod client;
mod config;
mod configured;
pub mod contract;
mod kits;
mod plugin;
mod protocol;
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub use client::Toolkits;
#[cfg(feature = "http")]
pub use config::HttpSettings;
#[cfg(feature = "sqlite")]
pub use config::SqliteSettings;
pub use config::{FilesystemSettings, ToolkitConfig};
pub use protocol::{
    ToolkitConfigureRequest, ToolkitConfigureResponse, ToolkitDefinition, ToolkitListRequest,
    ToolkitListResponse, ToolkitStatus,
};
