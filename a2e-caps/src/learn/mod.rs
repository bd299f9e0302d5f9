//! Learning: what agents are told of their work, and what that makes of the weights and texts they work by.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `learn/feedback/req` | `learn/feedback/resp` | notes judgements; a component's mean score |
//! | `learn/experience/req` | `learn/experience/resp` | notes steps and their rewards |
//! | `learn/stats/req` | `learn/stats/resp` | how components fare |
//! | `learn/adapt/req` | `learn/adapt/resp` | new weights by a strategy, reviewed and put in force |
//! | `learn/refinement/plan/req` | `…/resp` | changes that would help |
//! | `learn/refinement/review/req` | `…/resp` | what speaks against one |
//! | `learn/refinement/apply/req` | `…/resp` | puts one in force |
//! | `learn/refinement/rollback/req` | `…/resp` | takes it back |
//! | `learn/refinement/history/req` | `…/resp` | what was changed |
//!
//! What is learned belongs to the host: all its sessions add to it and see it. The formulas of the strategies, with
//! their sources, stand in `policy.rs`:
//!
//! | strategy | weight of a component |
//! |---|---|
//! | `ucb1` | 1 for the highest upper confidence bound (Auer and others 2002), else 0 |
//! | `epsilon_greedy` | `epsilon / k`, and `1 - epsilon` more for the best mean reward (Sutton, Barto 2018) |
//! | `softmax` | by `exp(mean / temperature)` (the same) |
//! | `ppo` | a clipped policy-gradient step from the weights before (Schulman and others 2017) |
//! | `custom` | as given, in the request or in the settings |
//!
//! Weights stand in the state as `router.weights.<component>`. A rollback puts back the values that the change
//! found; what others changed since at other paths stays.
//!
//! With `store_root` everything is in that folder: logs that are on the disk before a request is answered, and
//! `harness_state.json`, which is replaced whole. After a crash the logs make up what the state lacks. `a2e learn
//! export FOLDER` makes preference pairs and reward samples of them. Without it, snapshots of the host keep it.
//!
//! ```
//! use a2e_core::config::{HostConfig, PluginConfig};
//! use a2e_core::testing::TestHost;
//! use serde_json::json;
//!
//! # a2e_caps::link();
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let learn = PluginConfig::new("learn", "learning", "a2e.caps.learn.plugin.LearnPlugin");
//! let host = TestHost::start(HostConfig::new().plugin(learn)).await;
//! let mut session = host.session();
//! let feedback = json!({ "polarity": "positive", "score": 0.5 });
//! let noted = session.call("learn/feedback/req", json!({ "feedbacks": [feedback] })).await;
//! assert_eq!((&noted["recorded"], &noted["new_score"]), (&json!(1), &json!(0.5)));
//! # host.stop().await;
//! # });
//! ```

#[cfg(feature = "client")]
mod client;
mod config;
pub mod export;
mod files;
mod ledger;
mod plan;
mod plugin;
mod policy;
pub mod protocol;
mod refine;
mod sketch;
#[cfg(test)]
mod tests;

#[cfg(feature = "client")]
pub use client::LearnClient;
pub use config::LearnConfig;
