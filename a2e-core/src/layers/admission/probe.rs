//! A probe: the one call by which a breaker tries whether its plugin is well again.

use std::sync::Arc;

use super::Admission;

/// The right to try one call. One that is dropped without a verdict (its client left, its queue was
/// full) lets the next call try.
#[derive(Debug)]
pub(crate) struct Probe {
    admission: Arc<Admission>,
    number: u64,
}

impl Probe {
    pub(super) fn new(admission: &Arc<Admission>, number: u64) -> Self {
        Self { admission: Arc::clone(admission), number }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.admission.give_up_probe(self.number);
    }
}
