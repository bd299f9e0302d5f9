//! How fast small calls are: `cargo test --release -p a2e-client rate -- --ignored --nocapture`.

use a2e_client::Client;

use crate::support::*;

const CALLS: u32 = 100_000;

async fn measure(what: &str, client: &Client) {
    for in_flight in [1, 16, 64, 256] {
        let started = now();
        let tasks = (0..in_flight).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let request = echo("0123456789012345678901234567890123456789");
                for _ in 0..CALLS / in_flight {
                    client.rpc(&request).await.unwrap();
                }
            })
        });
        for task in futures_util::future::join_all(tasks).await {
            task.unwrap();
        }
        let rate = f64::from(CALLS) / started.elapsed().as_secs_f64();
        #[allow(clippy::print_stderr, reason = "the result of a measurement")]
        {
            eprintln!("{what}, {in_flight} in flight: {rate:.0} calls/s");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn small_calls_in_memory() {
    let (host, client) = host().await;
    measure("memory", &client).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn small_calls_over_a_pipe_to_a_process() {
    let client = crate::process::start("normal").await;
    measure("process", &client).await;
    client.close().await;
}
