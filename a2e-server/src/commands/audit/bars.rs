//! Histograms for a terminal.

use super::buckets::Buckets;

/// Characters of the longest bar.
const WIDTH: u64 = 40;

/// A duration for people: `840 us`, `12.5 ms`, `3.20 s`.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(super) fn span(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.2} s", micros as f64 / 1e6),
    }
}

/// A line for each range between powers of two, with a bar for its share.
pub(super) fn histogram(buckets: &Buckets, is_plain: bool) -> String {
    let ranges = buckets.doublings();
    let most = ranges.iter().map(|range| range.2).max().unwrap_or(0).max(1);
    let line = |(lower, upper, count): &(u64, u64, u64)| {
        format!(
            "    {:>8} - {:<8} {count:>9} {}\n",
            span(*lower),
            span(*upper),
            bar(*count, most, is_plain)
        )
    };
    ranges.iter().map(line).collect()
}

/// A bar to the eighth of a character; whatever is there can be seen.
fn bar(count: u64, most: u64, is_plain: bool) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if count == 0 {
        return String::new();
    }
    let share = u128::from(count) * u128::from(WIDTH) * 8 / u128::from(most.max(1));
    let eighths = usize::try_from(share).unwrap_or(0).max(1);
    if is_plain {
        return "#".repeat((eighths / 8).max(1));
    }
    let rest = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        for (count, is_plain, expected) in [
            (0, false, String::new()),
            (1, false, "▍".to_owned()),
            (1, true, "#".to_owned()),
            (100, false, "█".repeat(40)),
            (50, true, "#".repeat(20)),
            (51, false, format!("{}▍", "█".repeat(20))),
        ] {
            assert_eq!(bar(count, 100, is_plain), expected);
        }
        assert_eq!(bar(u64::MAX, u64::MAX, false).chars().count(), 40);
    }

    #[test]
    fn spans_are_short() {
        let spans = [0, 999, 1_000, 12_540, 999_999, 3_200_000].map(span);
        assert_eq!(spans, ["0 us", "999 us", "1.0 ms", "12.5 ms", "1000.0 ms", "3.20 s"]);
    }
}
