//! How long a request may take. The type declares it; a ceiling bounds what a sender asks for.

use std::time::Duration;

use crate::codec::scan::Slot;
use crate::protocol::Deadline;

/// No deadline, in microseconds.
pub(crate) const NEVER: u64 = u64::MAX;

/// What a request without a deadline of its own gets.
const DEFAULT: Duration = Duration::from_secs(30);

/// No request outlives this, whatever it asks for.
const CEILING: Duration = Duration::from_mins(10);

/// The ceiling of types that wait for others, `…/await`.
const AWAIT_CEILING: Duration = Duration::from_hours(1);

/// How long a request may take whose line says this about `timeout`; `None` when it never ends by
/// itself.
pub(crate) fn limit(declared: Deadline, wire_type: &str, timeout: &Slot<'_>) -> Option<Duration> {
    let ceiling = if wire_type.contains("/await") { AWAIT_CEILING } else { CEILING };
    let limit = match declared {
        Deadline::None => return None,
        Deadline::Default => DEFAULT,
        Deadline::After(limit) => limit,
        Deadline::TimeoutField(default) => match timeout {
            Slot::Number(seconds) if *seconds > 0.0 => {
                Duration::try_from_secs_f64(*seconds).unwrap_or(ceiling)
            }
            _ => Duration::from_secs(default),
        },
    };
    Some(limit.min(ceiling))
}

/// A duration in microseconds; one that does not fit is [`NEVER`].
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NEVER)
}
