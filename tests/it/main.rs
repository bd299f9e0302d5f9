//! Integration tests.

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
