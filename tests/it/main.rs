//! Integration tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::format_collect,
    reason = "a test fails by panicking, and its batches of lines are small"
)]

mod caps;
mod faults;
mod flow;
mod host;
mod network;
mod newcomer;
mod operate;
mod plugins;
mod probe;
mod process;
mod registry;
mod seams;
mod support;
mod tidy;
mod upstream;
mod wire;
