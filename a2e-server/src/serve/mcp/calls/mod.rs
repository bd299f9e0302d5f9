//! Calls of clients: on their way through the host, while they wait for an answer of the client, and as tasks.

mod asking;
mod run;
mod task;
mod tasks;

pub(super) use asking::{REQUIRED, Suspended, knows_tasks};
pub(super) use run::{Running, Step};
pub(super) use tasks::Tasks;
