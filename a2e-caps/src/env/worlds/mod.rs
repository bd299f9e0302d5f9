//! The environments that are built in.

mod cartpole;
mod counter;
mod gridworld;
mod png;
mod random;

use std::sync::Arc;

use super::contract::EnvironmentClass;

/// All of them, in the order in which they are served.
pub(super) const NAMES: [&str; 3] = ["counter_env", "gridworld", "cartpole"];

/// The one of this name.
pub(super) fn find(name: &str) -> Option<Arc<dyn EnvironmentClass>> {
    Some(match name {
        "counter_env" => Arc::new(counter::Counters),
        "gridworld" => Arc::new(gridworld::GridWorlds),
        "cartpole" => Arc::new(cartpole::CartPoles),
        _ => return None,
    })
}
