//! The settings of a learn plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use super::protocol::Strategy;

/// Where it is kept what was learned, and how it is used.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct LearnConfig {
    /// The folder for `harness_state.json`, `feedbacks.jsonl`, `experiences.jsonl` and `refinements.jsonl`; made
    /// if it is missing. One host uses it at a time. Without it all is in RAM and in the host's snapshots.
    #[serde(default)]
    pub store_root: Option<PathBuf>,
    /// What `policy_name` of the state says.
    #[serde(default = "policy_name")]
    pub policy_name: String,
    /// Fewer experiences change nothing.
    #[serde(default = "min_experiences")]
    pub min_experiences: u64,
    /// Number of experiences after which weights are made anew unasked; 0 is never.
    #[serde(default = "adapt_every")]
    pub adapt_every: u64,
    /// How they are made then.
    #[serde(default)]
    pub strategy: Strategy,
    /// Least confidence of a change that a review approves.
    #[serde(default = "confidence_threshold")]
    pub confidence_threshold: f64,
    /// `epsilon_greedy`: how often any component is taken.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// `softmax`: how even the weights are; above 0.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// `ppo`: how far a step may change the share of a component, as a factor of it.
    #[serde(default = "clip")]
    pub clip: f64,
    /// `ppo`: the length of a step.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// `custom`: the weights, where the request has none.
    #[serde(default)]
    pub custom_weights: BTreeMap<String, f64>,
    /// Most components that are told apart; a request that brings one more is refused.
    #[serde(default = "max_components")]
    pub max_components: usize,
    /// Most bytes of a log; then it is put aside as `….1.jsonl`, in place of the one there.
    #[serde(default = "max_log_bytes")]
    pub max_log_bytes: u64,
}

impl LearnConfig {
    /// What the types of the fields cannot say.
    ///
    /// # Errors
    /// A number that is out of bounds.
    pub(super) fn check(&self) -> Result<()> {
        let weights = self.custom_weights.values();
        for (name, is_sound) in [
            ("confidence_threshold", (0.0..=1.0).contains(&self.confidence_threshold)),
            ("epsilon", (0.0..=1.0).contains(&self.epsilon)),
            ("temperature", self.temperature > 0.0 && self.temperature.is_finite()),
            ("clip", (0.0..1.0).contains(&self.clip)),
            ("learning_rate", (0.0..=100.0).contains(&self.learning_rate)),
            ("custom_weights", weights.clone().all(|it| it.is_finite() && *it >= 0.0)),
            ("max_log_bytes", self.max_log_bytes >= 1 << 16),
        ] {
            if !is_sound {
                return Err(Error::runtime(format!("{name}: out of bounds")));
            }
        }
        Ok(())
    }
}

fn policy_name() -> String {
    "a2e".to_owned()
}

fn min_experiences() -> u64 {
    32
}

fn adapt_every() -> u64 {
    100
}

fn confidence_threshold() -> f64 {
    0.3
}

fn epsilon() -> f64 {
    0.1
}

fn temperature() -> f64 {
    0.5
}

fn clip() -> f64 {
    0.2
}

fn learning_rate() -> f64 {
    1.0
}

fn max_components() -> usize {
    1024
}

fn max_log_bytes() -> u64 {
    64 << 20
}

#[cfg(test)]
impl Default for LearnConfig {
    fn default() -> Self {
        serde_json::from_str("{}").expect("every setting has a default")
    }
}
