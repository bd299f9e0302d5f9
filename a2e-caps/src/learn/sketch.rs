//! Quantiles of durations without keeping them: a sketch with a relative error of 1 %.
//!
//! It is `DDSketch` (Masson, Rim, Lee: `DDSketch`, a fast and fully-mergeable quantile sketch with relative-error
//! guarantees, VLDB 2019): value `x` counts in bin `ceil(log(x) / log(gamma))`, with `gamma = (1 + a) / (1 - a)`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The relative error.
const ERROR: f64 = 0.01;

/// Most bins: enough for 13 powers of ten. When there are more, the lowest two become one.
const MOST_BINS: usize = 1500;

/// Counts of values by their order of size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sketch(BTreeMap<i32, u64>);

fn log_gamma() -> f64 {
    ((1.0 + ERROR) / (1.0 - ERROR)).ln()
}

impl Sketch {
    /// Counts a value; what is below a thousandth counts as that.
    #[allow(clippy::cast_possible_truncation, reason = "a logarithm of an f64 is below 2^16")]
    pub(super) fn add(&mut self, value: f64) {
        let bin = (value.max(0.001).ln() / log_gamma()).ceil() as i32;
        *self.0.entry(bin).or_default() += 1;
        if self.0.len() > MOST_BINS
            && let Some((_, count)) = self.0.pop_first()
            && let Some(mut lowest) = self.0.first_entry()
        {
            *lowest.get_mut() += count;
        }
    }

    /// The value that this share of all does not exceed, within 1 %; 0 where there is none.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among counts"
    )]
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.0.values().sum();
        let rank = (share * total.saturating_sub(1) as f64).round() as u64;
        let mut seen = 0;
        for (bin, count) in &self.0 {
            seen += count;
            if seen > rank {
                let gamma = (1.0 + ERROR) / (1.0 - ERROR);
                return 2.0 * (f64::from(*bin) * log_gamma()).exp() / (gamma + 1.0);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_within_the_error() {
        let mut sketch = Sketch::default();
        assert!(sketch.quantile(0.95) < 1e-9);
        (1..=10_000).rev().for_each(|value| sketch.add(f64::from(value)));
        for (share, exact) in [(0.0, 1.0), (0.5, 5000.0), (0.95, 9500.0), (1.0, 10_000.0)] {
            let found = sketch.quantile(share);
            assert!((found - exact).abs() <= exact * 0.0101, "{share}: {found}");
        }
    }

    #[test]
    fn bins_are_bounded_and_the_high_end_stays_exact() {
        let mut sketch = Sketch::default();
        (0..5000).for_each(|place| sketch.add(1.02_f64.powi(place)));
        assert!(sketch.0.len() <= MOST_BINS);
        let exact = 1.02_f64.powi(4999);
        assert!((sketch.quantile(1.0) - exact).abs() <= exact * 0.0101);
        sketch.add(-5.0);
        sketch.add(0.0);
    }
}
