//! The report: a table, JSON, a plot.

mod json;
mod svg;
mod table;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub use table::{show_cell, show_figures, show_growth, show_skipped};

use crate::cores::{self, Cores};
use crate::figures::Figures;
use crate::growth::Growth;
use crate::measure::{MeasuredCell, Skipped};
use crate::options::Options;

/// All that was measured.
#[derive(Debug)]
pub struct Report {
    /// Year, month, day.
    pub date: String,
    pub machine: String,
    pub cores: Cores,
    pub rounds: u32,
    pub slice_ms: u128,
    pub cells: Vec<MeasuredCell>,
    pub figures: Figures,
    pub growth: Vec<Growth>,
    pub skipped: Vec<Skipped>,
}

impl Report {
    pub fn new(options: &Options, cores: &Cores) -> Self {
        let report = Self {
            date: today(),
            machine: cores::machine(),
            cores: cores.clone(),
            rounds: options.rounds,
            slice_ms: options.slice().as_millis(),
            cells: Vec::new(),
            figures: Figures::default(),
            growth: Vec::new(),
            skipped: Vec::new(),
        };
        table::show_head(&report);
        report
    }

    /// Writes the files that are asked for.
    pub fn write(&self, options: &Options) -> Result<(), String> {
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        if let Some(path) = &options.json {
            write(path, json::text(self))?;
        }
        if let Some(path) = &options.svg {
            write(path, svg::plot(self))?;
        }
        Ok(())
    }
}

/// The date in UTC.
#[allow(clippy::disallowed_methods, reason = "a report says when it was made")]
fn today() -> String {
    let days = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs() / 86_400);
    // Days since 0000-03-01, in eras of 400 years (Howard Hinnant, "chrono-compatible low-level date
    // algorithms").
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
