//! What does each mode of the audit cost? Side by side in one run: 200 B, 64 in flight, inline, a pipe.
//!
//! `A2E_BENCH_DIR` names the folder of the audit files; a disk there shows what `sync` costs, a temporary
//! folder in memory hides it.

use benches::{Requests, Server, audited_config, run_role};
use criterion::{BenchmarkId, Criterion, Throughput};

/// Requests in one measured exchange.
const COUNT: usize = 5_000;

/// Requests in flight.
const WINDOW: usize = 64;

fn main() {
    run_role();
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let parent = std::env::var_os("A2E_BENCH_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let folder = tempfile::tempdir_in(parent);
    let folder = folder.unwrap_or_else(|error| panic!("a folder for the audit: {error}"));
    let mut group = criterion.benchmark_group("audit_modes/200 B/64 in flight");
    group.throughput(Throughput::Elements(COUNT as u64));
    let mut requests = Requests::echo(200);
    for mode in ["off", "buffered", "write", "sync"] {
        let file = folder.path().join(format!("{mode}.yaml"));
        let config = audited_config("inline", mode, &folder.path().join(format!("{mode}.audit")));
        let written = std::fs::write(&file, config);
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let file = file.display().to_string();
        // Started when it is measured, so that a filter starts nothing else.
        let mut server = None;
        group.bench_function(BenchmarkId::from_parameter(mode), |bencher| {
            let server = server.get_or_insert_with(|| {
                let mut server = Server::over_pipe(&["__host", "serve", "--stdio", "-c", &file]);
                server.exchange(&mut requests, COUNT, WINDOW);
                server
            });
            bencher.iter(|| server.exchange(&mut requests, COUNT, WINDOW));
        });
    }
    group.finish();
    criterion.final_summary();
}
