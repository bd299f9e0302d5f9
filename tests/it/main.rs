//! Integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "a test fails by panicking, and its batches of lines are small"
)]

mod audit;
mod auth;
mod bad_lines;
mod deadlines;
mod ending;
mod events;
mod gone;
mod hangs;
mod ids;
mod lines;
mod load;
mod loading;
mod nested;
mod panics;
mod plugins;
mod probe;
mod process;
mod properties;
mod routing;
mod slow_reader;
mod snapshots;
mod support;
