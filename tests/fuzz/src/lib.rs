//! What each fuzz target does with its input, and what must hold then.
//!
//! A target is a function from bytes; it panics when something does not hold. `fuzz_targets` has them
//! run by libFuzzer, `tests/corpus.rs` with the kept inputs. `tests/fuzz/run` is the command for both.

pub mod audit_read;
pub mod child_output;
pub mod line;
pub mod mutate;
mod random;
pub mod registry_yaml;
mod scratch;
pub mod session_script;
pub mod snapshot_load;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("audit_read", audit_read::run),
    ("child_output", child_output::run),
    ("line", line::run),
    ("registry_yaml", registry_yaml::run),
    ("session_script", session_script::run),
    ("snapshot_load", snapshot_load::run),
];
