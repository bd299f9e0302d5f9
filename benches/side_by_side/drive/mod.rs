//! The driver: keeps requests in flight, counts replies, looks at some. It must be cheaper than any
//! server, so its loops neither parse nor allocate.

mod framing;
mod histogram;
mod link;
mod many;
mod one;
mod ring;

use std::time::{Duration, Instant};

pub use framing::{Counter, Framing};
pub use histogram::Histogram;
pub use link::Link;
pub use many::exchange_many;
pub use one::exchange_one;
pub use ring::{Ring, Template, id_in};

/// One reply in this many is checked, and timed if several are in flight.
const LOOKED_AT: usize = 16;

/// Bytes of one read.
const BLOCK: usize = 256 * 1024;

/// The time, for measuring alone.
#[allow(clippy::disallowed_methods, reason = "a driver measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// What is sent, and what must come back.
#[derive(Debug)]
pub struct Work<'a> {
    pub ring: &'a mut Ring,
    /// Requests in flight on each link.
    pub window: usize,
    /// Whether to wait without sleeping, on a single link.
    pub is_awake: bool,
    /// What stands before the id in a reply.
    pub mark: &'a [u8],
    /// What each reply must hold.
    pub payload: &'a [u8],
    pub goal: Goal,
}

/// When an exchange is over.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    Time(Duration),
    Messages(u64),
}

/// The result of an exchange.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Replies within `seconds`.
    pub replies: u64,
    pub seconds: f64,
    /// Replies of the whole exchange, its start and end included.
    pub all_replies: u64,
    pub times: Histogram,
    pub looked_at: u64,
    /// Replies that did not answer what was asked, and the first of them.
    pub wrong: u64,
    pub wrong_reply: String,
}

impl Measured {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.replies as f64 / self.seconds } else { 0.0 }
    }

    /// Looks at one reply: is it to a request of ours, and does it carry the payload?
    fn look_at(&mut self, reply: &[u8], work: &Work<'_>, time: Instant) {
        self.looked_at += 1;
        let id = id_in(reply, work.mark).filter(|id| work.ring.was_taken(*id));
        let is_right = id.is_some() && memchr::memmem::find(reply, work.payload).is_some();
        if !is_right {
            self.wrong += 1;
            if self.wrong == 1 {
                let start = reply.get(..reply.len().min(300)).unwrap_or_default();
                self.wrong_reply = String::from_utf8_lossy(start).into_owned();
            }
        }
        if let Some(asked) = id.and_then(|id| work.ring.taken_at(id))
            && work.window > 1
        {
            self.times.add(time.saturating_duration_since(asked));
        }
    }
}

/// What is measured begins when the windows are full and ends before they run dry.
#[derive(Debug)]
struct Meter {
    warm: u64,
    goal: Goal,
    started: Option<(Instant, u64)>,
    is_over: bool,
    until_look: usize,
}

impl Meter {
    fn new(work: &Work<'_>, links: usize) -> Self {
        let warm = (work.window * links) as u64;
        Self { warm, goal: work.goal, started: None, is_over: false, until_look: 1 }
    }

    /// Takes note of replies; says whether the next one is to be looked at.
    fn note(&mut self, ended: usize, time: Instant, measured: &mut Measured) -> bool {
        measured.all_replies += ended as u64;
        match self.started {
            None if measured.all_replies >= self.warm => {
                self.started = Some((time, measured.all_replies));
            }
            Some((start, before)) if !self.is_over => {
                measured.replies = measured.all_replies - before;
                let spent = time.saturating_duration_since(start);
                measured.seconds = spent.as_secs_f64();
                self.is_over = measured.replies > 0
                    && match self.goal {
                        Goal::Time(time) => spent >= time,
                        Goal::Messages(count) => measured.replies >= count,
                    };
            }
            _ => {}
        }
        let is_due = self.until_look <= ended;
        self.until_look = if is_due { LOOKED_AT } else { self.until_look - ended };
        is_due
    }
}
