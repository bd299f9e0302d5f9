//! What does each door cost, without a pipe: inline, pool, blocking, future, over the memory transport?

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, PluginConfig};
use a2e_core::transport::Connection;
use benches::Requests;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::io::AsyncReadExt;

const COUNT: usize = 1_000;

/// Sends `COUNT` requests, at most `window` unanswered, and counts the answers.
async fn exchange(connection: &mut Connection, requests: &mut Requests, window: usize) {
    let mut block = vec![0; 64 * 1024];
    let (mut sent, mut answered) = (0, 0);
    while answered < COUNT {
        while sent < COUNT && sent - answered < window {
            // A window of small requests always fits into the transport.
            let request = requests.take(1);
            assert!(connection.sink.try_write(request).is_ok_and(|it| it == request.len()));
            sent += 1;
        }
        let read = connection.source.read(&mut block).await.unwrap_or(0);
        assert!(read > 0, "the host has ended");
        answered += memchr::memchr_iter(b'\n', block.get(..read).unwrap_or_default()).count();
    }
}

fn dispatch(criterion: &mut Criterion) {
    a2e_caps::link();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("a runtime: {error}"));
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(COUNT as u64)).sample_size(20);
    for run in ["inline", "pool", "blocking", "future"] {
        let plugin = PluginConfig::new("demo", "tools", "a2e.caps.demo.plugin.DemoToolPlugin")
            .with_setting("run", run);
        let started = runtime.block_on(Executor::builder(HostConfig::new().plugin(plugin)).start());
        let executor = started.unwrap_or_else(|error| panic!("a host: {error}"));
        let mut connection = runtime.block_on(async { executor.connect() });
        let mut requests = Requests::echo(200);
        for window in [1, 64] {
            group.bench_function(BenchmarkId::new(run, window), |bencher| {
                bencher.iter(|| runtime.block_on(exchange(&mut connection, &mut requests, window)));
            });
        }
        drop(connection);
        runtime.block_on(executor.shutdown(Duration::ZERO));
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
