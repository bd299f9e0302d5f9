//! `host/*`: what an operator sees and steers, and which sessions are one.

use a2e_core::Executor;
use a2e_core::config::{HostConfig, Operators, Secret};
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::Peer;
use serde_json::{Value, json};

use crate::support::{audited, end, plugin, records, script, socket, tuned, with};

const TYPES: [&str; 4] =
    ["host/status/req", "host/explain/req", "host/reload/req", "host/snapshot/req"];

/// A session of another user of this machine.
fn stranger(host: &TestHost) -> TestSession {
    let (client, mut server) = a2e_core::transport::memory_pair();
    server.peer = Peer { uid: Some(4711), ..Peer::named("unix uid=4711") };
    host.executor().spawn(server);
    TestSession::over(client)
}

fn body(kind: &str) -> Value {
    if kind == "host/explain/req" { json!({ "message_type": "ping" }) } else { json!({}) }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_may_ask() {
    let token = "0123456789abcdef0123456789abcdef";
    let mut config = with([plugin("echo", "Echo")]);
    config.operator_token = Some(Secret::new(token));
    let builder = Executor::builder(config).snapshot_store(std::sync::Arc::new(MemoryStore::new()));
    let host = TestHost::build(builder).await.unwrap();
    let mut other = stranger(&host);
    for kind in TYPES {
        assert_eq!(other.call_error(kind, body(kind)).await, "unauthorized", "{kind}");
    }
    let wrong = json!({ "auth_token": "wrong" });
    assert_eq!(other.call("handshake/req", wrong).await["ok"], true, "no token is asked of agents");
    assert_eq!(other.call_error("host/status/req", json!({})).await, "unauthorized");
    other.call("handshake/req", json!({ "auth_token": token })).await;
    let (mut inside, mut same_user) = (host.session(), socket(&host));
    // Where there is a token, the user of the host alone is no operator (S4).
    for session in [&mut inside, &mut same_user] {
        for kind in TYPES {
            assert_eq!(session.call_error(kind, body(kind)).await, "unauthorized", "{kind}");
        }
    }
    let mut trusted = host.operator();
    for session in [&mut other, &mut trusted] {
        for kind in TYPES {
            let answer = session.call(kind, body(kind)).await;
            assert_eq!(answer["type"], kind.replace("/req", "/resp"), "{answer}");
        }
    }
    for session in [other, inside, same_user, trusted] {
        session.finish().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s04_operators_on_a_unix_socket_are_those_that_the_file_says() {
    let token = || Some(Secret::new("the token of operators"));
    for (operators, token, is_operator) in [
        (None, None, true),
        (None, token(), false),
        (Some(Operators::SameUid), token(), true),
        (Some(Operators::Token), None, false),
    ] {
        let mut config = with([plugin("echo", "Echo")]);
        config.operator_token = token;
        config.server.operators = operators;
        let host = TestHost::start(config).await;
        let mut session = socket(&host);
        let status = session.call("host/status/req", json!({})).await;
        assert_eq!(status["type"] == "host/status/resp", is_operator, "{operators:?}: {status}");
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r62_the_operator_token_opens_a_host_that_has_a_token() {
    let mut config = with([plugin("echo", "Echo")]);
    config.auth_token = Some(Secret::new("a token of agents"));
    config.operator_token = Some(Secret::new("the token of operators"));
    let host = TestHost::start(config).await;
    for (token, is_open, is_operator) in [
        ("a token of agents", true, false),
        ("the token of operators", true, true),
        ("neither", false, false),
    ] {
        let mut session = stranger(&host);
        let reply = session.call("handshake/req", json!({ "auth_token": token })).await;
        assert_eq!(reply["ok"], is_open, "{token}");
        let status = session.call("host/status/req", json!({})).await;
        assert_eq!(status["type"] == "host/status/resp", is_operator, "{token}: {status}");
        session.finish().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_an_operator_needs() {
    let off = tuned(plugin("off", "Echo"), |it| it.enabled = false);
    let bad = plugin("bad", "NoSuch");
    let host = TestHost::start(with([plugin("echo", "Echo"), off, bad])).await;
    let mut session = host.operator();
    let status = session.call("host/status/req", json!({})).await;
    assert_eq!((&status["generation"], &status["sessions"]), (&json!(1), &json!(1)));
    let shown = |name: &str| {
        let plugins = status["plugins"].as_array().unwrap();
        plugins.iter().find(|it| it["name"] == name).cloned().unwrap()
    };
    assert_eq!(shown("echo")["health"], "serving");
    assert_eq!(shown("echo")["breaker"], "closed");
    assert_eq!(shown("echo")["permits"]["pool"], 16);
    assert_eq!(
        (&shown("off")["health"], &shown("off")["reason"]),
        (&json!("disabled"), &json!("`enabled: false`"))
    );
    assert_eq!(shown("bad")["health"], "failed");
    assert!(shown("bad")["reason"].as_str().unwrap().contains("test.NoSuch"));
    for counter in ["refused", "overloaded", "stuck_runs", "hung_readers", "dropped_events"] {
        assert_eq!(status["counters"][counter], 0, "{counter}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_the_way_of_a_type() {
    let head = tuned(script("head", "inline", "reply"), |it| {
        (it.priority, it.exclusive, it.permits) = (Some(3), Some(true), Some(5));
    });
    let host =
        TestHost::start(with([script("other", "pool", "reply"), head, plugin("bad", "NoSuch")]))
            .await;
    let mut session = host.operator();
    let ask = async |session: &mut TestSession, kind: &str| {
        session.call("host/explain/req", json!({ "message_type": kind })).await
    };
    let told = ask(&mut session, "script/first/req").await;
    assert_eq!((&told["is_handled"], &told["fold"]), (&json!(true), &json!("first")));
    assert_eq!(told["reply_type"], "script/resp");
    assert_eq!(told["deadline"], "30 s");
    let handlers = told["handlers"].as_array().unwrap();
    assert_eq!(handlers.len(), 1, "the head is exclusive");
    assert_eq!((&handlers[0]["plugin"], &handlers[0]["run"]), (&json!("head"), &json!("inline")));
    assert_eq!(told["left_out"][0]["plugin"], "other");
    assert!(told["left_out"][0]["reason"].as_str().unwrap().contains("exclusive"));
    assert_eq!(told["not_loaded"][0]["plugin"], "bad");
    let told = ask(&mut session, "scrip/first/req").await;
    assert_eq!(told["is_handled"], false);
    assert_eq!(told["nearest"][0], "script/first/req");
    assert_eq!(ask(&mut session, "ping").await["is_core"], true);
    for bad in [json!({}), json!({ "message_type": 5 })] {
        assert_eq!(session.call_error("host/explain/req", bad).await, "schema_violation");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_reads_the_file_again_and_refuses_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a2e.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let echo = "  - {name: echo, type: test, cls: test.Echo}\n";
    write(&format!("plugins:\n{echo}"));
    let config = HostConfig::from_yaml(&file).unwrap().config;
    let host = TestHost::build(Executor::builder(config).config_file(&file)).await.unwrap();
    let mut session = host.operator();
    write(&format!("plugins:\n{echo}  - {{name: keeper, type: test, cls: test.Keeper}}\n"));
    let reply = session.call("host/reload/req", json!({})).await;
    assert_eq!((&reply["ok"], &reply["added"]), (&json!(true), &json!(["keeper"])), "{reply}");
    assert_eq!(reply["code"], json!(null));
    assert_eq!(session.call("keeper/add/req", json!({ "add": 2 })).await["total"], 2);
    // Ten mistakes at once: all are told, with their places, and nothing changes.
    let bad: String = (0..10).map(|n| format!("  - {{name: p{n}, type: 5, cls: []}}\n")).collect();
    write(&format!("plugins:\n{bad}"));
    let reply = session.call("host/reload/req", json!({})).await;
    assert_eq!((&reply["ok"], &reply["generation"]), (&json!(false), &json!(2)));
    assert_eq!(reply["code"], "schema_violation");
    let problems = reply["problems"].as_array().unwrap();
    assert!(problems.len() >= 10, "{problems:?}");
    let place = format!("{}:2:", file.display());
    assert!(problems[0]["message"].as_str().unwrap().starts_with(&place), "{problems:?}");
    assert_eq!(session.call("keeper/add/req", json!({})).await["total"], 2);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(session.call("host/reload/req", json!({})).await["ok"], false);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_at_once_are_served_in_turn() {
    let host = TestHost::start(with([plugin("keeper", "Keeper"), plugin("echo", "Echo")])).await;
    let (mut one, mut two) = (host.operator(), socket(&host));
    one.call("keeper/add/req", json!({ "add": 3 })).await;
    let mut generations = Vec::new();
    for _ in 0..5 {
        let body = json!({ "rebuild": ["*"] });
        let (first, second) = tokio::join!(
            one.call("host/reload/req", body.clone()),
            two.call("host/reload/req", body.clone())
        );
        for reply in [first, second] {
            assert_eq!(
                (&reply["ok"], &reply["rebuilt"]),
                (&json!(true), &json!(["keeper", "echo"]))
            );
            generations.push(reply["generation"].as_u64().unwrap());
        }
    }
    generations.sort_unstable();
    assert_eq!(generations, (2..12).collect::<Vec<u64>>(), "each saw the table that it made");
    assert_eq!(two.call("keeper/add/req", json!({})).await["total"], 3);
    one.finish().await;
    two.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_by_name_and_all_of_them() {
    let host = TestHost::start(with([plugin("keeper", "Keeper"), plugin("echo", "Echo")])).await;
    let mut session = host.operator();
    session.call("keeper/add/req", json!({ "add": 2 })).await;
    for (names, rebuilt) in
        [(json!(["keeper"]), json!(["keeper"])), (json!(["*"]), json!(["keeper", "echo"]))]
    {
        let reply = session.call("host/reload/req", json!({ "rebuild": names })).await;
        assert_eq!(reply["rebuilt"], rebuilt, "{reply}");
    }
    let reply = session.call("host/reload/req", json!({ "rebuild": ["nobody"] })).await;
    assert_eq!(reply["problems"][0]["plugin"], "nobody");
    // Without a file there is nothing to read again.
    let reply = session.call("host/reload/req", json!({})).await;
    assert!(
        reply["problems"][0]["message"].as_str().unwrap().contains("without a configuration file")
    );
    assert_eq!(session.call("keeper/add/req", json!({})).await["total"], 2);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_saves_now_and_says_what_failed() {
    let host = TestHost::start(with([plugin("keeper", "Keeper")])).await;
    let mut session = host.operator();
    let answer = session.call("host/snapshot/req", json!({})).await;
    assert_eq!(answer["code"], "runtime_error", "no store is configured: {answer}");
    session.finish().await;
    end(host).await;
    let faulty =
        plugin("bad", "Faulty").with_setting("fails_in", "save").with_setting("how", "error");
    let builder = Executor::builder(with([plugin("keeper", "Keeper"), faulty]))
        .snapshot_store(std::sync::Arc::new(MemoryStore::new()));
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.operator();
    let reply = session.call("host/snapshot/req", json!({})).await;
    assert_eq!(
        (&reply["saved"], &reply["failed"]),
        (&json!(1), &json!(["plugin `bad`: fails in save"]))
    );
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r55_what_operators_do_is_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(with([plugin("echo", "Echo")]), &path)).await;
    let (mut session, mut other) = (host.operator(), stranger(&host));
    session.call("host/reload/req", json!({ "rebuild": ["echo"] })).await;
    other.call("host/reload/req", json!({})).await;
    session.finish().await;
    other.finish().await;
    end(host).await;
    let seen: Vec<_> = records(&path)
        .iter()
        .map(|it| (it["type"].clone(), it["outcome"].clone(), it["error_code"].clone()))
        .collect();
    let kind = json!("host/reload/req");
    assert_eq!(
        seen,
        [(kind.clone(), json!("ok"), json!(null)), (kind, json!("refused"), json!("unauthorized"))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_status_is_answered_while_every_worker_hangs() {
    let switch = crate::probe::Switch::new();
    let host = TestHost::start(with([script("s", "pool", "hang")])).await;
    let mut session = host.operator();
    let held: Vec<String> = {
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(session.send("script/first/req", json!({ "probe": switch.key() })).await);
        }
        ids
    };
    switch.entered(16).await;
    let status = session.call("host/status/req", json!({})).await;
    assert_eq!(status["plugins"][0]["running"], 16);
    assert_eq!(status["plugins"][0]["queued"], 24);
    switch.open();
    for id in held {
        session.reply_to(&id).await;
    }
    session.finish().await;
    end(host).await;
}
