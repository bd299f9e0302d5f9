//! A plot of messages per second: horizontal bars, logarithmic, readable on light and dark ground.

use std::fmt::Write as _;

use super::Report;
use super::table::thousands;
use crate::measure::{MeasuredCell, Row};
use crate::servers::Kind;

const WIDTH: f64 = 860.0;
/// Where bars begin and end.
const LEFT: f64 = 230.0;
const RIGHT: f64 = 760.0;
const BAR: f64 = 18.0;
/// Height of a cell's name and scale.
const TITLE: f64 = 48.0;

/// Colours by kind of server; the text takes that of the ground.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.n{fill:#57606a}.raw{fill:#8c959f}.a2e{fill:#2da44e}.peer{fill:#0969da}.g{stroke:#8c959f;stroke-opacity:.35}.w{stroke:#24292f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#9198a1}.a2e{fill:#3fb950}.peer{fill:#4493f8}.w{stroke:#e6edf3}}";

pub fn plot(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 50.0;
    for cell in &report.cells {
        y = draw_cell(&mut body, cell, y);
    }
    let head = format!(
        "{} · {} · {} rounds, medians, whiskers are min and max",
        report.date, report.machine, report.rounds
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" role=\"img\">\n<title>Echo calls per second, A2E beside its peers</title>\n<style>{STYLE}</style>\n<text class=\"t\" x=\"10\" y=\"20\">Echo calls per second (logarithmic)</text>\n<text class=\"n\" x=\"10\" y=\"38\">{}</text>\n{body}</svg>\n",
        escape(&head)
    )
}

/// Draws one group of bars below `y`; gives where it ends.
fn draw_cell(body: &mut String, cell: &MeasuredCell, y: f64) -> f64 {
    let mut rows: Vec<&Row> = cell.rows.iter().collect();
    rows.sort_by(|a, b| b.rate().median.total_cmp(&a.rate().median));
    let rates = || rows.iter().map(|row| row.rate());
    let least = rates().map(|it| it.min).fold(f64::INFINITY, f64::min).max(1.0);
    let most = rates().map(|it| it.max).fold(1.0, f64::max);
    // Whole powers of ten on the left, so that bars of a cell can be compared by length.
    let (low, high) = (least.log10().floor(), most.log10() + 0.02);
    let place = |rate: f64| LEFT + (rate.max(1.0).log10() - low) / (high - low) * (RIGHT - LEFT);
    let bottom = y + TITLE + BAR * f64::from(u32::try_from(rows.len()).unwrap_or_default());
    // Writing to a string cannot fail; so below.
    let _written = writeln!(
        body,
        "<text class=\"t\" x=\"10\" y=\"{:.0}\">{}</text>",
        y + 22.0,
        escape(&cell.cell.name())
    );
    let mut power = low;
    while power <= high {
        let x = place(10_f64.powf(power));
        let _written = writeln!(
            body,
            "<line class=\"g\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{bottom:.0}\"/><text class=\"n\" x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            y + TITLE - 4.0,
            y + TITLE - 6.0,
            thousands(10_f64.powf(power))
        );
        power += 1.0;
    }
    let mut at = y + TITLE;
    for row in rows {
        let rate = row.rate();
        let (end, min, max) = (place(rate.median), place(rate.min), place(rate.max));
        let class = match row.entry.kind {
            Kind::Raw => "raw",
            Kind::A2e { .. } => "a2e",
            _ => "peer",
        };
        let (middle, base) = (at + BAR / 2.0, at + BAR - 5.0);
        let _written = writeln!(
            body,
            "<text x=\"{:.0}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/><line class=\"w\" x1=\"{min:.1}\" x2=\"{max:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/><text class=\"n\" x=\"{:.1}\" y=\"{base:.1}\">{}</text>",
            LEFT - 8.0,
            escape(row.entry.name),
            at + 2.0,
            (end - LEFT).max(1.0),
            BAR - 4.0,
            max.max(end) + 6.0,
            thousands(rate.median)
        );
        at += BAR;
    }
    bottom + 16.0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
