//! The way out of a session: lines are appended, numbered where the session can be resumed, and
//! written by one writer at a time.

mod handover;
mod outbox;
mod ring;
mod withheld;

pub(crate) use outbox::{Bounds, OnLoss, Outbox};
pub(crate) use ring::{Ring, RingBudget};
