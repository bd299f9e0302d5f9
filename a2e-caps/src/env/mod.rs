//! Environments: worlds that an agent acts in, step by step, for a reward.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `env/reset/req` | `env/reset/resp` | begins an episode beside those that run |
//! | `env/step/req` | `env/step/resp` | takes an action |
//! | `env/batch_step/req` | `env/batch_step/resp` | takes one in each of several episodes, side by side |
//! | `env/observe/req` | `env/observe/resp` | looks, and changes nothing |
//! | `env/render/req` | `env/render/resp` | a picture: `text`, `json`, `screenshot`, `rgb_array` |
//! | `env/plan/req` | `env/plan/resp` | what the environment would do |
//! | `env/space/req` | `env/space/resp` | JSON Schemas of actions, states and options |
//! | `env/snapshot/req` | `env/snapshot/resp` | all that is needed to go on from here |
//! | `env/restore/req` | `env/restore/resp` | a new episode from that, also in another session |
//! | `env/fork/req` | `env/fork/resp` | further episodes that go on from where one stands |
//! | `env/exp/list/req` | `env/exp/list/resp` | the steps of this session |
//! | `env/close/req` | `env/close/resp` | ends an episode |
//! | | `env/state/push` | pushed: an episode changed by itself |
//!
//! | Environment | What it is |
//! |---|---|
//! | `counter_env` | `inc` counts to five; `push` has a push sent 200 ms later |
//! | `gridworld` | a way through walls drawn from the seed, as text and as a PNG picture |
//! | `cartpole` | a pole on a cart, with the dynamics of Gymnasium's `CartPole-v1` |
//! | `processes: [{name, command}]` | what a program serves, see [`ProcessConfig`]; `examples/gymnasium_env.py` wraps any of Gymnasium |
//! | `openenv: [{name, url}]`, `[{name, command}]` | what an OpenEnv server serves, running or run by the host, see [`OpenEnvConfig`] |
//!
//! - Equal seeds, options and actions make equal runs. What cannot save itself is had again that way: for a
//!   snapshot or a fork, after its program was ended or has crashed, and when a session goes on later. If
//!   it then comes to another state, it says so.
//! - A step that is cancelled or times out in a program or at a server has no effect: the program is killed, the
//!   connection cut, and the next step goes on from before. In this process a step is taken to its end.
//! - An OpenEnv server has one WebSocket for each episode. One that has no place for another is `overloaded`,
//!   one that is not there, breaks off or says what it should not `unavailable`; both may be tried again.
//! - Requests of one episode are served in their order.
//! - An episode belongs to its session; over a resume it keeps its id.
//! - Where principals are configured, `reset`, `snapshot`, `restore` and `fork` need the right `env-control`.
//!
//! ```
//! use a2e_core::config::{HostConfig, PluginConfig};
//! use a2e_core::testing::TestHost;
//! use serde_json::json;
//!
//! # a2e_caps::link();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let env = PluginConfig::new("env", "env", "a2e.caps.env.plugin.EnvPlugin");
//! let host = TestHost::start(HostConfig::new().plugin(env)).await;
//! let mut session = host.session();
//! let begun = session.call("env/reset/req", json!({ "env_name": "counter_env" })).await;
//! let episode = &begun["obs"]["episode_id"];
//! let step = json!({ "episode_id": episode, "action": { "type": "inc" } });
//! let stepped = session.call("env/step/req", step).await;
//! assert_eq!(stepped["obs"]["state"]["count"], 1);
//! # host.stop().await;
//! # });
//! ```

#[cfg(feature = "client")]
mod client;
mod config;
pub mod contract;
mod episodes;
mod kind;
mod link;
#[cfg(feature = "http")]
mod openenv;
mod outside;
mod plugin;
mod process;
pub mod protocol;
#[cfg(test)]
mod tests;
mod worlds;

pub use crate::json::JsonObject;
#[cfg(feature = "client")]
pub use client::{EnvClient, EpisodeClient};
pub use config::{EnvConfig, OpenEnvConfig, ProcessConfig};
