//! Sessions over POST and server-sent events: order, numbers, streams that come back, ends.

use std::time::Duration;

use serde_json::{Value, json};

use super::host;
use super::raw::Event;
use crate::process::support::program::{PATIENCE, Place, now, until};

fn req_ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.message["req_id"].as_str().unwrap()).collect()
}

fn tool(name: &str, arguments: Value) -> Value {
    json!({ "tool_name": name, "arguments": arguments, "streaming": true })
}

#[test]
fn messages_are_kept_in_order_before_and_between_streams() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    for id in ["a", "b"] {
        let reply = site.send(&session, "ping", id, json!({}));
        assert_eq!((reply.status, reply.json()), (200, json!({ "ok": true })));
    }
    let mut stream = site.stream(&session, None);
    let head = stream.head.to_lowercase();
    for line in
        ["content-type: text/event-stream", "cache-control: no-cache", "transfer-encoding: chunked"]
    {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("content-length"), "{head}");
    let got = stream.take(2);
    assert_eq!(req_ids(&got), ["a", "b"]);
    assert_eq!((got[0].id, got[1].id), (Some(1), Some(2)));
    stream.leave();
    let lines = [r#"{"type":"ping","id":"c"}"#, "", r#"{"type":"ping","id":"d"}"#, "not json"];
    assert_eq!(site.send_text(&session, &lines.join("\n")).status, 200);
    let mut stream = site.stream(&session, None);
    let got = stream.take(3);
    assert_eq!(req_ids(&got), ["c", "d", ""]);
    assert_eq!(got[2].message["code"], "parse_error");
    host.stop();
}

#[test]
fn r42_a_call_goes_on_while_its_stream_is_cut_and_nothing_is_lost_or_doubled() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let count = 40;
    let call = tool("stream", json!({ "n": count }));
    assert_eq!(site.send(&session, "tool/call/req", "s", call).status, 200);
    let mut all = Vec::new();
    let mut last = None;
    // Cut after every few events, at a place that the host does not know.
    while all.last().is_none_or(|event: &Event| event.message["type"] != "tool/call/resp") {
        for event in (0..3).map_while(|_| stream.next()) {
            last = event.id;
            all.push(event);
            if all.last().unwrap().message["type"] == "tool/call/resp" {
                break;
            }
        }
        drop(stream);
        stream = site.stream(&session, last);
    }
    let numbers: Vec<u64> = all.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let seqs: Vec<&Value> = all.iter().filter_map(|event| event.message.get("seq")).collect();
    assert_eq!(
        seqs,
        (0..seqs.len()).map(|seq| json!(seq)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(seqs.len() >= count, "{}", seqs.len());
    host.stop();
}

#[test]
fn a_second_stream_takes_the_place_of_the_first() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    let mut streams: Vec<_> = (0..100).map(|_| site.stream(&session, None)).collect();
    let mut newest = streams.pop().unwrap();
    for mut old in streams {
        assert!(old.next().is_none(), "an old stream ends");
    }
    site.send(&session, "ping", "p", json!({}));
    assert_eq!(req_ids(&newest.take(1)), ["p"]);
    host.stop();
}

#[test]
fn r40_a_request_that_is_posted_again_does_not_run_again() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let call = tool("sleep", json!({ "ms": 100 }));
    for _ in 0..3 {
        assert_eq!(site.send(&session, "tool/call/req", "s", call.clone()).status, 200);
    }
    let first = stream.take(1);
    assert_eq!(first[0].message["type"], "tool/call/resp");
    assert_eq!(site.send(&session, "tool/call/req", "s", call).status, 200);
    let again = stream.take(1);
    // The kept answer, whole: the client may have lost the first.
    assert_eq!(again[0].message["req_id"], "s");
    assert_eq!(again[0].message["data"], first[0].message["data"]);
    site.send(&session, "ping", "p", json!({}));
    assert_eq!(req_ids(&stream.take(1)), ["p"], "one answer each");
    host.stop();
}

#[test]
fn what_is_gone_is_told_as_one_gap() {
    let place = Place::new();
    let limits = "global_limits: {max_outbound_bytes: 65536, max_resume_bytes: 65536}";
    let (host, site) = host(&place, limits);
    let session = site.open();
    let text = "x".repeat(30_000);
    let mut stream = site.stream(&session, None);
    for id in 0..8 {
        let call = tool("echo", json!({ "text": text }));
        site.send(&session, "tool/call/req", &id.to_string(), call);
        stream.take(1);
    }
    drop(stream);
    let mut stream = site.stream(&session, Some(1));
    let gap = stream.next().unwrap();
    assert_eq!(gap.message["type"], "session/gap/push");
    let lost = gap.message["lost"].as_u64().unwrap();
    assert!((1..7).contains(&lost), "{lost}");
    let next = stream.next().unwrap();
    assert_eq!(next.id, Some(1 + lost + 1));
    host.stop();
}

