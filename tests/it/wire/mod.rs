//! What goes over a connection: lines, ids, events, tokens.

mod auth;
mod bad_lines;
mod events;
mod ids;
mod ignored;
mod lines;
mod resume;
mod strangers;
