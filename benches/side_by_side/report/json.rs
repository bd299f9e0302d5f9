//! All figures as JSON, the rounds one by one included.

use serde_json::{Value, json};

use super::Report;
use crate::measure::{MeasuredCell, cpu_per_message};

pub fn text(report: &Report) -> String {
    let figures = &report.figures;
    let starts = figures.starts.iter().map(
        |it| json!({ "server": it.name, "ms": it.millis.json(), "rss_kib": it.rss_kib.json() }),
    );
    let idle = figures.idle.iter().map(|it| {
        json!({ "server": it.name, "connections": it.connections, "bytes_each": it.bytes_each })
    });
    let growth = report.growth.iter().map(|grown| {
        let points = grown.points.iter().map(|it| {
            json!({
                "size": it.size, "us_per_message": it.cost.json(),
                "of_first": it.of_first.json(), "of_first_middle_half": it.of_first_half,
                "cpu_us_per_message": it.cpu,
            })
        });
        json!({ "what": grown.what, "points": points.collect::<Vec<_>>() })
    });
    let skipped = report.skipped.iter().map(|it| json!({ "server": it.name, "reason": it.reason }));
    let value = json!({
        "date": report.date,
        "machine": report.machine,
        "driver_processor": report.cores.driver,
        "server_processors": report.cores.servers,
        "is_core_shared": report.cores.is_shared(),
        "rounds": report.rounds,
        "slice_ms": u64::try_from(report.slice_ms).unwrap_or(u64::MAX),
        "cells": report.cells.iter().map(cell).collect::<Vec<_>>(),
        "starts": starts.collect::<Vec<_>>(),
        "a2e_bytes": figures.a2e_size,
        "idle": idle.collect::<Vec<_>>(),
        "growth": growth.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn cell(measured: &MeasuredCell) -> Value {
    let rows = measured.rows.iter().map(|row| {
        let rates: Vec<f64> = row.samples.iter().map(|it| it.rate).collect();
        json!({
            "server": row.entry.name,
            "messages_per_second": row.rate().json(),
            "rounds": rates,
            "of_limit": row.of_limit.json(),
            "a2e_inline_times": row.a2e_times.json(),
            "p50_us": row.time(0).json(),
            "p50_above_limit_us": row.above_limit.json(),
            "p99_us": row.time(1).json(),
            "p999_us": row.time(2).json(),
            "cpu_us_per_message": cpu_per_message(&row.samples),
            "rss_kib": row.samples.last().map(|it| it.rss_kib),
        })
    });
    json!({ "cell": measured.cell.name(), "limit": measured.limit, "rows": rows.collect::<Vec<_>>() })
}
