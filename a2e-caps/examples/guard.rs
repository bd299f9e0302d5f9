//! The guard program of this crate's tests; a host's own program is its guard in the same way.

fn main() {
    a2e_core::children::run_if_guard();
}
