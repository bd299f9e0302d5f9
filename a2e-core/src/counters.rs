//! What a host counts because it was not answered, or not as it was meant. Shown in its status.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often one thing happened.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counts {
    ($( $(#[$doc:meta])* $name:ident = $wire:literal, )*) => {
        /// An event that an operator may ask about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count {
            $( $(#[$doc])* $name, )*
        }

        impl Count {
            const NAMES: &'static [&'static str] = &[$($wire,)*];
        }
    };
}

counts! {
    /// A line was answered with an error instead of being accepted.
    Refused = "refused",
    /// A principal asked for what it may not use.
    Forbidden = "forbidden",
    /// A call began to wait for a person.
    ApprovalAsked = "approvals_asked",
    /// A person let a call go on.
    ApprovalGranted = "approvals_granted",
    /// A person refused a call.
    ApprovalDenied = "approvals_denied",
    /// Nobody answered in time.
    ApprovalExpired = "approvals_expired",
    /// Nobody was there to ask.
    ApprovalUnavailable = "approvals_unavailable",
    /// An answer named no call that waits, or another one than it was shown.
    ApprovalRefused = "approval_answers_refused",
    /// A request found a full queue.
    Overloaded = "overloaded",
    /// A request in flight was repeated byte by byte.
    Repeated = "repeated",
    /// The repeat of an ended request got the kept answer.
    AnsweredAgain = "answered_again",
    /// A fold did not need a reply.
    Superseded = "superseded",
    /// An answer came after the end of its request.
    LateAnswer = "late_answers",
    /// An event came after the end of its request.
    LateEvent = "late_events",
    /// A slow reader did not get an event.
    DroppedEvent = "dropped_events",
    /// A slow reader did not get a push.
    DroppedPush = "dropped_pushes",
    /// A cancel named no request in flight.
    UnknownCancel = "unknown_cancels",
    /// The peer sent an error.
    PeerError = "peer_errors",
    /// A handler went on after it was given up.
    StuckRun = "stuck_runs",
    /// A session was cut because its reader hung in a handler.
    HungReader = "hung_readers",
    /// A connection got no session.
    RefusedSession = "refused_sessions",
    /// A session that was to outlive its connections ended because nobody came for it.
    IdleSession = "idle_sessions",
    /// A message came faster than its session may send.
    RateLimited = "rate_limited",
    /// A `traceparent` or `tracestate` was malformed, and ignored.
    TraceMalformed = "traces_malformed",
    /// A session was resumed.
    Resume = "resumes",
    /// A resume was refused.
    ResumeRefused = "resumes_refused",
    /// A resume could not send a line again.
    ResumeLineLost = "resume_lines_lost",
    /// What a plugin keeps of a session was not saved, restored or forgotten.
    SessionStateFailure = "session_state_failures",
}

/// One counter for each [`Count`].
#[derive(Debug)]
pub(crate) struct Counters(Vec<Counter>);

impl Default for Counters {
    fn default() -> Self {
        Self(Count::NAMES.iter().map(|_| Counter::default()).collect())
    }
}

impl Counters {
    pub(crate) fn add(&self, count: Count) {
        self.add_many(count, 1);
    }

    pub(crate) fn add_many(&self, count: Count, many: u64) {
        if let Some(Counter(counter)) = self.0.get(count as usize) {
            counter.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// Every counter with its name on the wire.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Count::NAMES.iter().copied().zip(self.0.iter().map(Counter::get))
    }
}
