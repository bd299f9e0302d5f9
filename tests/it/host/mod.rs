//! The host as a whole: what it loads, whom it asks, what it records and keeps.

mod audit;
mod given;
mod loading;
mod nested;
mod properties;
mod routing;
mod session_scope;
mod snapshots;
mod subjects;
mod traces;
