//! Whatever is not a good message gets one error, or none where that is the rule (R12 to R15).

use std::time::Duration;

use a2e_core::testing::TestHost;
use serde_json::{Value, json};

use crate::plugins::echo;
use crate::probe::Switch;
use crate::support::{end, next, now, plugin, script, serves, settled, silent, with};

async fn host() -> TestHost {
    TestHost::start(with([plugin("echo", "Echo"), script("script", "inline", "reply")])).await
}

/// Each line with the code and the `req_id` of its one error.
const BAD: &[(&str, &str, &str)] = &[
    // Not JSON, or no object: nothing in it can be trusted.
    ("x", "parse_error", ""),
    ("{", "parse_error", ""),
    ("[]", "parse_error", ""),
    (r#"["ping","x"]"#, "parse_error", ""),
    ("null", "parse_error", ""),
    ("5", "parse_error", ""),
    (r#""ping""#, "parse_error", ""),
    ("true", "parse_error", ""),
    (r#"{"type":"ping","id":"a"} x"#, "parse_error", ""),
    (r#"{"type":"ping","id":"a""#, "parse_error", ""),
    (r#"{"type":"nope","id":"a","x":nope}"#, "parse_error", ""),
    (r#"{"type":"ping","type":"ping","id":"a","x":}"#, "parse_error", ""),
    // No type that could be routed.
    ("{}", "invalid_message", ""),
    (r#"{"id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":null,"id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":5,"id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":["ping"],"id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":{"ping":1},"id":"a"}"#, "invalid_message", "a"),
    // Sent by hosts only.
    (r#"{"type":"pong","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"handshake/resp","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"invoke/event","id":"a","req_id":"b"}"#, "invalid_message", "a"),
    (r#"{"type":"echo/resp","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"any/thing/push","id":"a"}"#, "invalid_message", "a"),
    // Nobody's.
    (r#"{"type":"nope","id":"a"}"#, "unknown_type", "a"),
    (r#"{"type":"Ping","id":"a"}"#, "unknown_type", "a"),
    (r#"{"type":"ping ","id":"a"}"#, "unknown_type", "a"),
    (r#"{"type":"nope"}"#, "unknown_type", ""),
    // An id that is a number is answered under its text; one that is neither is not echoed.
    (r#"{"type":"ping","id":7}"#, "schema_violation", "7"),
    (r#"{"type":"ping","id":1.0e3}"#, "schema_violation", "1.0e3"),
    (r#"{"type":"nope","id":-0}"#, "schema_violation", "-0"),
    (r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#, "invalid_message", "1"),
    (r#"{"jsonrpc":"2.0","id":"a","method":"tools/list"}"#, "invalid_message", "a"),
    (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, "invalid_message", ""),
    (r#"{"type":"ping","id":null}"#, "schema_violation", ""),
    (r#"{"type":"ping","id":["a"]}"#, "schema_violation", ""),
    (r#"{"type":"nope","id":{}}"#, "schema_violation", ""),
    // Fields.
    (r#"{"type":"echo/inline/req","id":"a","text":5}"#, "schema_violation", "a"),
    (r#"{"type":"echo/inline/req","id":"a","text":null}"#, "schema_violation", "a"),
    (r#"{"type":"echo/pool/req","id":"a","text":[]}"#, "schema_violation", "a"),
    (r#"{"type":"echo/future/req","id":"a","text":{}}"#, "schema_violation", "a"),
    (r#"{"type":"echo/dynamic/req","id":"a","text":1}"#, "schema_violation", "a"),
    (r#"{"type":"caller/ask/req","id":"a"}"#, "unknown_type", "a"),
    (r#"{"type":"cancel","id":"a"}"#, "schema_violation", "a"),
    (r#"{"type":"cancel","id":"a","req_id":7}"#, "schema_violation", "a"),
    (r#"{"type":"shutdown","id":"a","timeout":"5"}"#, "schema_violation", "a"),
    (r#"{"type":"shutdown","id":"a","timeout":-1}"#, "schema_violation", "a"),
    (r#"{"type":"shutdown","id":"a","timeout":1.5}"#, "schema_violation", "a"),
    (r#"{"type":"handshake/req","id":"a","agent_caps":"tools"}"#, "schema_violation", "a"),
    (r#"{"type":"handshake/req","id":"a","agent_id":5}"#, "schema_violation", "a"),
    // Versions.
    (r#"{"type":"ping","id":"a","version":"2.0"}"#, "version_mismatch", "a"),
    (r#"{"type":"nope","id":"a","a2e":"0.1"}"#, "version_mismatch", "a"),
    (r#"{"type":"ping","id":"a","version":"1.0","a2e":"2"}"#, "version_mismatch", "a"),
    (r#"{"type":"ping","id":"a","version":""}"#, "version_mismatch", "a"),
    (r#"{"type":"ping","id":"a","version":1.0}"#, "schema_violation", "a"),
    (r#"{"type":"ping","id":"a","a2e":null}"#, "schema_violation", "a"),
    // R12: a key of the envelope stands twice, with escapes or not.
    (r#"{"type":"ping","type":"ping","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"ping","t\u0079pe":"nope","id":"a"}"#, "invalid_message", "a"),
    (r#"{"type":"ping","id":"a","id":"a"}"#, "invalid_message", ""),
    (r#"{"type":"ping","id":"a","\u0069d":"b"}"#, "invalid_message", ""),
    (r#"{"type":"cancel","id":"a","req_id":"b","req_id":"c"}"#, "invalid_message", "a"),
];

#[tokio::test(flavor = "multi_thread")]
async fn r12_r13_each_bad_line_gets_exactly_one_error() {
    let host = host().await;
    let mut session = host.session();
    for (line, code, req_id) in BAD {
        session.send_line(line).await;
        let answer = next(&mut session).await;
        assert_eq!(answer["type"], "error", "{line}: {answer}");
        assert_eq!(answer["code"], *code, "{line}: {answer}");
        assert_eq!(answer["req_id"], *req_id, "{line}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty(), "{line}: {answer}");
        silent(&mut session).await;
    }
    let refused = host.executor().status().counters["refused"];
    assert!(refused > 40, "{refused}");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_bad_lines_in_one_batch_are_answered_each() {
    let host = host().await;
    let mut session = host.session();
    let own_id = |text: &str, place: usize| text.replace("\"a\"", &format!("\"a{place}\""));
    let mut batch = String::new();
    let mut expected = Vec::new();
    for (place, (line, code, req_id)) in BAD.iter().enumerate() {
        batch.push_str(&own_id(line, place));
        batch.push('\n');
        let req_id = if *req_id == "a" { format!("a{place}") } else { (*req_id).to_owned() };
        expected.push(((*code).to_owned(), req_id));
    }
    session.send_bytes(batch.as_bytes()).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut got: Vec<(String, String)> =
        session.finish().await.iter().map(|it| (text(&it["code"]), text(&it["req_id"]))).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_errors_help() {
    let host = host().await;
    let mut session = host.session();
    for (line, part) in [
        (r#"{"type":"echo/inlin/req","id":"a"}"#, "echo/inline/req"),
        (r#"{"type":"ping","id":"a","version":"2.0"}"#, "1.0"),
        (r#"{"type":"pong","id":"a"}"#, "sent by hosts"),
        (r#"{"type":"echo/inline/req","id":"a","text":5}"#, "expected a string"),
        ("{\"type\":nope}", "byte 8"),
        (r#"{"type":"a","type":"b"}"#, "`type` stands twice"),
        (r#"{"type":"ping","id":7}"#, "this is A2E and not JSON-RPC"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, "MCP is not spoken here"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#, "a2e serve --help"),
    ] {
        session.send_line(line).await;
        let answer = next(&mut session).await;
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(part), "{line}: {message}");
    }
    session.send_line(r#"{"type":"echo/inline/req","id":"a","text":5}"#).await;
    let answer = next(&mut session).await;
    assert_eq!(answer["detail"]["errors"][0]["loc"], "text", "{answer}");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_handshake_of_another_version_is_answered_in_its_own_form() {
    let host = host().await;
    let mut session = host.session();
    for version in [r#""version":"2.0""#, r#""a2e":"0.9""#, r#""version":"1.0","a2e":"3""#] {
        session.send_line(&format!(r#"{{"type":"handshake/req","id":"h",{version}}}"#)).await;
        let answer = next(&mut session).await;
        assert_eq!(answer["type"], "handshake/resp", "{answer}");
        assert_eq!(answer["ok"], false);
        assert_eq!(answer["reason"], "version_mismatch");
        assert_eq!(answer["code"], "version_mismatch");
        assert_eq!(answer["req_id"], "h");
        assert_eq!(answer["accepted_caps"], json!([]));
        silent(&mut session).await;
    }
    for version in [r#""version":"1.7""#, r#""a2e":"1""#, r#""x":1"#] {
        session.send_line(&format!(r#"{{"type":"handshake/req","id":"h",{version}}}"#)).await;
        assert_eq!(next(&mut session).await["ok"], true, "{version}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_missing_id_is_made_up() {
    let host = host().await;
    let mut session = host.session();
    let mut seen = std::collections::BTreeSet::new();
    for kind in echo::TYPES {
        session.send_line(&format!(r#"{{"type":"{kind}","text":"t"}}"#)).await;
        let answer = next(&mut session).await;
        assert_eq!(answer["text"], "t", "{kind}: {answer}");
        let req_id = answer["req_id"].as_str().unwrap();
        assert_eq!(req_id.len(), 32, "{req_id}");
        assert!(req_id.bytes().all(|it| it.is_ascii_hexdigit()), "{req_id}");
        assert!(seen.insert(req_id.to_owned()), "each its own");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_odd_but_good_lines_are_served() {
    let host = host().await;
    let mut session = host.session();
    for (line, req_id) in [
        (r#"{"type":"ping","id":""}"#, ""),
        (r#"{"id":"\u0061\ud83d\ude00","type":"p\u0069ng"}"#, "a\u{1f600}"),
        (r#"{"type":"ping","id":"a","extra":{"type":"x","id":7},"ts":"later"}"#, "a"),
        ("{ \"type\" :\t\"ping\" , \"id\":\"a\"\r}", "a"),
        (r#"{"type":"ping","id":"a","version":"1.99","a2e":"1.0"}"#, "a"),
    ] {
        session.send_line(line).await;
        let answer = next(&mut session).await;
        assert_eq!(
            (&answer["type"], &answer["req_id"]),
            (&json!("pong"), &json!(req_id)),
            "{line}"
        );
        assert!(answer["uptime_seconds"].as_f64().unwrap() >= 0.0);
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_a_bad_line_under_the_id_of_a_call_in_flight_does_not_end_that_call() {
    let host =
        TestHost::start(with([plugin("echo", "Echo"), script("script", "pool", "hang")])).await;
    let switch = Switch::new();
    let mut session = host.session();
    let first = session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    for (rest, code) in [
        (r#""type":"nope""#, "unknown_type duplicate_request"),
        (r#""type":"pong""#, "invalid_message duplicate_request"),
        (r#""type":5"#, "invalid_message"),
        (r#""type":"script/all/req","version":"2.0""#, "version_mismatch"),
        (r#""type":"cancel","req_id":7"#, "schema_violation"),
        (r#""type":"script/all/req""#, "duplicate_request"),
        (r#""type":"echo/inline/req""#, "duplicate_request"),
        (r#""type":"script/all/req","id":"x""#, "invalid_message"),
    ] {
        session.send_line(&format!(r#"{{"id":"{first}",{rest}}}"#)).await;
        let answer = next(&mut session).await;
        assert!(code.contains(answer["code"].as_str().unwrap()), "{rest}: {answer}");
        assert_eq!(answer["req_id"], "", "{rest}: {answer}");
    }
    switch.open();
    assert_eq!(session.reply_to(&first).await["by"], "script");
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_an_error_from_a_peer_is_never_answered() {
    let host = host().await;
    let mut session = host.session();
    let errors = [
        r#"{"type":"error","id":"a","code":"x"}"#,
        r#"{"type":"error","req_id":"b"}"#,
        r#"{"type":"error","id":7}"#,
        r#"{"type":"error","id":"a","version":"9"}"#,
        r#"{"type":"error","id":"a","id":"b"}"#,
        r#"{"type":"error","code":7,"message":null}"#,
    ];
    for line in errors {
        session.send_line(line).await;
        silent(&mut session).await;
    }
    assert_eq!(host.executor().status().counters["peer_errors"], errors.len() as u64);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_all_output_is_strict_ascii_json_with_its_envelope() {
    let config = with([
        plugin("echo", "Echo"),
        script("script", "inline", "reply"),
        plugin("emitter", "Emitter"),
    ]);
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let text = "grüße \u{2028}\u{85}\u{1f600}\u{7f}\"\\/\n\r\t\u{8}\u{0}";
    for kind in echo::TYPES {
        // The session refuses, on each read, what is not ASCII JSON with a text under `type`.
        let reply =
            session.call(kind, json!({ "text": text, "data": { "ü\u{2029}": [text] } })).await;
        assert_eq!(reply["text"], text, "{kind}");
        assert_eq!(reply["data"]["ü\u{2029}"][0], text, "{kind}");
        envelope(&reply);
    }
    envelope(&session.call("nope\u{2028}é", json!({})).await);
    let id = session.send("emit/flood/req", json!({ "count": 3, "kind": "ü\u{2028}" })).await;
    envelope(&session.reply_to(&id).await);
    for event in session.others() {
        assert_eq!(event["kind"], "ü\u{2028}");
        envelope(&event);
    }
    session.send_line("{\"type\":\"é\u{2028}\"}").await;
    envelope(&next(&mut session).await);
    session.finish().await;
    end(host).await;
}

fn envelope(message: &Value) {
    assert_eq!(message["version"], "1.0", "{message}");
    assert_eq!(message["id"].as_str().map(str::len), Some(32), "{message}");
    assert!(message["ts"].as_f64().is_some_and(|ts| ts > 1.6e9), "{message}");
    assert!(message["req_id"].is_string(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_a_reply_without_a_form_on_the_wire_is_an_internal_error() {
    for run in ["inline", "pool", "blocking", "future"] {
        let host = TestHost::start(with([script("script", run, "nan")])).await;
        let mut session = host.session();
        let reply = session.call("script/all/req", json!({})).await;
        assert_eq!(reply["code"], "internal_error", "{run}: {reply}");
        assert_eq!(reply["capability_name"], "test");
        serves(&mut session).await;
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_type_of_a_megabyte_holds_nobody_up() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let (mut flooder, mut other) = (host.session(), host.session());
    let long = "x".repeat(1 << 20);
    for _ in 0..8 {
        flooder.send_line(&json!({ "type": long, "id": "1" }).to_string()).await;
    }
    let start = now();
    other.call("ping", json!({})).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    for _ in 0..8 {
        let error = next(&mut flooder).await;
        assert_eq!(error["code"], "unknown_type");
        assert!(error["message"].as_str().unwrap().len() < 200, "the type is not sent back");
    }
    flooder.finish().await;
    other.finish().await;
    end(host).await;
}
