//! Several values summed up.

use serde_json::{Value, json};

/// Median with least and greatest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let is_even = values.len().is_multiple_of(2) && !values.is_empty();
        let median = if is_even { f64::midpoint(at(middle - 1), at(middle)) } else { at(middle) };
        Self { median, min: at(0), max: at(values.len().saturating_sub(1)) }
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_middle_and_the_ends() {
        for (values, expected) in [
            (vec![3.0, 1.0, 2.0], [2.0, 1.0, 3.0]),
            (vec![4.0, 1.0, 2.0, 3.0], [2.5, 1.0, 4.0]),
            (vec![f64::NAN, 7.0], [7.0, 7.0, 7.0]),
        ] {
            let spread = Spread::of(values);
            assert_eq!(
                [spread.median, spread.min, spread.max].map(f64::to_bits),
                expected.map(f64::to_bits)
            );
        }
        assert!(Spread::of([]).median.is_nan());
    }
}
