//! One value of a table: how it is shown, and what comes before what.

use std::cmp::Ordering;

/// Most characters of a text that are kept; names come from agents and may be of any length.
const TEXT_CHARS: usize = 120;

/// A value of a table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Text(String),
    Count(u64),
    /// For each second; `None` before there are two looks.
    Rate(Option<f64>),
    Micros(u64),
    Seconds(f64),
    Bytes(u64),
}

impl Cell {
    /// A text as a terminal may get it: one line without control characters, not endless.
    pub(super) fn text(text: &str) -> Self {
        let clean = |it: char| if it.is_control() { '?' } else { it };
        let mut kept: String = text.chars().take(TEXT_CHARS).map(clean).collect();
        if text.chars().nth(TEXT_CHARS).is_some() {
            kept.push('…');
        }
        Self::Text(kept)
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Count(count as u64)
    }

    pub(super) fn bytes(count: usize) -> Self {
        Self::Bytes(count as u64)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.to_string(),
            Self::Rate(None) => "-".to_owned(),
            Self::Rate(Some(rate)) => format!("{rate:.1}"),
            Self::Micros(us @ 0..1_000) => format!("{us}us"),
            Self::Micros(us @ 1_000..1_000_000) => format!("{:.1}ms", float(*us) / 1e3),
            Self::Micros(us) => format!("{:.1}s", float(*us) / 1e6),
            Self::Seconds(seconds) => span(*seconds),
            Self::Bytes(bytes @ 0..1_024) => format!("{bytes}B"),
            Self::Bytes(bytes @ 1_024..1_048_576) => format!("{:.1}K", float(*bytes) / 1024.0),
            Self::Bytes(bytes) => format!("{:.1}M", float(*bytes) / 1_048_576.0),
        }
    }

    /// Numbers by size, texts by their letters.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) => one.cmp(two),
            _ => self.number().total_cmp(&other.number()),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Text(_) | Self::Rate(None) => -1.0,
            Self::Count(number) | Self::Micros(number) | Self::Bytes(number) => float(*number),
            Self::Rate(Some(number)) | Self::Seconds(number) => *number,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "what is shown has four digits")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

fn span(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats stay in range; a negative span is shown as 0"
    )]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{:.1}s", seconds.max(0.0)),
        60..3_600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h{:02}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3_600 % 24),
    }
}
