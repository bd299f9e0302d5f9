//! Integration tests.

mod bad_lines;
mod ending;
mod lines;
mod load;
mod plugins;
mod probe;
mod process;
mod registry;
mod slow_reader;
mod support;
mod tidy;
