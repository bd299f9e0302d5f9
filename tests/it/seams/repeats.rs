//! A request that is sent again after its end, because its answer may have been lost (R40).

use std::time::Duration;

use a2e_core::testing::TestHost;
use serde_json::json;

use super::{Http, line};
use crate::probe::Switch;
use crate::support::{clocked, counter, end, of, plugin, script, with};

/// Longer than answers are kept.
const KEEP: Duration = Duration::from_hours(1);

fn calls(host: &TestHost) -> u64 {
    of(&host.executor().status(), "echo").calls
}

async fn end_of(http: Http, host: TestHost) {
    http.front.end(Duration::ZERO);
    http.ended().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_a_repeat_gets_the_answer_and_does_not_run() {
    let (host, _clock) = clocked(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, KEEP);
    let doors = ["inline", "pool", "blocking", "future", "later_pool", "dynamic_future"];
    for (number, door) in doors.into_iter().enumerate() {
        let wire_type = format!("echo/{door}/req");
        let body = json!({ "text": door });
        let before = http.front.sent();
        http.post(&wire_type, door, body.clone()).await;
        let first = http.poll(before).await;
        http.post(&wire_type, door, body).await;
        let again = http.poll(before + 1).await;
        assert_eq!((first.len(), &again), (1, &first), "the same line comes again: {door}");
        assert_eq!(calls(&host), number as u64 + 1, "{door}");
        // A few bytes more under the same id are another request.
        http.post(&wire_type, door, json!({ "text": "other" })).await;
        let refused = &http.poll(before + 2).await[0];
        assert_eq!(
            (&refused["code"], &refused["req_id"]),
            (&json!("duplicate_request"), &json!(""))
        );
        assert_eq!(refused["detail"]["id"], door);
    }
    assert_eq!(counter(&host, "answered_again"), doors.len() as u64);
    assert_eq!(calls(&host), doors.len() as u64);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_errors_are_answers_and_a_repeat_in_flight_is_absorbed() {
    let config = with([script("s", "future", "hang"), script("e", "pool", "error tool_denied")]);
    let (host, _clock) = clocked(config).await;
    let switch = Switch::new();
    let http = Http::open(&host, KEEP);
    let body = json!({ "probe": switch.key() });
    for _ in 0..3 {
        http.post("script/first/req", "a", body.clone()).await;
    }
    switch.entered(1).await;
    assert_eq!((http.front.sent(), counter(&host, "repeated")), (0, 2));
    switch.open();
    let first = http.poll(0).await;
    http.post("script/first/req", "a", body).await;
    assert_eq!(http.poll(1).await, first);
    let denied = json!({ "acts": { "s": "pass x", "e": "error tool_denied" } });
    http.post("script/first/req", "b", denied.clone()).await;
    let error = http.poll(2).await;
    http.post("script/first/req", "b", denied).await;
    assert_eq!((&http.poll(3).await, error[0]["code"].as_str()), (&error, Some("tool_denied")));
    assert_eq!(switch.count(), 1);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_what_is_kept_of_answers_is_bounded() {
    let (host, clock) = clocked(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, KEEP);
    let post = async |id: &str, text: &str| {
        let before = http.front.sent();
        http.post("echo/inline/req", id, json!({ "text": text })).await;
        http.poll(before).await.remove(0)
    };
    // An answer that is too long is not kept, and its request does not run again.
    let long = "x".repeat(65 << 10);
    assert_eq!(post("long", &long).await["type"], "echo/resp");
    assert_eq!(post("long", &long).await["code"], "duplicate_request");
    let shorter = "x".repeat(63 << 10);
    let kept = post("shorter", &shorter).await;
    assert_eq!(post("shorter", &shorter).await, kept);
    let before = calls(&host);
    // Beyond 1,024 ids the oldest are forgotten.
    post("oldest", "").await;
    post("next", "").await;
    for number in 0..1023 {
        post(&number.to_string(), "").await;
    }
    post("next", "").await;
    assert_eq!(calls(&host), before + 1025, "`next` is known");
    post("oldest", "").await;
    assert_eq!(calls(&host), before + 1026, "`oldest` runs again");
    // Beyond 5 minutes all are.
    clock.advance(Duration::from_secs(299));
    post("1000", "").await;
    assert_eq!(calls(&host), before + 1026);
    clock.advance(Duration::from_secs(2));
    post("1000", "").await;
    assert_eq!(calls(&host), before + 1027);
    // Beyond a mebibyte the oldest are.
    let text = "x".repeat(60 << 10);
    for number in 0..20 {
        post(&format!("big{number}"), &text).await;
    }
    let before = calls(&host);
    post("big19", &text).await;
    assert_eq!(calls(&host), before);
    post("big0", &text).await;
    assert_eq!(calls(&host), before + 1);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r40_on_a_socket_an_id_is_free_after_the_answer() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    let text = String::from_utf8(line("echo/inline/req", "same", json!({ "text": "1" }))).unwrap();
    for _ in 0..2 {
        session.send_line(&text).await;
        assert_eq!(session.reply_to("same").await["text"], "1");
    }
    assert_eq!(calls(&host), 2);
    session.finish().await;
    end(host).await;
}
