//! Time as a parameter: the only caller of the operating system's clocks.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// One reading of the clock, both scales.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Since the clock was made; never goes back. For time-outs and durations.
    pub mono: Duration,
    /// Since the Unix epoch. For records that people read; may jump.
    pub wall: Duration,
}

impl Time {
    /// How long after `earlier` this is; zero when it is not later.
    pub fn since(self, earlier: Time) -> Duration {
        self.mono.saturating_sub(earlier.mono)
    }

    /// Microseconds on the monotonic scale.
    pub fn mono_us(self) -> u64 {
        micros(self.mono)
    }

    /// Microseconds since the Unix epoch.
    pub fn wall_us(self) -> u64 {
        micros(self.wall)
    }
}

/// Without the wide numbers of [`Duration::as_micros`]; what does not fit is the largest number.
fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

/// Where the kernel and plugins read the time.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The time now.
    fn now(&self) -> Time;
}

/// The operating system's clocks.
///
/// One reading costs one call: the wall clock is the monotonic one plus an offset that is
/// measured again when it is older than a second, so a jump of the wall clock shows within a second.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
    /// Wall minus monotonic time, in nanoseconds.
    offset_ns: AtomicI64,
    /// Monotonic milliseconds of the last measurement.
    measured_ms: AtomicU64,
}

impl SystemClock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn new() -> Self {
        let start = std::time::Instant::now();
        let clock = Self { start, offset_ns: AtomicI64::new(0), measured_ms: AtomicU64::new(0) };
        clock.measure(Duration::ZERO);
        clock
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn measure(&self, mono: Duration) -> i64 {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let offset = i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX)
            - i64::try_from(mono.as_nanos()).unwrap_or(0);
        self.offset_ns.store(offset, Ordering::Relaxed);
        self.measured_ms.store(millis(mono), Ordering::Relaxed);
        offset
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let mono = self.start.elapsed();
        let stale = millis(mono).saturating_sub(self.measured_ms.load(Ordering::Relaxed)) > 1000;
        let offset =
            if stale { self.measure(mono) } else { self.offset_ns.load(Ordering::Relaxed) };
        let wall_ns = i64::try_from(mono.as_nanos()).unwrap_or(0).saturating_add(offset);
        Time { mono, wall: Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0)) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
