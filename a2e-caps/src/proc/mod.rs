//! `proc/*`: starts programs from the operator's list, feeds them, streams what they write, ends them.
//!
//! | message | answer |
//! |---|---|
//! | `proc/spawn/req` | `proc_id` and `pid`, or `ok: false` with the reason |
//! | `proc/write/req` | whether the process took the text |
//! | `proc/kill/req` | when the process and all that it started are gone |
//! | `proc/status/req` | `running`, `completed`, `failed`, `killed`, `timedout`, `not_found`; with an empty id the list of all |
//! | `proc/read/event` | pushed: a line of output, or the part of one that has come; last `{"code": n}`, or `killed` |
//!
//! - Output starts after the spawn reply, with the `req_id` of the spawn request; 20 ms after it for
//!   clients whose handshake does not say `early_events`. The beginning of a line whose end does not come
//!   within 30 ms is told without it. Each stream is in order; `seq` counts the events of a process; the end is told once, after the last line.
//! - A client that does not read holds the process back; nothing is cut.
//! - A kill sends its signal, waits `kill_grace_s`, then kills the whole tree. What the process
//!   still wrote comes before `killed`, which comes before the reply.
//! - A process belongs to its session and ends with it. With a guard program nothing that it
//!   started outlives it, however it was detached; with `isolation: pidns` not even when host and
//!   guards are killed at once. A level that the machine does not allow fails the plugin.
//! - Failures of a process are told in replies; `error` is for malformed requests.
//!
//! The plugin is not loaded unless the configuration names it:
//!
//! ```yaml
//! plugins:
//!   - name: proc
//!     type: proc
//!     cls: a2e.caps.proc.plugin.ProcPlugin
//!     metadata: { allowed_commands: [python3, bash, ls], max_procs: 8 }
//! ```
//!
//! ```
//! use a2e_core::config::{HostConfig, PluginConfig};
//! use a2e_core::{Executor, testing::TestHost};
//! use serde_json::json;
//!
//! # a2e_caps::link();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let proc = PluginConfig::new("proc", "proc", "a2e.caps.proc.plugin.ProcPlugin");
//! // A program of its own adds `.guard("/proc/self/exe")`, see `a2e_core::children`.
//! let host = TestHost::build(Executor::builder(HostConfig::new().plugin(proc))).await.unwrap();
//! let mut session = host.session();
//! let spawned = session.call("proc/spawn/req", json!({ "cmd": ["bash", "-c", "echo hi"] })).await;
//! assert_eq!(spawned["ok"], true);
//! let line = session.next().await.unwrap();
//! assert_eq!(line["data"]["text"], "hi\n");
//! let exit = session.next().await.unwrap();
//! assert_eq!(exit["data"]["code"], 0);
//! # host.stop().await;
//! # });
//! ```

mod child;
#[cfg(feature = "client")]
mod client;
mod input;
mod launch;
mod lines;
mod plugin;
mod procs;
pub mod protocol;
mod pump;
#[cfg(feature = "client")]
mod routes;
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub use client::{Output, ProcClient, ProcError, Process};
pub use plugin::{ProcConfig, ProcIsolation};
