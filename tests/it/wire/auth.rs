//! Tokens: what is served before a good one, and how fast wrong ones are answered (R27, R62).

use std::time::Duration;

use a2e_core::config::Secret;
use a2e_core::testing::TestHost;
use serde_json::json;

use crate::support::{audited, end, next, now, plugin, records, serves, silent, with};

const TOKEN: &str = "0123456789abcdef0123456789abcdef-canary";

async fn host() -> TestHost {
    let mut config = with([plugin("echo", "Echo")]);
    config.auth_token = Some(Secret::new(TOKEN));
    TestHost::start(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_before_a_good_handshake_all_but_ping_is_unauthorized() {
    let host = host().await;
    let mut session = host.session();
    serves(&mut session).await;
    for (kind, body) in [
        ("echo/inline/req", json!({})),
        ("echo/pool/req", json!({ "text": 5 })),
        ("nope", json!({})),
        ("pong", json!({})),
        ("cancel", json!({ "req_id": "x" })),
        ("shutdown", json!({})),
    ] {
        let id = session.send(kind, body).await;
        let answer = next(&mut session).await;
        assert_eq!(answer["code"], "unauthorized", "{kind}: {answer}");
        assert_eq!(answer["req_id"], json!(id));
        assert!(!answer.to_string().contains(TOKEN));
    }
    silent(&mut session).await;
    let reply =
        session.call("handshake/req", json!({ "auth_token": TOKEN, "agent_caps": ["test"] })).await;
    assert_eq!(reply["ok"], true, "{reply}");
    assert_eq!(reply["accepted_caps"].as_array().unwrap().len(), 1);
    assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    // Once good, a later wrong one changes nothing for the session.
    let wrong = session.call("handshake/req", json!({ "auth_token": "x" })).await;
    assert_eq!(wrong["ok"], false);
    assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_wrong_tokens_are_refused_and_audited() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let mut config = audited(with([plugin("echo", "Echo")]), &path);
    config.auth_token = Some(Secret::new(TOKEN));
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let wrong =
        ["", "x", &TOKEN[1..], &TOKEN.to_uppercase(), &format!("{TOKEN} "), &format!("{TOKEN}\0")];
    for token in wrong {
        let answer = session.call("handshake/req", json!({ "auth_token": token })).await;
        assert_eq!(answer["type"], "handshake/resp", "{token:?}");
        assert_eq!((&answer["ok"], &answer["reason"]), (&json!(false), &json!("auth_failed")));
        assert_eq!(answer["accepted_caps"], json!([]));
        assert_eq!(session.call_error("echo/inline/req", json!({})).await, "unauthorized");
    }
    session.finish().await;
    end(host).await;
    let refused: Vec<_> =
        records(&path).into_iter().filter(|it| it["type"] == "handshake/req").collect();
    assert_eq!(refused.len(), wrong.len());
    assert!(refused.iter().all(|it| it["outcome"] == "refused"), "{refused:?}");
    assert!(!std::fs::read_to_string(&path).unwrap().contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_one_session_s_token_does_not_open_another() {
    let host = host().await;
    let (mut good, mut other) = (host.session(), host.session());
    let reply = good.call("handshake/req", json!({ "auth_token": TOKEN })).await;
    assert_eq!(reply["ok"], true);
    assert_eq!(other.call_error("echo/inline/req", json!({})).await, "unauthorized");
    // R64: nor does its id.
    let stolen = json!({ "auth_token": reply["session_id"] });
    assert_eq!(other.call("handshake/req", stolen).await["ok"], false);
    good.finish().await;
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_wrong_tokens_are_answered_ten_a_second_and_hold_up_nothing() {
    let host = host().await;
    let mut session = host.session();
    let start = now();
    let wrong: String =
        (0..6).map(|it| format!("{{\"type\":\"handshake/req\",\"id\":\"w{it}\"}}\n")).collect();
    session.send_bytes(wrong.as_bytes()).await;
    // Pings and a good handshake go past the ones that wait.
    serves(&mut session).await;
    let good = session.call("handshake/req", json!({ "auth_token": TOKEN })).await;
    assert_eq!(good["ok"], true);
    assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    for id in 0..6 {
        let answer = session.reply_to(&format!("w{id}")).await;
        assert_eq!(answer["reason"], "auth_failed");
    }
    assert!(start.elapsed() >= Duration::from_millis(490), "{:?}", start.elapsed());
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_a_flood_of_wrong_tokens_ends_the_session() {
    let host = host().await;
    let mut session = host.session();
    let flood: String =
        (0..200).map(|it| format!("{{\"type\":\"handshake/req\",\"id\":\"w{it}\"}}\n")).collect();
    session.send_bytes(flood.as_bytes()).await;
    let start = now();
    while session.next().await.is_some() {}
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop(session);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_without_a_token_requests_are_served_at_once() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    assert_eq!(session.call("echo/inline/req", json!({ "text": "t" })).await["text"], "t");
    let reply = session.call("handshake/req", json!({ "auth_token": "whatever" })).await;
    assert_eq!(reply["ok"], true);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_an_agent_s_name_is_bounded() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    let mut name = "x".repeat(1025);
    let code = session.call_error("handshake/req", json!({ "agent_id": name })).await;
    assert_eq!(code, "schema_violation");
    name.pop();
    assert_eq!(session.call("handshake/req", json!({ "agent_id": name })).await["ok"], true);
    session.finish().await;
    end(host).await;
}
