//! A tools plugin without settings and side effects: for first steps, tests and measurements.
//!
//! | tool | arguments | result |
//! |---|---|---|
//! | `echo` | any object | the same object as `data` |
//! | `sleep` | `ms` | `{"slept_ms": ms}` after that time; ends at once when the call is cancelled |
//! | `fail` | `message`, optional | the error `tool_error` |
//! | `stream` | `n` | `{"sent", "dropped"}` after `n` progress events, if the call has `streaming: true` |
//! | `hidden` | none | `{"value": "found"}`; listed only with `include_deferred` |
//!
//! The setting `run` (`inline`, `pool`, `blocking`, `future`) says where `echo` runs.

mod plugin;
mod request;
mod tools;

#[cfg(test)]
mod tests;

pub use plugin::{DemoConfig, DemoToolPlugin, EchoRun};
