//! How long requests took: counts by time, without allocation after the start.

use std::time::Duration;

/// Steps within a doubling: a time is known to 1.6 %.
const STEPS: u64 = 64;

/// Doublings above `STEPS` nanoseconds; the last reaches past an hour.
const DOUBLINGS: u64 = 36;

/// Counts of times.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let places = usize::try_from(STEPS * (DOUBLINGS + 1)).unwrap_or_default();
        Self { counts: vec![0; places], total: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let place = usize::try_from(place_of(nanos)).unwrap_or(usize::MAX);
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(place.min(last)) {
            *count += 1;
            self.total += 1;
        }
    }

    /// The time in microseconds that this part of all stayed below; none without times.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts and times are far below 2^52"
    )]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let rank = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle_of(place as u64) as f64 / 1000.0)
    }
}

fn place_of(nanos: u64) -> u64 {
    if nanos < STEPS {
        return nanos;
    }
    let doubling = u64::from(nanos.ilog2() - STEPS.ilog2());
    STEPS * (doubling + 1) + ((nanos >> doubling) - STEPS)
}

fn middle_of(place: u64) -> u64 {
    if place < STEPS {
        return place;
    }
    let doubling = place / STEPS - 1;
    ((place % STEPS + STEPS) << doubling) + (1 << doubling) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_times_back_within_its_steps() {
        for micros in [0_u64, 1, 5, 40, 777, 12_345, 9_999_999] {
            let mut histogram = Histogram::default();
            (0..100).for_each(|_| histogram.add(Duration::from_micros(micros)));
            histogram.add(Duration::from_hours(2));
            let median = histogram.quantile(0.5).unwrap();
            let wanted = f64::from(u32::try_from(micros).unwrap());
            assert!((median - wanted).abs() <= wanted * 0.016, "{micros} us came back as {median}");
            assert!(histogram.quantile(1.0).unwrap() > 3.6e9);
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
