//! A front whose connections come and go: streams, numbers, detach, idle end, slow and dead readers.

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{AuditMode, AuditOnError};
use a2e_core::testing::TestHost;
use a2e_core::transport::{Identity, Peer};
use serde_json::{Value, json};

use super::Http;
use super::sink::{Collector, messages};
use crate::probe::Switch;
use crate::support::{
    PATIENCE, audited, clocked, counter, end, is_idle, plugin, script, stop, with,
};

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// How long a session is kept where a test waits for its end; a front looks four times in it.
const SHORT: Duration = Duration::from_millis(200);

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|it| it["req_id"].as_str().unwrap()).collect()
}

async fn end_of(http: Http, host: TestHost) {
    http.front.end(Duration::ZERO);
    http.ended().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_on_streams_one_after_the_other() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, LONG);
    let first = http.stream(0);
    let two = [
        super::line("echo/inline/req", "a", json!({ "text": "1" })),
        super::line("echo/future/req", "b", json!({ "text": "2" })),
    ];
    assert!(http.front.feed(&two.join(&b'\n')).await);
    let got = first.took(2).await;
    assert_eq!(ids(&got).len(), 2);
    http.front.detach();
    first.closed().await;
    http.post("echo/pool/req", "c", json!({ "text": "3" })).await;
    assert!(http.front.sent_beyond(2).await);
    assert_eq!((http.front.sent(), http.front.read_after(4).await), (3, None));
    let second = http.stream(2);
    http.post("ping", "d", json!({})).await;
    assert_eq!(ids(&second.took(2).await), ["c", "d"]);
    assert_eq!(first.messages().len(), 2, "a stream that was left gets nothing");
    assert_eq!(http.front.attach(Collector::open(), 99), None, "so many were never sent");
    http.post("ping", "e", json!({})).await;
    assert_eq!(second.took(3).await.len(), 3, "a refused stream changes nothing");
    let again = Http::open(&host, LONG);
    assert_ne!(again.front.session().id(), http.front.session().id());
    again.front.end(Duration::ZERO);
    again.ended().await;
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_is_a_line_like_others() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, LONG);
    let body = json!({ "agent_id": "web", "agent_caps": ["test"] });
    http.post("handshake/req", "h", body).await;
    http.post("ping", "p", json!({})).await;
    let got = http.poll(1).await;
    assert_eq!(ids(&got), ["p"], "the answer to the handshake has a number");
    let all = http.poll(0).await;
    assert_eq!((&all[0]["type"], all.len()), (&json!("handshake/resp"), 2), "{all:?}");
    assert_eq!(all[0]["session_id"], http.front.session().id().to_string());
    let stream = http.stream(0);
    assert_eq!(stream.took(2).await, all);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_left_in_the_middle_loses_and_doubles_nothing() {
    const EVENTS: usize = 300;
    let host = TestHost::start(with([plugin("emitter", "Emitter")])).await;
    for room in [1, 3_000, 20_000] {
        let http = Http::open(&host, LONG);
        let narrow = Collector::with_room(room);
        assert_eq!(http.front.attach(narrow.clone(), 0), Some(0));
        let body = json!({ "count": EVENTS, "kind": "artifact", "size": 100, "waits": true });
        http.post("emit/flood/req", "f", body).await;
        narrow.filled().await;
        http.front.detach();
        let mut got = narrow.messages();
        // The next stream is left in the middle, too.
        let second = Collector::with_room(room);
        assert_eq!(http.front.attach(second.clone(), got.len() as u64), Some(0));
        second.filled().await;
        http.front.detach();
        got.extend(second.messages());
        let rest = http.stream(got.len() as u64);
        got.extend(rest.took(EVENTS + 1 - got.len()).await);
        let seqs: Vec<u64> = got.iter().filter_map(|it| it["seq"].as_u64()).collect();
        assert_eq!(seqs, (0..EVENTS as u64).collect::<Vec<_>>(), "{room}");
        assert_eq!(got.len(), EVENTS + 1);
        assert_eq!(got[EVENTS]["queued"], EVENTS);
        assert_eq!(http.front.sent(), got.len() as u64);
        http.front.end(Duration::ZERO);
        http.ended().await;
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_bounded_and_a_gap_is_told() {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_resume_bytes = 0;
    config.limits.max_outbound_bytes = 8 << 10;
    let host = TestHost::start(config).await;
    let http = Http::open(&host, LONG);
    for number in 0..40 {
        let body = json!({ "text": "x".repeat(1000) });
        http.post("echo/inline/req", &number.to_string(), body).await;
        // What was read makes room, and is kept as far as it fits.
        http.front.read_after(number + 1).await;
    }
    let (lost, bytes) = http.front.read_after(0).await.unwrap();
    let kept = messages(&bytes);
    assert!(bytes.len() <= 16 << 10 && lost > 20, "{lost} lost, {} bytes", bytes.len());
    assert_eq!(lost + kept.len() as u64, 40);
    assert_eq!(ids(&kept)[0], lost.to_string());
    let (rest_lost, rest) = http.front.read_after(lost + 1).await.unwrap();
    assert_eq!((rest_lost, messages(&rest).as_slice()), (0, &kept[1..]));
    let stream = Collector::open();
    assert_eq!(http.front.attach(stream.clone(), 0), Some(lost));
    assert_eq!(stream.took(kept.len()).await, kept);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_takes_the_place_of_the_first() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, LONG);
    let first = http.stream(0);
    http.post("ping", "a", json!({})).await;
    first.took(1).await;
    let second = http.stream(1);
    first.closed().await;
    http.post("ping", "b", json!({})).await;
    assert_eq!(ids(&second.took(1).await), ["b"]);
    assert_eq!(ids(&first.messages()), ["a"]);
    assert!(!second.is_closed());
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_left_alone_for_as_long_as_it_is_kept() {
    let (host, clock) = clocked(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, SHORT);
    for _ in 0..3 {
        clock.advance(SHORT / 2);
        http.post("ping", "", json!({})).await;
        looked().await;
    }
    assert!(http.front.is_open(), "it is fed");
    for _ in 0..3 {
        clock.advance(SHORT / 2);
        http.front.read_after(0).await;
        looked().await;
    }
    assert!(http.front.is_open(), "it is read");
    clock.advance(SHORT);
    http.ended().await;
    assert!(!http.front.feed(b"{}").await, "it is over");
    assert_eq!(http.front.attach(Collector::open(), 0), None);
    end(host).await;
}

/// Time in which a front has looked at its session more than once.
async fn looked() {
    tokio::time::sleep(SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_session_is_kept_and_has_its_time_when_the_stream_is_lost() {
    let (host, clock) = clocked(with([script("s", "future", "hang")])).await;
    let switch = Switch::new();
    let http = Http::open(&host, SHORT);
    let stream = http.stream(0);
    http.post("script/never/req", "a", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    clock.advance(SHORT * 10);
    looked().await;
    assert!(http.front.is_open(), "it has a reader");
    stream.break_down();
    switch.open();
    stream.closed().await;
    looked().await;
    assert!(http.front.is_open(), "its time begins with the loss");
    clock.advance(SHORT);
    http.ended().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_session_is_kept_and_has_its_time_when_the_answer_is_there() {
    let (host, clock) = clocked(with([script("s", "future", "hang")])).await;
    let switch = Switch::new();
    let http = Http::open(&host, SHORT);
    http.post("script/never/req", "a", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    clock.advance(SHORT * 10);
    looked().await;
    switch.open();
    // Its answer waits to be read.
    host.until("an answer", |it| it.in_flight == 0 && it.unsent_bytes > 0).await;
    looked().await;
    assert!(http.front.is_open());
    assert_eq!(ids(&http.poll(0).await), ["a"]);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_slow_reader_holds_up_its_own_session_alone() {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_outbound_bytes = 16 << 10;
    let host = TestHost::start(config).await;
    let (http, other) = (Http::open(&host, LONG), Http::open(&host, LONG));
    let slow = Collector::with_room(100);
    assert_eq!(http.front.attach(slow.clone(), 0), Some(0));
    let front = http.front.clone();
    let mut feed = tokio::spawn(async move {
        for number in 0..100 {
            let body = json!({ "text": "x".repeat(1000) });
            let line = super::line("echo/inline/req", &number.to_string(), body);
            assert!(front.feed(&line).await);
        }
    });
    let held = tokio::time::timeout(Duration::from_millis(300), &mut feed).await;
    assert!(held.is_err(), "a front that feeds on waits");
    let unsent = host.executor().status().unsent_bytes;
    assert!(unsent < 20 << 10, "{unsent} bytes wait");
    other.post("ping", "p", json!({})).await;
    assert_eq!(other.poll(0).await.len(), 1, "others go on");
    slow.widen();
    let rest = tokio::time::timeout(PATIENCE, feed).await;
    rest.expect("a front goes on").unwrap();
    let got = slow.took(100).await;
    let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(ids(&got), expected);
    other.front.end(Duration::ZERO);
    other.ended().await;
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_left_and_the_session_goes_on() {
    let config = with([plugin("echo", "Echo")]);
    let builder = Executor::builder(config).stall_limit(Duration::from_millis(100));
    let host = TestHost::build(builder).await.unwrap();
    let http = Http::open(&host, LONG);
    let stalled = Collector::with_room(10);
    assert_eq!(http.front.attach(stalled.clone(), 0), Some(0));
    http.post("ping", "a", json!({})).await;
    stalled.closed().await;
    http.post("ping", "b", json!({})).await;
    assert_eq!(ids(&http.stream(0).took(2).await), ["a", "b"]);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_dies_is_left_and_the_session_goes_on() {
    let host = TestHost::start(with([plugin("echo", "Echo"), plugin("emitter", "Emitter")])).await;
    let http = Http::open(&host, LONG);
    let stream = http.stream(0);
    stream.break_down();
    let body = json!({ "count": 20, "kind": "artifact", "waits": true });
    http.post("emit/flood/req", "f", body).await;
    stream.closed().await;
    http.post("echo/future/req", "g", json!({})).await;
    let next = http.stream(0);
    let got = next.took(22).await;
    assert!(got.iter().any(|it| it["queued"] == 20), "{got:?}");
    assert_eq!(stream.messages(), [] as [Value; 0]);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_host_ends_kept_sessions_and_answers_what_runs() {
    let (host, _clock) = clocked(with([script("s", "future", "hang")])).await;
    let switch = Switch::new();
    let http = Http::open(&host, LONG);
    http.post("script/never/req", "a", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    tokio::time::timeout(PATIENCE, host.executor().shutdown(Duration::ZERO)).await.unwrap();
    assert!(!http.front.is_open());
    let (_, bytes) = http.front.read_after(0).await.unwrap();
    assert_eq!(messages(&bytes)[0]["code"], "shutting_down", "the last words can be read");
    let open = host.executor().open(Peer::default(), Identity::default(), LONG);
    assert_eq!(open.unwrap_err().code().as_str(), "shutting_down");
    switch.open();
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_session_is_ended() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, SHORT);
    http.post("ping", "a", json!({})).await;
    drop(http);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_session_ends_it() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, LONG);
    let stream = http.stream(0);
    http.front.feed(&super::line("shutdown", "s", json!({ "timeout": 1 }))).await;
    stream.closed().await;
    http.ended().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_an_answer_is_kept_for_the_next_stream_once_its_record_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = audited(with([plugin("echo", "Echo")]), &folder.path().join("audit"));
    config.audit.mode = AuditMode::Sync;
    config.audit.on_error = Some(AuditOnError::Refuse);
    let host = TestHost::start(config).await;
    let http = Http::open(&host, LONG);
    let stream = http.stream(0);
    http.post("echo/inline/req", "a", json!({ "text": "1" })).await;
    assert_eq!(ids(&stream.took(1).await), ["a"]);
    http.front.detach();
    http.post("echo/inline/req", "b", json!({ "text": "2" })).await;
    assert!(http.front.sent_beyond(1).await);
    let (lost, bytes) = http.front.read_after(1).await.unwrap();
    assert_eq!((lost, ids(&messages(&bytes))), (0, vec!["b"]));
    http.post("echo/inline/req", "c", json!({ "text": "3" })).await;
    assert_eq!(ids(&http.stream(1).took(2).await), ["b", "c"]);
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r53_an_answer_whose_record_is_lost_never_leaves() {
    // Everything that is written to this file fails as on a full disk.
    let path = std::path::Path::new("/dev/full");
    for is_attached in [true, false] {
        let mut config = audited(with([plugin("echo", "Echo")]), path);
        config.audit.mode = AuditMode::Write;
        config.audit.on_error = Some(AuditOnError::Refuse);
        let Ok(host) = TestHost::build(Executor::builder(config)).await else { return };
        let http = Http::open(&host, LONG);
        let stream = is_attached.then(|| http.stream(0));
        let line = super::line("echo/inline/req", "a", json!({ "text": "secret" }));
        // Without a stream the session may have ended by now.
        http.front.feed(&line).await;
        if let Some(stream) = stream {
            assert_eq!(stream.took(1).await[0]["code"], "audit_unavailable");
            http.front.detach();
            let again = http.front.read_after(0).await;
            assert!(again.is_none_or(|(_, bytes)| bytes.is_empty()), "not from the ring either");
        } else {
            http.ended().await;
            assert_eq!(http.front.read_after(0).await, None);
        }
        http.front.end(Duration::ZERO);
        http.ended().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_of_a_front_do_not_mix_their_lines() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let http = Http::open(&host, LONG);
    let stream = http.stream(0);
    let posts = (0..20).map(|number| {
        let front = http.front.clone();
        tokio::spawn(async move {
            let lines: Vec<Vec<u8>> = (0..10)
                .map(|line| {
                    let id = format!("{number}.{line}");
                    super::line("echo/inline/req", &id, json!({ "text": "y".repeat(300) }))
                })
                .collect();
            front.feed(&lines.join(&b'\n')).await
        })
    });
    for post in posts.collect::<Vec<_>>() {
        assert!(post.await.unwrap());
    }
    let got = stream.took(200).await;
    assert!(got.iter().all(|it| it["type"] == "echo/resp"), "{got:?}");
    let refused = counter(&host, "refused");
    assert_eq!(refused, 0);
    host.until("nothing in flight", is_idle).await;
    end_of(http, host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_message_is_answered_and_the_next_is_taken() {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_line_bytes = 4096;
    let host = TestHost::start(config).await;
    let http = Http::open(&host, LONG);
    let long = format!("{{\"type\":\"ping\",\"id\":\"{}\"}}", "x".repeat(5000));
    let lines = format!("[]\nno json\n\n{long}\n{{\"type\":\"ping\",\"id\":\"p\"}}\n");
    assert!(http.front.feed(lines.as_bytes()).await);
    let got = http.poll(3).await;
    assert_eq!(ids(&got), ["p"]);
    let codes: Vec<Value> = http.poll(0).await.iter().map(|it| it["code"].clone()).collect();
    assert_eq!(codes[2], "line_too_long", "{codes:?}");
    end_of(http, host).await;
}
