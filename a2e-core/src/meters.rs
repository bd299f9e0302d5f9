//! How many requests of each type ended how, and how long they waited and ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::audit::{AuditRecord, RecordOutcome};
use crate::protocol::host::{LATENCY_BOUNDS_US, LatencyStatus, TypeStatus};

/// Types that are told apart; a host has far fewer. Further ones are counted together.
const MOST: usize = 512;

/// The name under which further types are counted.
const OTHER: &str = "other";

/// One meter for each type that a plugin has handled.
#[derive(Debug, Default)]
pub(crate) struct Meters(DashMap<Box<str>, Arc<TypeMeter>>);

/// The requests of one type.
#[derive(Debug, Default)]
struct TypeMeter {
    outcomes: [AtomicU64; RecordOutcome::ALL.len()],
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    queue: Latency,
    run: Latency,
}

/// Durations, counted by size.
#[derive(Debug, Default)]
struct Latency {
    /// One for each of [`LATENCY_BOUNDS_US`], and one for what is longer.
    counts: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Meters {
    /// Counts a request that has ended, by its record.
    pub(crate) fn note(&self, record: &AuditRecord<'_>) {
        let meter = self.of(record.kind, record.plugin.is_some());
        let add = |counter: &AtomicU64, more: usize| {
            counter.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
        };
        if let Some(counter) = meter.outcomes.get(record.outcome as usize) {
            add(counter, 1);
        }
        add(&meter.input_bytes, record.input_bytes);
        add(&meter.output_bytes, record.output_bytes);
        meter.queue.note(record.started.since(record.accepted));
        meter.run.note(record.ended.since(record.started));
    }

    /// The meter of a type. What no plugin has handled may be any text that a client sends.
    fn of(&self, wire_type: &str, is_handled: bool) -> Arc<TypeMeter> {
        if let Some(found) = self.0.get(wire_type) {
            return Arc::clone(&found);
        }
        let is_own = is_handled && self.0.len() < MOST;
        let name = if is_own { wire_type } else { OTHER };
        Arc::clone(&self.0.entry(name.into()).or_default())
    }

    /// Every type that was handled, sorted.
    pub(crate) fn look(&self) -> Vec<TypeStatus> {
        let mut all: Vec<TypeStatus> =
            self.0.iter().map(|entry| entry.value().look(entry.key())).collect();
        all.sort_by(|left, right| left.message_type.cmp(&right.message_type));
        all
    }
}

impl TypeMeter {
    fn look(&self, wire_type: &str) -> TypeStatus {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let named = RecordOutcome::ALL.iter().zip(self.outcomes.iter().map(load));
        TypeStatus {
            message_type: wire_type.to_owned(),
            outcomes: named
                .filter(|(_, count)| *count > 0)
                .map(|(outcome, count)| (outcome.as_str().to_owned(), count))
                .collect(),
            input_bytes: load(&self.input_bytes),
            output_bytes: load(&self.output_bytes),
            queue: self.queue.look(),
            run: self.run.look(),
        }
    }
}

impl Latency {
    fn note(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn look(&self) -> LatencyStatus {
        let counts: Vec<u64> = self.counts.iter().map(|it| it.load(Ordering::Relaxed)).collect();
        LatencyStatus {
            p50_us: percentile(&counts, 50),
            p99_us: percentile(&counts, 99),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            counts,
        }
    }
}

/// The bound below which this share of all lies; of what is beyond the last bound, that bound.
fn percentile(counts: &[u64], percent: u64) -> u64 {
    let total: u64 = counts.iter().sum();
    let wanted = (total * percent).div_ceil(100);
    let mut sum = 0;
    let reached = |count: &u64| {
        sum += count;
        sum >= wanted
    };
    let place = counts.iter().position(reached).filter(|_| total > 0);
    place
        .and_then(|place| LATENCY_BOUNDS_US.get(place.min(LATENCY_BOUNDS_US.len() - 1)))
        .copied()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;

    #[test]
    fn durations_are_counted_by_size() {
        let latency = Latency::default();
        for us in [0, 50, 51, 1_000, 1_001, 400_000_000] {
            latency.note(Duration::from_micros(us));
        }
        let look = latency.look();
        assert_eq!((look.counts[0], look.counts[1]), (2, 1));
        assert_eq!((look.counts[4], look.counts[5]), (1, 1));
        assert_eq!(look.counts[LATENCY_BOUNDS_US.len()], 1);
        assert_eq!((look.p50_us, look.p99_us), (100, 300_000_000));
        assert_eq!(look.sum_us, 400_002_102);
        assert_eq!(percentile(&[0; 17], 99), 0);
    }

    #[test]
    fn r20_names_of_types_are_bounded() {
        let meters = Meters::default();
        let note = |kind: &str, plugin| {
            let at = AuditRecord::at(Time::default());
            meters.note(&AuditRecord { kind, plugin, input_bytes: 1, ..at });
        };
        (0..MOST + 10).for_each(|number| note(&format!("t{number}/req"), Some("p")));
        (0..10).for_each(|number| note(&format!("guess{number}"), None));
        let all = meters.look();
        let other = all.iter().find(|it| it.message_type == OTHER).unwrap();
        assert_eq!(all.len(), MOST + 1);
        assert_eq!((other.outcomes["ok"], other.input_bytes), (20, 20));
    }
}
