//! Seats and places while runs start, return and hang. None is lost or doubled, and what waits
//! begins when there is room.

use std::sync::Arc;

use checker::thread;

use super::{Notes, explore};
use crate::layers::{Gate, Job, Permit, Permits, Place, Run, Shortage, StuckThread};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// A plugin's gate, a session's place, and the runs that have begun.
pub(super) struct Floor {
    shortage: Arc<Shortage>,
    gates: Vec<Arc<Gate>>,
    place: Arc<Place>,
    begun: Arc<Begun>,
}

/// The permits of runs that go on, and how many jobs went where.
struct Begun {
    /// Runs that a session may have at a time.
    most: usize,
    /// Seen by loom: any thread may return any run.
    permits: Mutex<Vec<Permit>>,
    launched: Notes<()>,
    forwarded: Notes<()>,
    discarded: Notes<()>,
}

struct Work {
    place: Arc<Place>,
    depth: usize,
    has_ended: Arc<AtomicBool>,
    begun: Arc<Begun>,
}

impl Job for Work {
    fn run(&self) -> Run {
        Run::Pool
    }

    fn session(&self) -> u64 {
        1
    }

    fn place(&self) -> &Arc<Place> {
        &self.place
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn is_continuation(&self) -> bool {
        false
    }

    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    fn launch(self: Box<Self>, permit: Permit) {
        assert!(self.place.running() <= self.begun.most, "no more run than may");
        self.begun.launched.push(());
        self.begun.permits.lock().push(permit);
    }

    fn forward(self: Box<Self>) {
        self.begun.forwarded.push(());
    }

    fn discard(self: Box<Self>) {
        self.begun.discarded.push(());
    }
}

impl Begun {
    fn pop(&self) -> Option<Permit> {
        self.permits.lock().pop()
    }
}

impl Floor {
    /// One gate with one permit, in a session where `places` run.
    pub(super) fn new(places: usize) -> Arc<Self> {
        Self::with(1, Place::new(places, None), places)
    }

    fn with(gates: usize, place: Arc<Place>, most: usize) -> Arc<Self> {
        let shortage = Arc::new(Shortage::default());
        let permits = Permits { pool: 1, blocking: 1, future: 1 };
        let gates = (0..gates).map(|_| Gate::new(permits, 8, &shortage)).collect();
        let begun = Begun {
            most,
            permits: Mutex::default(),
            launched: Notes::empty(),
            forwarded: Notes::empty(),
            discarded: Notes::empty(),
        };
        Arc::new(Self { shortage, gates, place, begun: Arc::new(begun) })
    }

    fn work(&self, place: &Arc<Place>, depth: usize) -> (Box<Work>, Arc<AtomicBool>) {
        let has_ended = Arc::new(AtomicBool::new(false));
        let work = Work {
            place: Arc::clone(place),
            depth,
            has_ended: Arc::clone(&has_ended),
            begun: Arc::clone(&self.begun),
        };
        (Box::new(work), has_ended)
    }

    fn submit(&self, gate: usize) {
        self.gates[gate].submit(self.work(&self.place, 0).0, "p").expect("there is room to wait");
    }

    /// Starts a run, and hands out its permit.
    pub(super) fn start_one(&self) -> Permit {
        self.submit(0);
        self.begun.pop().expect("it began")
    }

    /// The runs that have begun return, and those that begin then.
    fn return_all(&self) {
        while let Some(permit) = self.begun.pop() {
            permit.give_back();
        }
    }

    /// Nothing runs, waits or hangs.
    pub(super) fn check_empty(&self) {
        for gate in &self.gates {
            let status = gate.status();
            assert_eq!(status.queued, 0, "what waits begins when there is room");
            assert_eq!(status.running, 0, "every seat comes back");
            assert_eq!(status.stuck, 0, "a run that is gone does not hang");
        }
        assert_eq!(self.place.running(), 0, "every place comes back");
        assert_eq!(self.shortage.waiting(), 0, "nothing is counted that does not wait");
    }

