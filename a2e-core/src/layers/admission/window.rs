//! How the last calls of a plugin ended.

use std::collections::VecDeque;
use std::time::Duration;

/// This many failures of the last [`CALLS`] calls within [`LENGTH`] are too many.
const FAILURES: usize = 10;
const CALLS: usize = 20;
const LENGTH: Duration = Duration::from_secs(10);

/// Calls by when they ended and whether well, oldest first. Empty while all of them went well.
#[derive(Debug, Default)]
pub(super) struct Window(VecDeque<(Duration, bool)>);

impl Window {
    pub(super) fn note(&mut self, now: Duration, is_well: bool) {
        self.0.push_back((now, is_well));
        let too_old = |at: Duration| now.saturating_sub(at) > LENGTH;
        while self.0.len() > CALLS || self.0.front().is_some_and(|it| too_old(it.0)) {
            self.0.pop_front();
        }
        if is_well && self.0.iter().all(|(_, is_well)| *is_well) {
            self.0.clear();
        }
    }

    /// Whether half of a full window failed.
    pub(super) fn is_half_bad(&self) -> bool {
        let bad = self.0.iter().filter(|(_, is_well)| !is_well).count();
        self.0.len() >= CALLS && bad >= FAILURES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
