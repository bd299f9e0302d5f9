//! What does a message cost as the host grows: with 1 to 200 plugins, in one session?

use std::fmt::Write as _;

use benches::{Requests, Server, run_role};
use criterion::{BenchmarkId, Criterion, Throughput};

const COUNT: usize = 2_000;

fn main() {
    run_role();
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("route");
    group.throughput(Throughput::Elements(COUNT as u64));
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    for plugins in [1, 20, 200] {
        let mut config = String::from("plugins:\n");
        for number in 0..plugins {
            // The one with the tool is asked first; a memory plugin handles none of its types.
            let (kind, cls, priority) = match number {
                0 => ("tools", "a2e.caps.demo.plugin.DemoToolPlugin", 10),
                _ => ("memory", "a2e.caps.memory.plugin.MemoryPlugin", 0),
            };
            let entry = format!(
                "  - {{name: p{number}, type: {kind}, cls: {cls}, metadata: {{priority: {priority}}}}}\n"
            );
            // Writing to a string cannot fail.
            let _written = config.write_str(&entry);
        }
        let file = folder.path().join(format!("{plugins}.yaml"));
        std::fs::write(&file, config).unwrap_or_else(|error| panic!("{error}"));
        let file = file.display().to_string();
        let mut server = Server::over_pipe(&["__host", "serve", "--stdio", "-c", &file]);
        let mut requests = Requests::echo(200);
        server.exchange(&mut requests, COUNT, 64);
        group.bench_function(BenchmarkId::new("plugins", plugins), |bencher| {
            bencher.iter(|| server.exchange(&mut requests, COUNT, 64));
        });
    }
    group.finish();
    criterion.final_summary();
}
