//! The tables on the terminal; they are Markdown, so that they can be pasted.

use super::Report;
use crate::figures::Figures;
use crate::growth::Growth;
use crate::measure::{MeasuredCell, Row, Spread, cpu_per_message};
use crate::servers::Kind;

pub fn show_head(report: &Report) {
    println!("{}, {}", report.date, report.machine);
    let shared = if report.cores.is_shared() { " (two threads of one core)" } else { "" };
    println!(
        "driver on processor {}, servers on {:?}{shared}; {} rounds of {} ms; median (min..max)",
        report.cores.driver, report.cores.servers, report.rounds, report.slice_ms
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
}

pub fn show_cell(measured: &MeasuredCell) {
    println!("\n### {}\n", measured.cell.name());
    println!(
        "| server | messages/s | of the limit | a2e inline is | p50 us | above the limit | p99 us | p999 us | CPU us/msg | RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for row in &measured.rows {
        show_row(row, measured.limit);
    }
}

fn show_row(row: &Row, limit: &str) {
    let rate = row.rate();
    let mark = if row.entry.name == limit { " (limit)" } else { "" };
    let times = [0, 1, 2].map(|which| micros(row.time(which).median));
    let rss = row.samples.last().map_or(0, |sample| sample.rss_kib);
    let a2e = match row.entry.kind {
        Kind::Raw | Kind::A2e { .. } => String::new(),
        _ => format!("{} x", number(row.a2e_times.median)),
    };
    println!(
        "| {}{mark} | {} ({}..{}) | {} | {a2e} | {} | {} | {} | {} | {} | {}.{} |",
        row.entry.name,
        thousands(rate.median),
        thousands(rate.min),
        thousands(rate.max),
        ratio(row.of_limit),
        times[0],
        micros(row.above_limit.median),
        times[1],
        times[2],
        micros(cpu_per_message(&row.samples)),
        rss / 1024,
        rss % 1024 * 10 / 1024,
    );
}

pub fn show_figures(figures: &Figures) {
    println!("\n### At rest\n");
    println!("| server | start to first reply, ms | RSS after it, MiB |");
    println!("|---|---|---|");
    for start in &figures.starts {
        let millis = start.millis;
        println!(
            "| {} | {:.1} ({:.1}..{:.1}) | {:.1} |",
            start.name,
            millis.median,
            millis.min,
            millis.max,
            start.rss_kib.median / 1024.0
        );
    }
    println!(
        "\nThe program `a2e`, stripped: {}.{:02} MB.",
        figures.a2e_size / 1_000_000,
        figures.a2e_size % 1_000_000 / 10_000
    );
    println!("\n| idle connections | number | bytes each |");
    println!("|---|---|---|");
    for idle in &figures.idle {
        println!("| {} | {} | {:.0} |", idle.name, idle.connections, idle.bytes_each);
    }
}

pub fn show_growth(growth: &[Growth]) {
    println!("\n### Growth\n");
    println!("| what | size | us/msg | of the first | middle half | CPU us/msg |");
    println!("|---|---|---|---|---|---|");
    for grown in growth {
        for point in &grown.points {
            println!(
                "| {} | {} | {} | {} | {}..{} | {} |",
                grown.what,
                point.size,
                micros(point.cost.median),
                ratio(point.of_first),
                number(point.of_first_half.0),
                number(point.of_first_half.1),
                micros(point.cpu)
            );
        }
    }
}

pub fn show_skipped(report: &Report) {
    if !report.skipped.is_empty() {
        println!("\nNot measured:");
    }
    for skipped in &report.skipped {
        println!("- {}: {}", skipped.name, skipped.reason);
    }
}

fn ratio(value: Spread) -> String {
    if value.median.is_nan() {
        return String::new();
    }
    format!("{} ({}..{})", number(value.median), number(value.min), number(value.max))
}

/// Three digits that count, or as many as stand before the point.
fn number(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "-".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn micros(value: f64) -> String {
    if value.is_nan() {
        "-".to_owned()
    } else if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// A whole number with commas.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