#[test]
fn r21_a_session_that_is_not_read_holds_its_sender_back_and_loses_nothing() {
    let place = Place::new();
    let limits = "global_limits: {max_outbound_bytes: 65536, max_resume_bytes: 1048576}";
    let (host, site) = host(&place, limits);
    let session = site.open();
    let text = "x".repeat(20_000);
    let lines = (0..8).map(|id| {
        let mut call = tool("echo", json!({ "text": text }));
        call["type"] = json!("tool/call/req");
        call["id"] = json!(id.to_string());
        call.to_string()
    });
    let lines = lines.collect::<Vec<_>>().join("\n");
    std::thread::scope(|scope| {
        let posted = scope.spawn(|| site.send_text(&session, &lines));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!posted.is_finished(), "there is no room for all the answers");
        let mut stream = site.stream(&session, None);
        let got = stream.take(8);
        assert_eq!(posted.join().unwrap().status, 200);
        let expected: Vec<String> = (0..8).map(|id| id.to_string()).collect();
        assert_eq!(req_ids(&got), expected.iter().map(String::as_str).collect::<Vec<_>>());
    });
    host.stop();
}

#[test]
fn sessions_end_by_delete_by_shutdown_and_when_nobody_comes() {
    let place = Place::new();
    let (host, site) = host(&place, "server: {session_idle_s: 1}");
    let deleted = site.open();
    let mut stream = site.stream(&deleted, None);
    let headers = [("X-Session-Id", deleted.as_str())];
    assert_eq!(site.request("DELETE /session", &headers, b"").status, 200);
    assert!(stream.next().is_none());
    let ended = site.open();
    let mut stream = site.stream(&ended, None);
    site.send(&ended, "shutdown", "x", json!({ "timeout": 1 }));
    assert!(stream.next().is_none());
    // A session with a stream lives longer than its idle time; those without are reaped.
    let kept = site.open();
    let mut stream = site.stream(&kept, None);
    let abandoned: Vec<String> = (0..50).map(|_| site.open()).collect();
    until(PATIENCE, "abandoned sessions end", || {
        abandoned.iter().all(|id| site.send(id, "ping", "p", json!({})).status == 404) || {
            // Asking keeps a session; so does this test not ask too often.
            std::thread::sleep(Duration::from_millis(2500));
            false
        }
    });
    site.send(&kept, "ping", "p", json!({}));
    assert_eq!(req_ids(&stream.take(1)), ["p"]);
    for id in [&deleted, &ended] {
        let reply = site.send(id, "ping", "p", json!({}));
        assert_eq!((reply.status, reply.detail().as_str()), (404, "Session not found"));
    }
    host.stop();
}

#[test]
fn r44_sigterm_ends_streams_after_the_last_answer() {
    let place = Place::new();
    let (mut host, site) = host(&place, "");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    site.send(&session, "tool/call/req", "s", tool("sleep", json!({ "ms": 300 })));
    site.send(&session, "ping", "p", json!({}));
    stream.take(1);
    host.signal(nix::sys::signal::Signal::SIGTERM);
    let last = stream.next().expect("the answer");
    assert_eq!(last.message["req_id"], "s");
    assert_eq!(last.message["type"], "tool/call/resp", "{last:?}");
    assert!(stream.next().is_none());
    assert_eq!(host.code(PATIENCE), Some(0), "{}", host.log());
}

#[test]
fn the_paths_are_those_of_the_configuration() {
    let place = Place::new();
    let paths = "transport: {type: http, config: {send_path: /v1/in, stream_path: /v1/out}}";
    let (host, site) = host(&place, paths);
    let session = site.open();
    let id = [("X-Session-Id", session.as_str())];
    let reply = site.request("POST /v1/in", &id, br#"{"type":"ping","id":"p"}"#);
    assert_eq!(reply.status, 200, "{reply:?}");
    for line in ["POST /send", "GET /stream"] {
        assert_eq!(site.request(line, &id, b"").status, 404, "{line}");
    }
    let mut stream = site.connect();
    std::io::Write::write_all(&mut stream, site.head("GET /v1/out", &id).as_bytes()).unwrap();
    assert_eq!(super::raw::read_reply(&mut stream).status, 200);
    host.stop();
}

/// The reference's server looks at its queue ten times a second; a client notices.
#[test]
fn an_answer_leaves_when_it_is_there() {
    let place = Place::new();
    let (host, site) = host(&place, "");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let once = |id: u32| {
        let start = now();
        site.send(&session, "ping", &id.to_string(), json!({}));
        stream.take(1);
        start.elapsed()
    };
    // The quickest of many: a busy machine is not what is looked at.
    let quickest = (0..50).map(once).min().unwrap();
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
    host.stop();
}
