//! W3C trace context: what a sender names goes to handlers, to those that they ask, and into the audit.

use a2e_core::testing::{TestHost, TestSession};
use serde_json::{Value, json};

use crate::support::{audited, counter, end, plugin, records, records_of, script, with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Asks `s` what it knows of the trace.
async fn asked(session: &mut TestSession, more: Value, act: &str) -> (String, Value) {
    let mut body = json!({ "acts": { "s": act } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = session.send("script/first/req", body).await;
    (id.clone(), session.reply_to(&id).await)
}

fn fields(trace: &Value) -> Vec<&str> {
    trace.as_str().unwrap_or_default().split('-').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_sees_its_own_place_in_the_trace_of_its_sender() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let host = TestHost::start(audited(with([script("s", "inline", "reply")]), &audit)).await;
    let mut session = host.session();
    let mut spans = Vec::new();
    for act in ["trace", "pool trace", "blocking trace", "future trace"] {
        let more = json!({ "traceparent": PARENT, "tracestate": "a=1,b=2" });
        let (id, reply) = asked(&mut session, more, act).await;
        let [version, trace, span, flags] = fields(&reply["trace"])[..] else { panic!("{reply}") };
        assert_eq!((version, trace, flags), ("00", TRACE, "01"), "{act}");
        assert_eq!(reply["state"], "a=1,b=2");
        assert!(reply.get("ignored").is_none(), "{reply}");
        spans.push(span.to_owned());
        let record = &records_of(&audit, &id)[0];
        assert_eq!((&record["trace_id"], &record["outcome"]), (&json!(TRACE), &json!("ok")));
    }
    spans.push("00f067aa0ba902b7".to_owned());
    spans.sort();
    spans.dedup();
    assert_eq!(spans.len(), 5, "each request has a place of its own: {spans:?}");
    let (id, reply) = asked(&mut session, json!({}), "trace").await;
    assert_eq!((&reply["trace"], &reply["state"]), (&Value::Null, &Value::Null));
    assert!(records_of(&audit, &id)[0].get("trace_id").is_none());
    session.finish().await;
    end(host).await;
    let report = a2e_core::audit::scan(&audit).unwrap();
    assert!(report.bad_lines.is_empty() && report.holes.is_empty(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_ignored_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let host = TestHost::start(audited(with([script("s", "inline", "reply")]), &audit)).await;
    let mut session = host.session();
    let long = "a=".to_owned() + &"x".repeat(1000);
    for (number, (more, has_trace, has_state)) in [
        (json!({ "traceparent": "00-x-y-01" }), false, false),
        (json!({ "traceparent": 5 }), false, false),
        (json!({ "traceparent": null }), false, false),
        (json!({ "traceparent": PARENT.to_uppercase() }), false, false),
        (json!({ "traceparent": PARENT.replace("00-", "ff-"), "tracestate": "a=1" }), false, false),
        (json!({ "traceparent": PARENT, "tracestate": "A" }), true, false),
        (json!({ "traceparent": PARENT, "tracestate": 5 }), true, false),
        (json!({ "traceparent": PARENT, "tracestate": long }), true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, reply) = asked(&mut session, more.clone(), "trace").await;
        assert_eq!(reply["type"], "script/resp", "{more}: {reply}");
        assert_eq!(reply["trace"].is_string(), has_trace, "{more}");
        assert_eq!(reply["state"].is_string(), has_state, "{more}");
        assert_eq!(records_of(&audit, &id)[0].get("trace_id").is_some(), has_trace, "{more}");
        assert_eq!(counter(&host, "traces_malformed"), 1 + number as u64, "{more}");
    }
    // Alone it says nothing.
    let (_, reply) = asked(&mut session, json!({ "tracestate": "a=1" }), "trace").await;
    assert_eq!((&reply["trace"], &reply["state"]), (&Value::Null, &Value::Null));
    assert_eq!(counter(&host, "traces_malformed"), 8);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_requests_are_below_the_one_that_led_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let config = with([plugin("caller", "Caller"), script("s", "pool", "trace")]);
    let host = TestHost::start(audited(config, &audit)).await;
    let mut session = host.session();
    let ask = |more: Value| {
        let mut body = json!({ "to": "plugin s", "wire_type": "script/first/req", "body": {} });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let more = json!({ "traceparent": PARENT, "tracestate": "a=1" });
    let reply = session.call("caller/ask/req", ask(more)).await["reply"].clone();
    assert_eq!(fields(&reply["trace"])[1], TRACE, "{reply}");
    assert_ne!(fields(&reply["trace"])[2], "00f067aa0ba902b7");
    assert_eq!(reply["state"], "a=1");
    let reply = session.call("caller/ask/req", ask(json!({}))).await["reply"].clone();
    assert_eq!(reply["trace"], Value::Null);
    session.finish().await;
    end(host).await;
    let traces: Vec<(String, bool)> = records(&audit)
        .into_iter()
        .map(|it| (it["type"].as_str().unwrap().to_owned(), it["trace_id"] == TRACE))
        .filter(|(kind, _)| kind.ends_with("/req"))
        .collect();
    let expected = [
        ("script/first/req", true),
        ("caller/ask/req", true),
        ("script/first/req", false),
        ("caller/ask/req", false),
    ];
    assert_eq!(traces, expected.map(|(kind, is_traced)| (kind.to_owned(), is_traced)));
}
