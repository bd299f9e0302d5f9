//! How close is the real program to a raw echo, over a pipe and a Unix socket, in one run?
//!
//! Every server is a process of its own; the faster raw echo of a transport is its limit.

use benches::{Requests, Server, demo_config, run_role};
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};

/// Requests in one measured exchange.
const COUNT: usize = 5_000;

fn main() {
    run_role();
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("a temporary folder: {error}"));
    let in_folder = |name: &str| folder.path().join(name);
    let config = |name: &str, run: &str, is_audited: bool| {
        let audit = is_audited.then(|| in_folder(&format!("{name}.audit")));
        let file = in_folder(&format!("{name}.yaml"));
        let written = std::fs::write(&file, demo_config(run, audit.as_deref()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        file.display().to_string()
    };
    for (size, window) in [(200, 64), (200, 1), (4096, 64), (65_536, 16)] {
        let mut group =
            criterion.benchmark_group(format!("end_to_end/{size} B/{window} in flight"));
        group.throughput(Throughput::Elements(COUNT as u64));
        let mut requests = Requests::echo(size);
        for echo in ["__echo_batches", "__echo_lines"] {
            measure(&mut group, "pipe", echo, || Server::over_pipe(&[echo]), &mut requests, window);
        }
        for (name, run, is_audited) in [
            ("a2e inline", "inline", true),
            ("a2e inline, audit off", "inline", false),
            ("a2e pool", "pool", true),
            ("a2e blocking", "blocking", true),
            ("a2e future", "future", true),
        ] {
            let file = config(&name.replace([' ', ','], "_"), run, is_audited);
            let host = || Server::over_pipe(&["__host", "serve", "--stdio", "-c", &file]);
            measure(&mut group, "pipe", name, host, &mut requests, window);
        }
        let path = in_folder(&format!("echo{size}{window}.sock"));
        let echo = || Server::over_unix(&["__echo_unix", &path.display().to_string()], &path);
        measure(&mut group, "unix", "__echo_unix", echo, &mut requests, window);
        let path = in_folder(&format!("a2e{size}{window}.sock"));
        let address = format!("unix://{}", path.display());
        let file = config("unix", "inline", true);
        let args = ["__host", "serve", "--listen", &address, "-c", &file];
        measure(
            &mut group,
            "unix",
            "a2e inline",
            || Server::over_unix(&args, &path),
            &mut requests,
            window,
        );
        group.finish();
    }
    criterion.final_summary();
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    transport: &str,
    name: &str,
    start: impl Fn() -> Server,
    requests: &mut Requests,
    window: usize,
) {
    // Started when it is measured, so that a filter starts nothing else.
    let mut server = None;
    group.bench_function(BenchmarkId::new(transport, name), |bencher| {
        let server = server.get_or_insert_with(|| {
            let mut server = start();
            server.exchange(requests, COUNT, window);
            server
        });
        bencher.iter(|| server.exchange(requests, COUNT, window));
    });
}
