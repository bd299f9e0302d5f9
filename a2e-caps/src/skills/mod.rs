//! Skills: folders with a `SKILL.md`, whose text tells an agent how to do something, or whose program does it.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `skill/discover/req` | `skill/discover/resp` | lists skills by tags and categories, without their texts |
//! | `skill/call/req` | `skill/call/resp` | gives the text with its arguments, or runs the program |
//! | | `skill/event` | how a call goes: `skill.started`, `skill.preparing`, `skill.prompt.ready`, `llm.skipped`, `skill.completed` or `skill.failed` |
//! | | `skill/changed/push` | pushed: the folders have changed |
//!
//! Files are read as Agent Skills (agentskills.io) has them, leniently: a wrong name or length is a warning, values
//! with colons are put in quotes, a file without a description is left out. `skill.md` is read as the
//! reference reads it: the name may be the folder's. They are found up to six folders deep; the order of the
//! roots, then of paths, decides which of two namesakes is taken: the last.
//!
//! MCP clients see skills as resources with a manifest (`skill://<name>/SKILL.md` and the files beside it), and
//! those that are texts as prompts.
//!
//! A skill with `command` in its front matter (or in `metadata`) is a program inside its folder. It runs in that folder
//! under the supervisor, where `allow_programs` says so: the call stands in the line on its standard input, its
//! output is the result, lines of `{"type": "skill/event", "kind", "data"}` are told at once. A call that is
//! cancelled or takes longer than its `timeout` kills it with all that it started. With `sandbox` it touches only its
//! own folder, the system's programs and what is named there, and has no network.
//!
//! ```
//! use a2e_core::config::{HostConfig, PluginConfig};
//! use a2e_core::testing::TestHost;
//! use serde_json::json;
//!
//! # a2e_caps::link();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let folder = tempfile::tempdir().unwrap();
//! std::fs::create_dir(folder.path().join("greet")).unwrap();
//! let text = "---\nname: greet\ndescription: Greets.\n---\nGreet {args} kindly.";
//! std::fs::write(folder.path().join("greet/SKILL.md"), text).unwrap();
//!
//! let skills = PluginConfig::new("skills", "skill", "a2e.caps.skills.plugin.SkillPlugin");
//! let skills = skills.with_setting("roots", [folder.path().to_str().unwrap()]);
//! let host = TestHost::start(HostConfig::new().plugin(skills)).await;
//! let mut session = host.session();
//! let call = json!({ "name": "greet", "arguments": { "args": "Ada" } });
//! let reply = session.call("skill/call/req", call).await;
//! assert_eq!(reply["data"]["data"]["prompt"], "Greet Ada kindly.");
//! # host.stop().await;
//! # });
//! ```

mod catalog;
#[cfg(feature = "client")]
mod client;
mod config;
pub mod contract;
mod files;
mod manifest;
mod offers;
mod plugin;
mod program;
pub mod protocol;
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub use client::SkillClient;
pub use config::SkillConfig;