    fn check(&self, launched: usize) {
        self.return_all();
        self.check_empty();
        assert_eq!(self.begun.launched.len(), launched, "each job begins once");
    }
}

/// Two threads send jobs to one seat and return what begins.
pub fn one_seat() {
    explore("one seat", || {
        let floor = Floor::new(2);
        let other = Arc::clone(&floor);
        let other = thread::spawn(move || {
            other.submit(0);
            other.return_all();
        });
        floor.submit(0);
        floor.return_all();
        other.join().expect("it runs through");
        floor.check(2);
    });
}

/// Two plugins have seats, and their session has one place: the end of a run in one starts the other.
pub fn one_place() {
    explore("one place", || {
        let floor = Floor::with(2, Place::new(1, None), 1);
        let other = Arc::clone(&floor);
        let other = thread::spawn(move || {
            other.submit(1);
            other.return_all();
        });
        floor.submit(0);
        floor.return_all();
        other.join().expect("it runs through");
        floor.check(2);
    });
}

/// As [`one_place`], with a run that ends on a third thread.
pub fn one_place_while_a_run_returns() {
    explore("one place while a run returns", || {
        let floor = Floor::with(3, Place::new(1, None), 1);
        let permit = floor.start_one();
        let (first, second) = (Arc::clone(&floor), Arc::clone(&floor));
        let first = thread::spawn(move || first.submit(1));
        let second = thread::spawn(move || second.submit(2));
        permit.give_back();
        first.join().expect("it runs through");
        second.join().expect("it runs through");
        floor.check(3);
    });
}

/// Places lie in each other. A look that finds the outer one full takes nothing from the inner one,
/// not even for a moment: another plugin would wait for it, and no run would end that starts it.
pub fn nested_places() {
    explore("nested places", || {
        let outer = Place::new(1, None);
        let floor = Floor::with(3, Place::new(1, Some(Arc::clone(&outer))), 1);
        // Another session fills the outer place.
        let (filling, _) = floor.work(&Place::new(1, Some(Arc::clone(&outer))), 0);
        floor.gates[0].submit(filling, "p").expect("there is room to wait");
        let permit = floor.begun.pop().expect("it began");
        let (first, second) = (Arc::clone(&floor), Arc::clone(&floor));
        let first = thread::spawn(move || {
            let (work, has_ended) = first.work(&first.place, 0);
            first.gates[1].submit(work, "p").expect("there is room to wait");
            has_ended.store(true, Ordering::SeqCst);
        });
        let second = thread::spawn(move || second.submit(2));
        permit.give_back();
        first.join().expect("it runs through");
        second.join().expect("it runs through");
        floor.return_all();
        assert_eq!(outer.running(), 0, "every place comes back");
        assert_eq!(floor.gates[2].status().queued, 0, "what waits begins when there is room");
    });
}

/// A run hangs and returns at once; a job waits for its seat.
pub fn stuck_or_returned() {
    explore("stuck or returned", || {
        let floor = Floor::new(2);
        let permit = floor.start_one();
        let mark = permit.mark();
        let (runner, watchdog) = (Arc::clone(&floor), Arc::clone(&floor));
        let runner = thread::spawn(move || {
            permit.note_pool(7);
            permit.give_back();
            drop(runner);
        });
        let watchdog = thread::spawn(move || {
            if let Some(thread) = mark.mark_stuck() {
                assert!(!mark.is_held());
                assert!(matches!(thread, StuckThread::Other | StuckThread::OfPool(7)));
            }
            drop(watchdog);
        });
        floor.submit(0);
        runner.join().expect("it runs through");
        watchdog.join().expect("it runs through");
        floor.check(2);
    });
}

/// A deeper request enters beyond the limit while a run ends: the count stays right.
pub fn deeper_requests() {
    explore("deeper requests", || {
        let floor = Floor::with(2, Place::new(1, None), 2);
        let permit = floor.start_one();
        let (deeper, next) = (Arc::clone(&floor), Arc::clone(&floor));
        let deeper = thread::spawn(move || {
            let (work, _) = deeper.work(&deeper.place, 1);
            deeper.gates[0].submit(work, "p").expect("there is room to wait");
            deeper.return_all();
        });
        let next = thread::spawn(move || next.submit(1));
        permit.give_back();
        deeper.join().expect("it runs through");
        next.join().expect("it runs through");
        floor.check(3);
    });
}

/// A plugin is paused and goes on while a job comes and a run ends.
pub fn paused_and_resumed() {
    explore("paused and resumed", || {
        let floor = Floor::new(2);
        let permit = floor.start_one();
        let (reload, reader) = (Arc::clone(&floor), Arc::clone(&floor));
        let reload = thread::spawn(move || {
            reload.gates[0].pause();
            reload.gates[0].resume();
        });
        let reader = thread::spawn(move || reader.submit(0));
        permit.give_back();
        reload.join().expect("it runs through");
        reader.join().expect("it runs through");
        floor.check(2);
    });
}

/// A plugin is replaced while jobs come, wait and end: each runs here, or goes on, or is dropped.
pub fn closed_and_swept() {
    explore("closed and swept", || {
        let floor = Floor::new(2);
        let permit = floor.start_one();
        let (reload, reader) = (Arc::clone(&floor), Arc::clone(&floor));
        let reload = thread::spawn(move || reload.gates[0].close());
        let reader = thread::spawn(move || {
            let (work, has_ended) = reader.work(&reader.place, 0);
            reader.gates[0].submit(work, "p").expect("there is room to wait");
            has_ended.store(true, Ordering::SeqCst);
            reader.gates[0].sweep();
        });
        permit.give_back();
        reload.join().expect("it runs through");
        reader.join().expect("it runs through");
        floor.return_all();
        floor.check_empty();
        let begun = &floor.begun;
        let all = begun.launched.len() + begun.forwarded.len() + begun.discarded.len();
        assert_eq!(all, 2, "each job goes one way");
    });
}

/// A plugin is replaced while a job comes and another waits: both run here or go on.
pub fn closed_while_one_waits() {
    explore("closed while one waits", || {
        let floor = Floor::new(2);
        let permit = floor.start_one();
        floor.submit(0);
        let (reload, reader) = (Arc::clone(&floor), Arc::clone(&floor));
        let reload = thread::spawn(move || reload.gates[0].close());
        let reader = thread::spawn(move || reader.submit(0));
        permit.give_back();
        reload.join().expect("it runs through");
        reader.join().expect("it runs through");
        floor.return_all();
        floor.check_empty();
        let all = floor.begun.launched.len() + floor.begun.forwarded.len();
        assert_eq!(all, 3, "each job goes one way");
    });
}

/// Two sessions look for the last place of what they lie in: one has it.
pub fn last_outer_place() {
    explore("last outer place", || {
        let outer = Place::new(1, None);
        let floor = Floor::with(2, Place::new(1, Some(Arc::clone(&outer))), 1);
        let (other, around) = (Arc::clone(&floor), Arc::clone(&outer));
        let other = thread::spawn(move || {
            let place = Place::new(1, Some(Arc::clone(&around)));
            other.gates[1].submit(other.work(&place, 0).0, "p").expect("there is room to wait");
            assert!(around.running() <= 1, "no more run than may");
        });
        floor.submit(0);
        assert!(outer.running() <= 1, "no more run than may");
        other.join().expect("it runs through");
        assert_eq!(floor.begun.launched.len(), 1, "one begins");
        floor.return_all();
        assert_eq!(outer.running(), 0, "every place comes back");
        assert_eq!(floor.begun.launched.len(), 2, "then the other");
    });
}
