//! The way out of a session: lines are appended, numbered where the session can be resumed, and
//! written by one writer at a time.

mod attach;
mod handover;
mod outbox;
mod ring;
mod withheld;
mod write;

pub(crate) use outbox::{Bounds, OnLoss, Outbox};
pub(crate) use ring::{Ring, RingBudget};
