//! Steps of a request that race. One answer is given; nothing begins after it.

use std::sync::Arc;

use checker::thread;

use super::{Notes, explore, permits};
use crate::layers::{Permit, StuckMark};
use crate::request::{CancelReason, InFlight, Now, PluginLabel, Request, Said};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The time of a run, and one after it.
const UNTIL: u64 = 10;
const AFTER: u64 = 11;

/// A request with two handlers, and what became of it.
struct Walk {
    request: Arc<Request>,
    is_answered: AtomicBool,
    answers: Arc<Notes<Said>>,
    /// The runs whose continuation was called.
    resumed: Arc<Notes<u32>>,
    begun: Arc<Notes<u32>>,
}

impl Walk {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            request: Request::new("1", &Arc::new(InFlight::default())),
            is_answered: AtomicBool::new(false),
            answers: Notes::new(),
            resumed: Notes::new(),
            begun: Notes::new(),
        })
    }

    /// Asks the handler of this number.
    fn ask(self: &Arc<Self>, number: u32, permit: Option<StuckMark>) -> Option<u32> {
        let was_answered = self.is_answered.load(Ordering::Acquire);
        let this = Arc::clone(self);
        let run = self.request.begin(Now {
            label: Some(Arc::new(PluginLabel)),
            until_us: UNTIL,
            permit,
            probe: None,
            resume: Some(Box::new(move |said| this.go_on(number, said))),
        })?;
        assert!(!was_answered, "a handler begins after the answer");
        self.begun.push(run);
        Some(run)
    }

    /// As the kernel's walk: a reply is the answer, else the next handler is asked.
    fn go_on(self: &Arc<Self>, number: u32, said: Said) {
        self.resumed.push(number);
        if let Said::Reply(run) = said {
            assert_eq!(run, number, "a run goes on with its own word");
        }
        if said == Said::Broken && number == 1 {
            if let Some(run) = self.ask(2, None) {
                self.say(run);
            }
            return;
        }
        self.end(said);
    }

    fn say(&self, run: u32) {
        if let Ok(Some(resume)) = self.request.said(run) {
            resume(Said::Reply(run));
        }
    }

    fn end(&self, said: Said) {
        if self.request.end() {
            self.answers.push(said);
            self.is_answered.store(true, Ordering::Release);
        }
    }

    fn lapse(&self) {
        let Some(lapsed) = self.request.lapse(AFTER) else { return };
        if let Some(permit) = lapsed.permit {
            permit.mark_stuck();
        }
        (lapsed.resume)(Said::Broken);
    }

    fn check(&self) {
        assert_eq!(self.answers.len(), 1, "one answer is given");
        assert!(self.request.has_ended() && !self.request.goes_on(), "nothing of it runs");
        let mut resumed = self.resumed.take();
        let before = resumed.len();
        resumed.dedup();
        assert_eq!(resumed.len(), before, "each run goes on once");
        assert!(self.begun.len() <= 2);
    }
}

/// A handler replies, its own time lapses, and the deadline passes.
pub fn says_lapses_or_ends() {
    explore("says, lapses or ends", || {
        let walk = Walk::new();
        let run = walk.ask(1, None).expect("nothing has ended it");
        let (handler, watchdog) = (Arc::clone(&walk), Arc::clone(&walk));
        let handler = thread::spawn(move || handler.say(run));
        let watchdog = thread::spawn(move || watchdog.lapse());
        walk.end(Said::Broken);
        handler.join().expect("it runs through");
        watchdog.join().expect("it runs through");
        walk.check();
    });
}

/// A handler returns without a word while the deadline passes, twice: one end is the first.
pub fn returns_or_ends() {
    explore("returns or ends", || {
        let walk = Walk::new();
        let run = walk.ask(1, None).expect("nothing has ended it");
        let (handler, watchdog) = (Arc::clone(&walk), Arc::clone(&walk));
        let handler = thread::spawn(move || handler.request.returned(run));
        let watchdog = thread::spawn(move || watchdog.end(Said::Broken));
        walk.end(Said::Broken);
        handler.join().expect("it runs through");
        watchdog.join().expect("it runs through");
        // The return that came before the answer changed nothing: the handler was to say something.
        walk.request.returned(run);
        walk.check();
    });
}

/// A run with a permit is given up, by its own time or by the end of the request, while it returns.
pub fn given_up_while_it_returns() {
    explore("given up while it returns", || {
        let walk = Walk::new();
        let floor = permits::Floor::new(1);
        let permit: Permit = floor.start_one();
        let run = walk.ask(1, Some(permit.mark())).expect("nothing has ended it");
        let (handler, watchdog) = (Arc::clone(&walk), Arc::clone(&walk));
        let handler = thread::spawn(move || {
            handler.say(run);
            permit.give_back();
        });
        let watchdog = thread::spawn(move || watchdog.lapse());
        walk.end(Said::Broken);
        if let Some(permit) = walk.request.given_up() {
            permit.mark_stuck();
        }
        handler.join().expect("it runs through");
        watchdog.join().expect("it runs through");
        walk.check();
        floor.check_empty();
    });
}

/// Hooks come while the request is answered and cancelled: each runs once.
pub fn hooks_run_once() {
    explore("hooks run once", || {
        let request = Request::new("1", &Arc::new(InFlight::default()));
        let ran = Notes::new();
        let hook = |name: &'static str| {
            let ran = Arc::clone(&ran);
            Box::new(move || ran.push(name))
        };
        let (answer, cancel) = (Arc::clone(&request), Arc::clone(&request));
        let answer = thread::spawn(move || assert!(answer.end()));
        let cancel = thread::spawn(move || cancel.cancel(CancelReason::Cancelled));
        request.on_cancel(hook("cancel"));
        request.after_answer(hook("answer"));
        answer.join().expect("it runs through");
        cancel.join().expect("it runs through");
        let mut ran = ran.take();
        ran.sort_unstable();
        assert_eq!(ran, ["answer", "cancel"], "each hook runs once");
    });
}
