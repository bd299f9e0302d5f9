//! Work that no thread has begun, and the threads that are to begin it. They are called one after
//! the other: while one is on its way nobody else is called, and whoever comes calls the next if
//! more waits. So long work gets as many threads as there are, and quick work no more than there are
//! processors: a further one could only take turns with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For less than this nobody is called while more is coming, and for quick work nobody at all: a thread
/// that is called at once takes the processor from the one that called it, where they share one, and
/// where they do not, waking it costs more than the work.
const LITTLE: usize = 16;

/// One piece of work.
pub(super) struct Work {
    /// Whether answers that are queued may wait until it is done.
    pub(super) is_quick: bool,
    pub(super) run: Box<dyn FnOnce() + Send>,
    /// Tells it from others.
    pub(super) number: u64,
}

/// Who is to be called.
#[derive(Debug)]
pub(super) enum Call {
    Nobody,
    /// One that waits.
    Waiting(Arc<Waiter>),
    /// A further one, of the pool of this generation.
    Another(usize),
}

/// What a thread is to do.
pub(super) enum Turn {
    Work(Work, Call),
    /// Nothing waits.
    Pause,
    /// Its pool is not in use any more.
    Leave,
}

/// A thread that has nothing to do. It waits under the lock of the queue.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    bell: Condvar,
    is_called: AtomicBool,
}

impl Waiter {
    pub(super) fn wake(&self) {
        self.bell.notify_one();
    }
}

pub(super) struct Queue {
    /// Guards the list and the counts; no work runs under it.
    state: Mutex<State>,
    /// So many threads are enough for quick work.
    processors: usize,
}

#[derive(Default)]
struct State {
    /// Oldest first; bounded by the permits of all plugins. It belongs to no pool, so that it does not
    /// wait in one whose threads all hang.
    work: VecDeque<Work>,
    /// How much of it is not known to be quick.
    long: usize,
    next_number: u64,
    /// Which pool the counts are of.
    generation: usize,
    /// Its threads that take work, those on their way included.
    takers: usize,
    /// Those that were called and have not come yet.
    on_their_way: usize,
    /// Those at work that is not known to be quick.
    at_long: usize,
    /// Those whose quick work takes its time.
    late: usize,
    /// How much work was begun, and how much of that by the last [`look`](Queue::look).
    begun: u64,
    begun_before: u64,
    /// Those that wait. Who came last is called first: its memory is warm still, and the others may
    /// leave.
    waiting: Vec<Arc<Waiter>>,
}

impl State {
    fn begin(&mut self) -> Option<Work> {
        let work = self.work.pop_front()?;
        self.begun += 1;
        self.long -= usize::from(!work.is_quick);
        self.at_long += usize::from(!work.is_quick);
        Some(work)
    }

    /// Whether enough threads look for more soon, and what waits is quick.
    fn is_served(&self, processors: usize) -> bool {
        let occupied = self.waiting.len() + self.at_long + self.late;
        self.long == 0 && self.takers.saturating_sub(occupied) >= processors
    }

    fn call_if_worth_it(&mut self, processors: usize, threads: usize) -> Call {
        if self.is_served(processors) { Call::Nobody } else { self.call(threads) }
    }

    fn call(&mut self, threads: usize) -> Call {
        if self.work.is_empty() || self.on_their_way > 0 {
            return Call::Nobody;
        }
        if let Some(waiter) = self.waiting.pop() {
            waiter.is_called.store(true, Ordering::Relaxed);
            self.on_their_way += 1;
            return Call::Waiting(waiter);
        }
        if self.takers < threads {
            self.takers += 1;
            self.on_their_way += 1;
            return Call::Another(self.generation);
        }
        Call::Nobody
    }
}

