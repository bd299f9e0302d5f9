//! What an address answered, by status, and the connections that broke off: for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use dashmap::DashMap;

/// Counts since the start. The statuses are those that this host gives.
#[derive(Debug, Default)]
pub(super) struct Counts {
    answers: DashMap<u16, u64>,
    broken: AtomicU64,
}

impl Counts {
    pub(super) fn answered(&self, status: StatusCode) {
        *self.answers.entry(status.as_u16()).or_default() += 1;
    }

    /// A connection ended otherwise than by a whole exchange: no HTTP, no whole head in time (also where it was
    /// idle for as long), too long a head, a peer that was lost.
    pub(super) fn broke(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// The answers, by status.
    pub(super) fn answers(&self) -> Vec<(u16, u64)> {
        let mut all: Vec<_> = self.answers.iter().map(|it| (*it.key(), *it.value())).collect();
        all.sort_unstable();
        all
    }

    pub(super) fn broken(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}
