//! The handshake: what it carries, and every way in which it fails.

use std::time::Duration;

use a2e_client::{Client, ClientError, Closed, Options};
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::memory_pair;
use serde_json::json;

use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_knows_what_it_may_use() {
    let host = TestHost::start(config()).await;
    for (options, expected) in [
        (Options::default(), vec!["test"]),
        (Options::new("a").capabilities(["test", "unheard-of"]), vec!["test"]),
        (Options::new("a").capabilities(["streaming"]), vec![]),
    ] {
        let client = Client::connect(host.executor().connect(), options).await.unwrap();
        let session = client.session().unwrap();
        let accepted: Vec<_> =
            session.accepted_caps.iter().map(|it| it.capability.as_str()).collect();
        assert_eq!(accepted, expected);
        assert_eq!(session.session_id.len(), 32);
        client.close().await;
    }
    let options = Options::default().without_handshake();
    let client = Client::connect(host.executor().connect(), options).await.unwrap();
    assert!(client.session().is_none());
    assert_eq!(client.rpc(&echo("x")).await.unwrap().text, "x");
    host.stop().await;
}

#[tokio::test]
async fn a_handshake_names_agent_capabilities_and_token() {
    for (agent_id, length) in [("planner", 7), ("", 8)] {
        let (ours, theirs) = memory_pair();
        let mut peer = TestSession::over(theirs);
        let options = Options::new(agent_id).capabilities(["tools"]).auth_token("a secret");
        assert!(!format!("{options:?}").contains("secret"));
        let connecting = tokio::spawn(Client::connect(ours, options));
        let (request, id) = heard(&mut peer).await;
        assert_eq!(request["type"], "handshake/req");
        assert_eq!(request["agent_caps"], json!(["tools"]));
        assert_eq!(request["auth_token"], "a secret");
        assert_eq!(request["agent_id"].as_str().unwrap().len(), length);
        let response = json!({ "type": "handshake/resp", "req_id": id, "session_id": "s1" });
        peer.send_line(&response.to_string()).await;
        let client = connecting.await.unwrap().unwrap();
        let session = client.session().unwrap();
        assert_eq!((session.session_id.as_str(), session.max_parallel), ("s1", 4));
        nothing_is_left(&client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r62_a_wrong_token_is_refused() {
    let mut config = config();
    let token = "0123456789abcdef0123456789abcdef";
    config.auth_token = Some(a2e_core::config::Secret::new(token));
    let host = TestHost::start(config).await;
    for wrong in ["", "wrong"] {
        let options = Options::default().auth_token(wrong);
        let error = Client::connect(host.executor().connect(), options).await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Handshake { reason } if &**reason == "auth_failed"),
            "{error}"
        );
    }
    let options = Options::default().auth_token(token);
    let client = Client::connect(host.executor().connect(), options).await.unwrap();
    assert!(client.rpc(&echo("x")).await.is_ok());
    host.stop().await;
}

#[tokio::test]
async fn each_bad_answer_to_a_handshake_has_its_error() {
    for (answer, expected) in [
        (
            r#""type":"handshake/resp","ok":false,"reason":"version_mismatch""#,
            "the host refused the handshake: version_mismatch",
        ),
        (
            r#""type":"handshake/resp","ok":false"#,
            "the host refused the handshake: no reason given",
        ),
        (r#""type":"error","code":"shutting_down","message":"ending""#, "shutting_down: ending"),
        (
            r#""type":"pong""#,
            "the host broke the protocol: `pong` came where `handshake/resp` is due",
        ),
        (
            r#""type":"handshake/resp","session_id":5"#,
            "the host broke the protocol: `handshake/resp`: session_id: ",
        ),
    ] {
        let (ours, theirs) = memory_pair();
        let mut peer = TestSession::over(theirs);
        let connecting = tokio::spawn(Client::connect(ours, Options::default()));
        let (_, id) = heard(&mut peer).await;
        peer.send_line(&format!(r#"{{"req_id":"{id}",{answer}}}"#)).await;
        let error = connecting.await.unwrap().unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
        // The connection is let go of.
        assert!(peer.next().await.is_none());
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_left_in_time() {
    let (ours, theirs) = memory_pair();
    let options = Options::default().handshake_timeout(Duration::from_millis(50));
    let started = now();
    let error = Client::connect(ours, options).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Timeout { wire_type, .. } if &**wire_type == "handshake/req")
    );
    assert!(started.elapsed() < Duration::from_secs(1));
    drop(theirs);

    let (ours, theirs) = memory_pair();
    drop(theirs);
    let error = Client::connect(ours, Options::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed(Closed::Ended | Closed::Lost(_))), "{error}");
}
