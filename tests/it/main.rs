//! Integration tests.

mod bad_lines;
mod lines;
mod plugins;
mod probe;
mod support;
