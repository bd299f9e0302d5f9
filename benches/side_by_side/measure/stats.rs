//! What one exchange gave, and how several are summed up.

use std::time::Duration;

use serde_json::Value;

use crate::drive::Measured;

/// One exchange with one server.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Messages per second.
    pub rate: f64,
    /// Times in microseconds: p50, p99, p999.
    pub times: [f64; 3],
    pub replies: u64,
    pub cpu: Duration,
    pub rss_kib: u64,
}

impl Sample {
    /// Refuses an exchange in which a reply was wrong.
    pub fn of(measured: Measured) -> Result<Self, String> {
        if measured.wrong > 0 {
            let (wrong, all, reply) = (measured.wrong, measured.looked_at, measured.wrong_reply);
            return Err(format!("{wrong} of {all} replies looked at are wrong, as `{reply}`"));
        }
        let times = [0.5, 0.99, 0.999].map(|it| measured.times.quantile(it).unwrap_or(f64::NAN));
        let replies = measured.all_replies;
        Ok(Self { rate: measured.rate(), times, replies, ..Self::default() })
    }

    /// What the client of a peer says.
    pub fn from_client(said: &Value) -> Self {
        let number = |name: &str| said.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let replies = said.get("replies").and_then(Value::as_u64).unwrap_or_default();
        let times = ["p50", "p99", "p999"].map(number);
        Self { rate: number("rate"), times, replies, ..Self::default() }
    }
}

/// Between which values the middle half of these lies.
pub fn middle_half(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let quarter = values.len() / 4;
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    (at(quarter), at(values.len().saturating_sub(quarter + 1)))
}

/// Microseconds of processor time per message, over all rounds: the system counts in steps of 10 ms.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn cpu_per_message(samples: &[Sample]) -> f64 {
    let cpu: Duration = samples.iter().map(|sample| sample.cpu).sum();
    let replies: u64 = samples.iter().map(|sample| sample.replies).sum();
    cpu.as_secs_f64() * 1e6 / replies as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up() {
        let (low, high) = middle_half([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!([low, high].map(f64::to_bits), [3.0, 6.0].map(f64::to_bits));
    }
}