impl Queue {
    pub(super) fn new(processors: usize) -> Self {
        Self { state: Mutex::default(), processors }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds work; gives back its number, and who is to be called for it. `is_more_coming`: more is
    /// about to come, and then [`call`](Self::call); nobody is called for a little, or what is quick.
    pub(super) fn push(
        &self,
        is_quick: bool,
        run: Box<dyn FnOnce() + Send>,
        threads: usize,
        is_more_coming: bool,
    ) -> (u64, Call) {
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        state.work.push_back(Work { is_quick, run, number });
        state.long += usize::from(!is_quick);
        if is_more_coming && (is_quick || state.work.len() < LITTLE) {
            return (number, Call::Nobody);
        }
        (number, state.call_if_worth_it(self.processors, threads))
    }

    /// Whether there is a thread, or may be one more, that is not at long work, nor about to be; and no quick
    /// work takes its time.
    pub(super) fn is_free(&self, threads: usize) -> bool {
        let state = self.lock();
        state.late == 0 && state.long + state.at_long < threads
    }

    /// Who is to be called for what waits.
    pub(super) fn call(&self, threads: usize) -> Call {
        self.lock().call_if_worth_it(self.processors, threads)
    }

    /// The same from time to time. Where nothing was begun since the last time, work that was quick
    /// before takes its time now, and whoever does it is not counted on.
    pub(super) fn look(&self, threads: usize) -> Call {
        let mut state = self.lock();
        let has_moved = state.begun != state.begun_before;
        state.begun_before = state.begun;
        if !has_moved && !state.work.is_empty() && state.is_served(self.processors) {
            state.late += 1;
        }
        state.call_if_worth_it(self.processors, threads)
    }

    /// Work for which no thread could be started; `None` when another has taken it meanwhile.
    pub(super) fn take_back(&self, number: u64, generation: usize) -> Option<Work> {
        let mut state = self.lock();
        if state.generation == generation {
            state.takers -= 1;
            state.on_their_way -= 1;
        }
        let place = state.work.iter().position(|work| work.number == number)?;
        let work = state.work.remove(place)?;
        state.long -= usize::from(!work.is_quick);
        Some(work)
    }

    /// A thread that was called begins.
    pub(super) fn arrive(&self, generation: usize) {
        let mut state = self.lock();
        if state.generation == generation {
            state.on_their_way -= 1;
        }
    }

    /// What a thread is to do next. `was_long`: it comes from work that was not known to be quick.
    pub(super) fn next(&self, generation: usize, threads: usize, was_long: bool) -> Turn {
        let mut state = self.lock();
        if state.generation != generation {
            return Turn::Leave;
        }
        state.at_long -= usize::from(was_long);
        match state.begin() {
            Some(work) => {
                let call = state.call_if_worth_it(self.processors, threads);
                Turn::Work(work, call)
            }
            None => Turn::Pause,
        }
    }

    /// Waits for a call; false when none came in time, and the thread is to leave.
    pub(super) fn wait(&self, generation: usize, time: Duration, me: &Arc<Waiter>) -> bool {
        let mut state = self.lock();
        if state.generation != generation || !state.work.is_empty() {
            return true;
        }
        me.is_called.store(false, Ordering::Relaxed);
        state.waiting.push(Arc::clone(me));
        if state.takers == state.waiting.len() + state.at_long {
            state.late = 0;
        }
        loop {
            let (woken, timeout) =
                me.bell.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if state.generation != generation {
                return false;
            }
            if me.is_called.load(Ordering::Relaxed) {
                state.on_their_way -= 1;
                return true;
            }
            if timeout.timed_out() {
                state.waiting.retain(|it| !Arc::ptr_eq(it, me));
                state.takers -= 1;
                return false;
            }
        }
    }

    /// Another pool takes over: the threads of the one before leave when they are free. Gives back
    /// who is to be called.
    pub(super) fn replace(&self, threads: usize) -> Call {
        let mut state = self.lock();
        state.generation += 1;
        state.takers = 0;
        state.on_their_way = 0;
        state.at_long = 0;
        state.late = 0;
        let waiting = std::mem::take(&mut state.waiting);
        let call = state.call(threads);
        drop(state);
        for waiter in waiting {
            waiter.wake();
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Box<dyn FnOnce() + Send> {
        Box::new(|| {})
    }

    #[test]
    fn one_thread_is_called_at_a_time_and_calls_the_next() {
        let queue = Queue::new(4);
        assert!(matches!(queue.push(true, nothing(), 2, false).1, Call::Another(0)));
        assert!(matches!(queue.push(true, nothing(), 2, false).1, Call::Nobody));
        assert!(matches!(queue.push(true, nothing(), 2, false).1, Call::Nobody));
        queue.arrive(0);
        assert!(matches!(queue.next(0, 2, false), Turn::Work(_, Call::Another(0))));
        queue.arrive(0);
        // Both threads of the pool are there.
        assert!(matches!(queue.next(0, 2, false), Turn::Work(_, Call::Nobody)));
        assert!(matches!(queue.next(0, 2, false), Turn::Work(_, Call::Nobody)));
        assert!(matches!(queue.next(0, 2, false), Turn::Pause));
        assert!(!queue.wait(0, Duration::from_millis(1), &Arc::default()), "nobody calls");
        // It has left, so another is called in its place.
        assert!(matches!(queue.push(true, nothing(), 2, false).1, Call::Another(0)));
    }

    #[test]
    fn while_more_is_coming_nobody_is_called_for_a_little() {
        let queue = Queue::new(4);
        for _ in 1..LITTLE {
            assert!(matches!(queue.push(false, nothing(), 2, true).1, Call::Nobody));
        }
        assert!(matches!(queue.push(true, nothing(), 2, true).1, Call::Nobody), "quick");
        assert!(matches!(queue.push(false, nothing(), 2, true).1, Call::Another(0)));
        assert!(matches!(queue.call(2), Call::Nobody), "one is on its way");
        let queue = Queue::new(4);
        queue.push(true, nothing(), 2, true);
        assert!(matches!(queue.call(2), Call::Another(0)));
    }

    #[test]
    fn quick_work_has_no_more_threads_than_processors() {
        let queue = Queue::new(1);
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Another(0)));
        queue.arrive(0);
        for _ in 0..2 {
            assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody));
        }
        assert!(matches!(queue.next(0, 4, false), Turn::Work(_, Call::Nobody)));
        assert!(matches!(queue.push(false, nothing(), 4, false).1, Call::Another(0)), "long work");
        queue.arrive(0);
        for _ in 0..2 {
            assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        }
        assert!(matches!(queue.next(0, 4, false), Turn::Work(_, Call::Nobody)), "the long one");
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody), "one is quick");
        assert!(matches!(queue.next(0, 4, false), Turn::Work(_, Call::Nobody)));
    }

    #[test]
    fn who_is_at_long_work_is_not_counted_on_for_quick_work() {
        let queue = Queue::new(1);
        queue.push(false, nothing(), 4, false);
        queue.arrive(0);
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Another(0)));
        queue.arrive(0);
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody));
        assert!(queue.is_free(2) && !queue.is_free(1));
        assert!(matches!(queue.next(0, 4, true), Turn::Work(_, Call::Nobody)), "back from it");
        assert!(queue.is_free(1));
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody));
    }

    #[test]
    fn quick_work_that_takes_its_time_is_found_out_and_forgiven() {
        let queue = Queue::new(1);
        queue.push(true, nothing(), 4, false);
        queue.arrive(0);
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody));
        assert!(matches!(queue.look(4), Call::Nobody), "one was begun since the last look");
        assert!(queue.is_free(4));
        assert!(matches!(queue.look(4), Call::Another(0)));
        assert!(!queue.is_free(4));
        queue.arrive(0);
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        // The second one does quick work only; the first one still takes its time.
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody));
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        for _ in 0..2 {
            assert!(matches!(queue.next(0, 4, false), Turn::Pause));
            queue.wait(0, Duration::from_millis(1), &Arc::default());
        }
        queue.push(true, nothing(), 4, false);
        queue.arrive(0);
        assert!(matches!(queue.next(0, 4, false), Turn::Work(..)));
        assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Nobody), "forgiven");
        assert!(queue.is_free(4));
    }

    #[test]
    fn who_waits_is_called_before_a_further_one_and_who_came_last_first() {
        let queue = Arc::new(Queue::new(4));
        for _ in 0..2 {
            assert!(matches!(queue.push(true, nothing(), 4, false).1, Call::Another(0)));
            queue.arrive(0);
        }
        for _ in 0..2 {
            assert!(matches!(queue.next(0, 2, false), Turn::Work(..)));
        }
        let waits: Vec<Arc<Waiter>> = (0..2).map(|_| Arc::default()).collect();
        let threads: Vec<_> = waits
            .iter()
            .enumerate()
            .map(|(number, me)| {
                let (queue, me) = (Arc::clone(&queue), Arc::clone(me));
                let thread = std::thread::spawn({
                    let queue = Arc::clone(&queue);
                    move || queue.wait(0, Duration::from_secs(20), &me)
                });
                while queue.lock().waiting.len() == number {
                    std::thread::yield_now();
                }
                thread
            })
            .collect();
        for me in waits.iter().rev() {
            let (_, call) = queue.push(true, nothing(), 4, false);
            let Call::Waiting(waiter) = call else { panic!("{call:?}") };
            assert!(Arc::ptr_eq(&waiter, me));
            waiter.wake();
            while queue.lock().on_their_way > 0 {
                std::thread::yield_now();
            }
        }
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    }

    #[test]
    fn the_threads_of_a_replaced_pool_leave_and_its_work_stays() {
        let queue = Queue::new(4);
        let (number, call) = queue.push(true, nothing(), 1, false);
        assert!(matches!((queue.replace(1), call), (Call::Another(1), Call::Another(0))));
        queue.arrive(0);
        assert!(matches!(queue.next(0, 1, false), Turn::Leave));
        assert!(queue.take_back(number, 1).is_some());
        assert!(matches!(queue.push(true, nothing(), 1, false).1, Call::Another(1)));
    }
}
