//! Programs that are kept running: when one is started again, and when that is given up (R34).

mod kept;
mod policy;
#[cfg(test)]
mod tests;

pub use kept::{KeepState, Kept, Stdio};
pub use policy::{RestartPolicy, Restarts, Verdict};
