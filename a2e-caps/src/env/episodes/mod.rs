//! Episodes: those of a session, what is seen of one, and how it is had again.

mod body;
mod desk;
mod episode;
mod history;
mod saved;

pub(super) use desk::{Desk, Room};
pub(super) use episode::{Ask, Asker, Episode, Told};
pub(super) use saved::{check, options_weight, restore, save, weight};
