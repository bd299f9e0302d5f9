//! The place of the request whose handler runs on the reader.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Session;
use crate::dispatch::{Accepted, Active, Route};

impl Session {
    /// The request whose handler runs on the reader now.
    pub(crate) fn inline(&self) -> Option<Arc<Active>> {
        if !self.is_inline.load(Ordering::SeqCst) {
            return None;
        }
        self.lock_inline().clone()
    }

    /// Guards the place of the inline request; held to look at it, or to put another one there.
    fn lock_inline(&self) -> MutexGuard<'_, Option<Arc<Active>>> {
        self.inline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request on the reader. Its object is that of an earlier one (the last, or `spare`) if
    /// nobody else holds that any more: making one anew costs as much as a third of the dispatch.
    pub(super) fn begin_inline(
        self: &Arc<Self>,
        spare: Option<Arc<Active>>,
        route: &Arc<Route>,
        accepted: &Accepted<'_>,
    ) -> Arc<Active> {
        let mut place = self.lock_inline();
        let mut earlier = place.take().or(spare);
        let active = match earlier.as_mut().and_then(Arc::get_mut) {
            Some(unused) => {
                unused.renew(route, accepted);
                earlier.take()
            }
            None => None,
        };
        let active =
            active.unwrap_or_else(|| Arc::new(Active::new(&self.kernel, self, route, accepted)));
        *place = Some(Arc::clone(&active));
        // Said before the handler's plugin is looked at: who pauses that looks for this afterwards.
        self.is_inline.store(true, Ordering::SeqCst);
        drop(place);
        // Not under the lock: it may be the last that holds it.
        drop(earlier);
        active
    }

    /// Its handler has returned, or goes on elsewhere.
    pub(super) fn end_inline(&self) {
        self.is_inline.store(false, Ordering::Release);
    }

    /// Takes the object of the last inline request out of its place.
    pub(super) fn take_inline(&self) -> Option<Arc<Active>> {
        self.is_inline.store(false, Ordering::Release);
        self.lock_inline().take()
    }
}
