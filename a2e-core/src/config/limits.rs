//! The bounds of every queue, buffer and table of a host (R20, R22).

use std::time::Duration;

use super::check::section::Section;

/// `global_limits`. Each line says what happens beyond the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Threads that run sync handlers.
    pub max_workers: usize,
    /// Bytes of one line; a longer one is answered with `line_too_long`.
    pub max_line_bytes: usize,
    /// Sessions of the host; one more is refused.
    pub max_sessions: usize,
    /// Sessions of one authenticated principal; one more is refused.
    pub max_sessions_per_principal: usize,
    /// Messages per second and session; `None`: as many as come. One more is answered with `overloaded`.
    pub max_messages_per_s: Option<usize>,
    /// Bytes that the process may use: beyond 92 % requests are answered with `overloaded`, beyond 95 %
    /// connections are refused. `None`: no budget.
    pub memory_budget_bytes: Option<usize>,
    /// Requests that wait per plugin; one more is answered with `overloaded`.
    pub max_queue: usize,
    /// Requests in flight per session; more wait.
    pub max_in_flight: usize,
    /// Requests in flight in the host; more wait.
    pub max_in_flight_host: usize,
    /// Bytes of the requests in flight per session; beyond it, reading of that session pauses.
    pub max_in_flight_bytes: usize,
    /// Unsent bytes per session; beyond it, reading of that session pauses.
    pub max_outbound_bytes: usize,
    /// Calls that wait for a person, a quarter of them in one session; one more is answered `overloaded`.
    pub max_approvals: usize,
    /// How long a call waits for a person; then it is answered `approval_unavailable`.
    pub approval_wait: Duration,
    /// Bytes of sent lines that are kept per resumable session; older ones are lost to a resume.
    pub max_resume_bytes: usize,
}

const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
/// A line longer than this is never read, whatever the file says.
const MAX_LINE_CEILING: i64 = 64 * MIB;
/// All resumable sessions of a host together keep no more than this.
const MAX_RESUME_CEILING: i64 = 64 * MIB;

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_workers: 16,
            max_line_bytes: 8 << 20,
            max_sessions: 16_384,
            max_sessions_per_principal: 1024,
            max_messages_per_s: None,
            memory_budget_bytes: None,
            max_queue: 1024,
            max_in_flight: 256,
            max_in_flight_host: 4096,
            max_in_flight_bytes: 16 << 20,
            max_outbound_bytes: 1 << 20,
            max_approvals: 64,
            approval_wait: Duration::from_mins(5),
            max_resume_bytes: 256 << 10,
        }
    }
}

/// The lower bounds still let one handshake and one small reply through.
pub(super) fn check(mut section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    section.set("max_workers", 1..=1024, &mut limits.max_workers);
    section.set("max_line_bytes", KIB..=MAX_LINE_CEILING, &mut limits.max_line_bytes);
    section.set("max_sessions", 1..=1 << 20, &mut limits.max_sessions);
    section.set("max_sessions_per_principal", 1..=1 << 20, &mut limits.max_sessions_per_principal);
    let (mut rate, mut budget) = (0, 0);
    section.set("max_messages_per_s", 0..=1 << 20, &mut rate);
    section.set("memory_budget_bytes", 0..=1 << 46, &mut budget);
    limits.max_messages_per_s = Some(rate).filter(|rate| *rate > 0);
    limits.memory_budget_bytes = Some(budget).filter(|budget| *budget > 0);
    section.set("max_approvals", 0..=1 << 16, &mut limits.max_approvals);
    let wait = section.seconds("approval_wait_s", 0.001..=86_400.0);
    limits.approval_wait = wait.unwrap_or(limits.approval_wait);
    section.set("max_queue", 1..=1 << 20, &mut limits.max_queue);
    section.set("max_in_flight", 1..=1 << 16, &mut limits.max_in_flight);
    section.set("max_in_flight_host", 1..=1 << 20, &mut limits.max_in_flight_host);
    section.set("max_in_flight_bytes", 64 * KIB..=4 * GIB, &mut limits.max_in_flight_bytes);
    section.set("max_outbound_bytes", 4 * KIB..=GIB, &mut limits.max_outbound_bytes);
    section.set("max_resume_bytes", 0..=MAX_RESUME_CEILING, &mut limits.max_resume_bytes);
    if limits.max_in_flight > limits.max_in_flight_host {
        section.warning(
            section.at(),
            "max_in_flight",
            "is above max_in_flight_host, so one session can hold up all others",
            None,
        );
    }
    section.finish(&[]);
    limits
}
