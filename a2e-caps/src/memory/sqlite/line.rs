//! The order of a session's requests: they run on several threads, and each waits for those before it.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiting request checks whether its call was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// The requests of one session that have not ended; bounded by the plugin's queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeSet<u64>,
}

impl Line {
    /// A place at the end. To be asked for on the reader, which sees requests in their order.
    pub(super) fn ticket(self: &Arc<Self>) -> Ticket {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number);
        drop(state);
        Ticket { line: Arc::clone(self), number }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line, given up when dropped: also by a request that never came to run.
#[derive(Debug)]
pub(in crate::memory) struct Ticket {
    line: Arc<Line>,
    number: u64,
}

impl Ticket {
    /// Waits until every request before this one has ended; false when `is_cancelled` came first.
    ///
    /// The requests before it got their permits earlier, as permits are given in the order of the
    /// line, so this cannot wait for ever.
    pub(in crate::memory) fn wait(&self, is_cancelled: impl Fn() -> bool) -> bool {
        let mut state = self.line.state();
        while state.waiting.first() != Some(&self.number) {
            if is_cancelled() {
                return false;
            }
            let waited = self.line.moved.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.line.state().waiting.remove(&self.number);
        self.line.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_those_before_it() {
        let line = Arc::new(Line::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let tickets: Vec<Ticket> = (0..8).map(|_| line.ticket()).collect();
        let threads: Vec<_> = tickets
            .into_iter()
            .enumerate()
            .rev()
            .map(|(number, ticket)| {
                let order = Arc::clone(&order);
                std::thread::spawn(move || {
                    assert!(ticket.wait(|| false));
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn one_that_never_runs_and_one_that_is_cancelled_hold_up_nobody() {
        let line = Arc::new(Line::default());
        let (first, second, third) = (line.ticket(), line.ticket(), line.ticket());
        assert!(!second.wait(|| true), "nobody wants it any more");
        drop(first);
        drop(second);
        assert!(third.wait(|| false));
    }
}
