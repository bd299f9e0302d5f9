//! The program `a2e`.
fn main() {}
