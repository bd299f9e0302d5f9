//! Sessions that are refused are told why (B10), and no session is an operator unasked (S1).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::{TestHost, TestSession};
use serde_json::json;

use super::next_of;
use crate::support::{Carrier, end, plugin, serves, stop, with};

/// The one line of a session that was refused.
async fn refused(session: &mut TestSession, code: &str, carrier: Carrier) {
    let line = next_of(session, &format!("{carrier:?}: a word")).await;
    assert_eq!((&line["type"], &line["code"]), (&json!("error"), &json!(code)), "{carrier:?}");
    assert_eq!((&line["req_id"], &line["retryable"]), (&json!(""), &json!(true)), "{line}");
    assert!(line["message"].as_str().is_some_and(|it| !it.is_empty()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_session_that_is_refused_gets_one_line() {
    for carrier in Carrier::ALL {
        let mut config = with([plugin("echo", "Echo")]);
        config.limits.max_sessions = 1;
        let host = TestHost::start(config).await;
        let mut first = host.session();
        serves(&mut first).await;
        let mut second = carrier.open(&host).await;
        refused(&mut second, "overloaded", carrier).await;
        assert!(second.next().await.is_none(), "{carrier:?}: and its end");
        // What the peer has sent already does not take the line back from it.
        let eager = carrier.connect(&host).await;
        let _may_be_closed = eager.sink.try_write(b"{\"type\":\"ping\",\"id\":\"p\"}\n");
        refused(&mut TestSession::over(eager), "overloaded", carrier).await;
        serves(&mut first).await;
        first.finish().await;
        host.until("room", |it| it.sessions == 0).await;
        let mut third = carrier.open(&host).await;
        serves(&mut third).await;
        third.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_session_that_comes_to_the_end_of_the_host_gets_one_line() {
    for carrier in Carrier::ALL {
        let host = TestHost::start(with([plugin("echo", "Echo")])).await;
        host.executor().shutdown(Duration::ZERO).await;
        let mut late = carrier.open(&host).await;
        refused(&mut late, "shutting_down", carrier).await;
        assert!(late.next().await.is_none(), "{carrier:?}: and its end");
        stop(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s01_a_session_within_the_process_is_no_operator() {
    let builder = Executor::builder(with([plugin("echo", "Echo")]))
        .snapshot_store(std::sync::Arc::new(MemoryStore::new()));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = TestSession::over(host.executor().connect());
    for handshake in [false, true] {
        if handshake {
            assert_eq!(session.handshake(&[]).await["ok"], true);
        }
        for (kind, body) in [
            ("host/status/req", json!({})),
            ("host/explain/req", json!({ "message_type": "ping" })),
            ("host/reload/req", json!({})),
            ("host/snapshot/req", json!({})),
        ] {
            let answer = session.call(kind, body).await;
            assert_eq!(answer["code"], "unauthorized", "{kind}: {answer}");
        }
    }
    serves(&mut session).await;
    session.finish().await;
    end(host).await;
}
