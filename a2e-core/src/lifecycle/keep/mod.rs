//! What plugins keep of sessions: saved, restored at a resume, forgotten when nobody resumes them.

mod expiry;
mod principal;
mod resumable;
mod states;
mod work;

pub(crate) use principal::Principal;
pub(crate) use resumable::{KeptState, Resumable, Resumables};
pub(crate) use work::SessionWork;
