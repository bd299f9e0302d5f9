//! What do the strict check, the typed decode and the encoder cost per line?

use std::hint::black_box;

use a2e_core::codec::{RawJson, encode_fields, scan::scan};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::json;

/// The shapes that agents send: small, medium, one long text, many small rows.
fn lines() -> Vec<(&'static str, Vec<u8>)> {
    let line = |body: serde_json::Value| {
        json!({ "type": "tool/call/req", "id": "0", "tool_name": "echo", "arguments": body })
            .to_string()
            .into_bytes()
    };
    let rows: Vec<_> = (0..1100)
        .map(|n| json!({ "id": n, "name": format!("row {n}"), "score": 0.5, "tags": ["a", "b"] }))
        .collect();
    vec![
        ("200 B", line(json!({ "text": "x".repeat(100) }))),
        ("4 KiB", line(json!({ "text": "x".repeat(4000) }))),
        ("64 KiB text", line(json!({ "text": "x".repeat(65_000) }))),
        ("64 KiB rows", line(json!({ "rows": rows }))),
    ]
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    for (name, line) in lines() {
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_with_input(BenchmarkId::new("check", name), &line, |bencher, line| {
            bencher.iter(|| scan(black_box(line)).is_ok());
        });
        group.bench_with_input(
            BenchmarkId::new("serde_json value", name),
            &line,
            |bencher, line| {
                bencher
                    .iter(|| serde_json::from_slice::<serde_json::Value>(black_box(line)).is_ok());
            },
        );
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
        let text = value.get("arguments").map(ToString::to_string).unwrap_or_default();
        let raw = RawJson::parse(text);
        let body = std::collections::BTreeMap::from([("data", raw.ok())]);
        group.bench_with_input(BenchmarkId::new("encode raw", name), &body, |bencher, body| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                encode_fields(black_box(body), &mut out).is_ok()
            });
        });
        let body = std::collections::BTreeMap::from([("data", value)]);
        group.bench_with_input(BenchmarkId::new("encode values", name), &body, |bencher, body| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                encode_fields(black_box(body), &mut out).is_ok()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
