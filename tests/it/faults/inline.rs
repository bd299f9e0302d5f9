//! Readers that are held up: by a handler that never returns (B7), by an instance that starts slowly (B14).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::plugin::PluginScope;
use a2e_core::testing::TestHost;
use serde_json::json;

use super::{next_of, reply_of};
use crate::plugins::tally::{journal, release};
use crate::probe::Switch;
use crate::support::{Carrier, PATIENCE, end, plugin, script, tuned, with};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b07_a_session_that_hangs_inline_is_ended_for_plugins() {
    for carrier in Carrier::ALL.into_iter().filter(|it| *it != Carrier::Stdio) {
        let (book, switch) = (Switch::new(), Switch::new());
        let watcher = plugin("watcher", "Faulty").with_setting("probe", book.key());
        let host = TestHost::start(with([script("bad", "inline", "hang"), watcher])).await;
        let mut session = carrier.open(&host).await;
        let id = session.send("script/soon/req", json!({ "probe": switch.key() })).await;
        switch.entered(1).await;
        assert_eq!(reply_of(&mut session, &id, "a hang").await["code"], "timeout", "{carrier:?}");
        // The handler still hangs.
        tokio::time::timeout(PATIENCE, book.noted("session_ended"))
            .await
            .unwrap_or_else(|_| panic!("{carrier:?}: plugins were not told"));
        assert_eq!(host.executor().status().sessions, 0, "{carrier:?}");
        switch.open();
        drop(session);
        end(host).await;
        let told = book.journal().iter().filter(|it| *it == "session_ended").count();
        assert_eq!(told, 1, "{carrier:?}: they are told once");
    }
}

/// Lets an instance that starts slowly go on, also when the test fails.
struct Slow(String);

impl Slow {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(format!("slow-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        release(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b14_an_instance_that_starts_slowly_holds_up_no_reader() {
    for carrier in Carrier::ALL {
        let slow = Slow::new();
        let tally = plugin("tally", "Tally")
            .with_setting("journal", slow.0.as_str())
            .with_setting("fails_in", "own start")
            .with_setting("how", "hang");
        let tally = tuned(tally, |it| it.scope = Some(PluginScope::Session));
        let builder = Executor::builder(with([tally])).plugin_limit(Duration::from_mins(1));
        let host = TestHost::build(builder).await.unwrap();
        let mut session = carrier.open(&host).await;
        let first = session.send("tally/add/req", json!({ "add": 1 })).await;
        let starting = async {
            while !journal(&slow.0).iter().any(|it| it == "own start") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, starting).await.expect("the instance is being started");
        let asked = session.send("ping", json!({})).await;
        let pong = next_of(&mut session, &format!("{carrier:?}: a pong")).await;
        assert_eq!(
            (&pong["type"], &pong["req_id"]),
            (&json!("pong"), &json!(asked)),
            "{carrier:?}"
        );
        let second = session.send("tally/add/req", json!({ "add": 10 })).await;
        session.send("cancel", json!({ "req_id": first })).await;
        let cancelled = next_of(&mut session, &format!("{carrier:?}: a cancel")).await;
        assert_eq!(
            (&cancelled["code"], &cancelled["req_id"]),
            (&json!("cancelled"), &json!(first)),
            "{carrier:?}"
        );
        release(&slow.0);
        let reply = reply_of(&mut session, &second, "the other request").await;
        assert_eq!(reply["total"], 10, "{carrier:?}: what was cancelled was not done");
        session.finish().await;
        end(host).await;
    }
}
