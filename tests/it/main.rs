//! Integration tests.

mod auth;
mod bad_lines;
mod ending;
mod events;
mod gone;
mod hangs;
mod ids;
mod lines;
mod load;
mod panics;
mod plugins;
mod probe;
mod process;
mod registry;
mod slow_reader;
mod support;
mod tidy;
