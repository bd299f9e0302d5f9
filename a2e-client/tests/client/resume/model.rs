//! Random losses against a model: no answer is lost or doubled, no push either, nothing is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use a2e_client::{CallOptions, ClientError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::host::*;
use crate::support::*;

/// How one connection ends: after this number of bytes of the host's output, anywhere in a line.
type Cuts = Vec<usize>;

/// A host that answers each echo and pushes a notice with it, and whose connections end as planned.
struct Host {
    ring: Ring,
    pushed: u64,
    /// How often each text was asked for.
    asked: BTreeMap<String, u32>,
}

impl Host {
    /// Serves until the connection has carried `budget` bytes, or the client is gone.
    async fn serve(&mut self, peer: &mut Peer, mut budget: usize) {
        while let Some(request) = peer.next().await {
            let output = match request["type"].as_str().unwrap() {
                "handshake/req" => self.ring.greeting(&request),
                "ping" => self.ring.push(&json!({ "type": "pong", "req_id": request["id"] })),
                "test/echo/req" => self.echo(&request),
                _ => String::new(),
            };
            let sent = output.len().min(budget);
            peer.bytes(&output.as_bytes()[..sent]).await;
            budget -= sent;
            if budget == 0 {
                return;
            }
        }
    }

    fn echo(&mut self, request: &Value) -> String {
        let text = request["text"].as_str().unwrap().to_owned();
        *self.asked.entry(text).or_default() += 1;
        let push = self.ring.push(&notice(self.pushed));
        self.pushed += 1;
        push + &self.ring.push(&echoed(request))
    }
}

/// Runs calls through the losses; every promise is checked by assertion.
async fn run(cuts: Cuts, calls: usize) {
    let place = Place::unix();
    let seen = Seen::default();
    let host = Host { ring: Ring::new("s1"), pushed: 0, asked: BTreeMap::new() };
    let host = Arc::new(tokio::sync::Mutex::new(host));
    let address = place.address.clone();
    let serving = tokio::spawn({
        let host = Arc::clone(&host);
        async move {
            // The first connection must get through its handshake.
            let budgets = cuts.into_iter().map(|bytes| 400 + bytes).chain([usize::MAX]);
            for budget in budgets {
                let mut peer = place.accept().await;
                host.lock().await.serve(&mut peer, budget).await;
            }
        }
    });
    let policy = brisk().delays(Duration::from_micros(100), Duration::from_millis(1));
    let client = seen.by(agent().reconnect(policy)).connect_to(&address).await.unwrap();
    let outcomes: Arc<Mutex<BTreeMap<String, bool>>> = Arc::default();
    let tasks: Vec<_> = (0..calls)
        .map(|number| {
            let (client, outcomes) = (client.clone(), Arc::clone(&outcomes));
            tokio::spawn(async move {
                let mut options = CallOptions::within(Duration::from_secs(20));
                if number % 2 == 0 {
                    options = options.repeatable();
                }
                let text = number.to_string();
                let is_answered = match client.rpc_with(&echo(&text), options).await {
                    Ok(reply) => {
                        assert_eq!(reply.text, text);
                        true
                    }
                    Err(ClientError::Interrupted(_)) => false,
                    Err(error) => panic!("{number}: {error}"),
                };
                assert!(outcomes.lock().unwrap().insert(text, is_answered).is_none());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    nothing_is_left(&client);
    // The last connection brings what was pushed; a ping stands behind it.
    while let Err(error) = client.ping().await {
        assert!(matches!(error, ClientError::Interrupted(_)), "{error}");
    }
    let stats = client.stats();
    client.close().await;
    serving.abort();
    drop(serving.await);
    check(&*host.lock().await, &seen, &outcomes.lock().unwrap());
    assert_eq!((stats.bad_lines, stats.lines_lost), (0, 0), "{stats:?}");
}

fn check(host: &Host, seen: &Seen, outcomes: &BTreeMap<String, bool>) {
    assert!(seen.notices().into_iter().eq(0..host.pushed), "each push once, in order");
    for (text, is_answered) in outcomes {
        let asked = host.asked.get(text).copied().unwrap_or(0);
        let is_repeatable = text.parse::<usize>().unwrap() % 2 == 0;
        let most = if is_repeatable { 4 } else { 1 };
        assert!(asked <= most, "{text} was asked {asked} times");
        assert!(!is_answered || asked >= 1, "{text} was answered and never asked");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn r43_random_losses_lose_and_double_nothing(
        cuts in proptest::collection::vec(0_usize..1500, 0..12),
        calls in 1_usize..60,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(cuts, calls));
    }
}
