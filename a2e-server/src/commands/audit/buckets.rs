//! Counts of durations in buckets of constant relative width: percentiles in bounded memory.

/// Buckets per doubling: a value is told to within 1/32.
const STEPS: u64 = 32;

/// Durations in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Buckets {
    pub(super) fn add(&mut self, micros: u64) {
        let index = index(micros);
        if self.counts.len() <= index {
            // At most 1,920: there are 64 doublings.
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(micros);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// The least value that `wanted` per mille do not exceed; up to 3 % too high, 0 when empty.
    pub(super) fn per_mille(&self, wanted: u64) -> u64 {
        let rank = (self.count * wanted).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return top(index).min(self.max);
            }
        }
        self.max
    }

    /// How many values lie in each range between powers of two, as (lower, upper, count), from the first
    /// range with any to the last.
    pub(super) fn doublings(&self) -> Vec<(u64, u64, u64)> {
        let mut ranges: Vec<(u64, u64, u64)> = Vec::new();
        for (at, count) in self.counts.iter().enumerate() {
            let value = top(at);
            let upper = value.checked_next_power_of_two().map_or(u64::MAX, |power| {
                if power == value { power.saturating_mul(2) } else { power }
            });
            let upper = upper.max(1);
            match ranges.last_mut() {
                Some(last) if last.1 == upper => last.2 += count,
                last => {
                    let lower = last.map_or(0, |last| last.1);
                    ranges.push((lower, upper, *count));
                }
            }
        }
        let first = ranges.iter().position(|range| range.2 > 0).unwrap_or(ranges.len());
        ranges.split_off(first)
    }
}

fn index(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - STEPS.ilog2();
    let index = u64::from(shift + 1) * STEPS + (micros >> shift) - STEPS;
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The highest value of a bucket.
fn top(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let step = index % STEPS + STEPS;
    ((step + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_at_most_a_thirty_second_below_the_top_of_its_bucket() {
        let mut value = 0_u64;
        while value < u64::MAX / 3 {
            let top = top(index(value));
            assert!(top >= value && top - value <= value / 32, "{value} {top}");
            value = value + value / 7 + 1;
        }
        assert_eq!(top(index(u64::MAX)), u64::MAX);
    }

    #[test]
    fn percentiles_and_ranges_are_those_of_the_values() {
        let mut buckets = Buckets::default();
        assert_eq!((buckets.per_mille(500), buckets.doublings()), (0, Vec::new()));
        (1..=1000).for_each(|value| buckets.add(value));
        for (wanted, exact) in [(500, 500_u64), (900, 900), (990, 990)] {
            let found = buckets.per_mille(wanted);
            assert!(found >= exact && found - exact <= exact / 32, "{wanted}: {found}");
        }
        assert_eq!(buckets.per_mille(1000), 1000);
        let ranges = buckets.doublings();
        assert_eq!(ranges.first(), Some(&(1, 2, 1)));
        assert_eq!(ranges.last(), Some(&(512, 1024, 489)));
        assert_eq!(ranges.iter().map(|range| range.2).sum::<u64>(), 1000);
        let mut both = buckets.clone();
        both.merge(&buckets);
        both.add(70_000);
        assert_eq!((both.max(), both.per_mille(500)), (70_000, buckets.per_mille(500)));
    }
}
