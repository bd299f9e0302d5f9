//! Connections that are lost and come back, against hosts that follow the resume rules by script.

mod giving_up;
mod host;
mod losses;
mod model;
mod process;
mod repeat;
mod returns;
mod waiting;
