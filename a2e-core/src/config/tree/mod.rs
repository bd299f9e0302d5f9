//! YAML text to a tree in which each key knows its place, with `${VAR}` expanded in values.

pub(super) mod expand;
pub(super) mod node;
pub(super) mod yaml;
