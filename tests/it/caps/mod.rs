//! Capabilities with what they meet in earnest: packages of other languages.

mod gymnasium;
mod openenv;
mod types;
