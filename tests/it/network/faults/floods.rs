//! Too many: streams that come and go, sessions that are left alone, guesses, and bodies of every kind.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{LONG, OPERATOR, host, metric, rested};
use crate::network::raw::{Site, read_reply};
use crate::process::support::proc_fs::{descriptors, resident};
use crate::process::support::program::{PATIENCE, Place, now, until};

#[test]
fn a_storm_of_streams_that_come_back_loses_and_leaves_nothing() {
    const EVENTS: u64 = 200;
    let place = Place::new();
    let (host, site, _) = host(&place, "");
    let (session, other) = (site.open(), site.open());
    let mut stays = site.stream(&other, None);
    // The threads that run futures, and their descriptors, come with the first and stay.
    let warm = json!({ "tool_name": "sleep", "arguments": { "ms": 1 } });
    assert_eq!(site.send(&other, "tool/call/req", "warm", warm).status, 200);
    stays.take(1);
    let before = rested(&host);
    let body = json!({ "tool_name": "stream", "arguments": { "n": EVENTS }, "streaming": true });
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (site, session) = (&site, &session);
            scope.spawn(move || {
                for turn in 0..25 {
                    let mut stream = site.stream(session, Some(0));
                    // Some look at an event, some are gone before one comes.
                    if (turn + thread) % 3 == 0 {
                        let _one = stream.next();
                    }
                }
            });
        }
        assert_eq!(site.send(&session, "tool/call/req", "s", body).status, 200);
        for id in 0..20 {
            assert_eq!(site.send(&other, "ping", &id.to_string(), json!({})).status, 200);
            assert_eq!(stays.next().unwrap().message["req_id"], id.to_string());
        }
    });
    let mut last = site.stream(&session, Some(0));
    let count = usize::try_from(EVENTS).unwrap() + 1;
    let got = last.take(count);
    let numbers: Vec<u64> = got.iter().filter_map(|it| it.id).collect();
    assert_eq!(numbers, (1..=EVENTS + 1).collect::<Vec<_>>());
    let seqs: Vec<u64> = got.iter().filter_map(|it| it.message["seq"].as_u64()).collect();
    assert_eq!(seqs, (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(got[count - 1].message["type"], "tool/call/resp");
    drop(last);
    until(PATIENCE, "no descriptor is left behind", || descriptors(host.pid()) <= before);
    host.stop();
}

#[test]
fn r27_thousands_of_sessions_that_are_left_alone_end_and_are_counted() {
    const MANY: u64 = 3000;
    let place = Place::new();
    let (host, site, operator) = host(&place, "");
    let kept = site.open();
    let memory = resident(host.pid());
    let mut stream = site.connect();
    // The lease that a client asks for; the host's own is half an hour.
    let asked = [(r#"{"idle_s":3}"#, 3.0), (r#"{"idle_s":0.1}"#, 1.0)];
    for number in 0..MANY {
        let (body, lease) = asked[usize::from(number % 2 == 0)];
        let head = site.head("POST /session", &[("Content-Length", &body.len().to_string())]);
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let reply = read_reply(&mut stream);
        assert_eq!((reply.status, &reply.json()["idle_s"]), (200, &json!(lease)), "{reply:?}");
    }
    let grown = resident(host.pid()).saturating_sub(memory);
    assert!(grown < MANY * (64 << 10), "{grown} bytes for {MANY} sessions");
    until(LONG, "they have ended", || {
        std::thread::sleep(Duration::from_millis(200));
        metric(&operator, "a2e_events_total{event=\"idle_sessions\"}") == MANY
    });
    until(PATIENCE, "their places are free", || metric(&operator, "a2e_sessions") == 1);
    assert_eq!(site.send(&kept, "ping", "p", json!({})).status, 200, "its lease goes on");
    let usual = site.request("POST /session", &[], br#"{"idle_s":1e9}"#).json();
    assert_eq!(usual["idle_s"], 1800.0, "the host's own at most");
    host.stop();
}

#[test]
fn r27_a_host_that_is_full_says_so_and_counts_whom_it_sent_away() {
    const ROOM: usize = 20;
    let place = Place::new();
    let (host, site, operator) = host(&place, &format!("global_limits: {{max_sessions: {ROOM}}}"));
    let full = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ROOM + 10 {
            scope.spawn(|| {
                let reply = site.request("POST /session", &[], b"");
                assert!(matches!(reply.status, 200 | 503), "{reply:?}");
                if reply.status == 503 {
                    assert!(reply.head.to_lowercase().contains("retry-after"), "{reply:?}");
                    full.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(full.load(Ordering::SeqCst), 10);
    assert_eq!(metric(&operator, "a2e_events_total{event=\"refused_sessions\"}"), 10);
    assert_eq!(metric(&operator, "a2e_http_answers_total{status=\"503\"}"), 10);
    host.stop();
}

#[test]
fn r27_guesses_of_tokens_are_slowed_refused_audited_and_hold_up_nobody_who_knows_one() {
    const GUESSES: usize = 200;
    let place = Place::new();
    let audit = "audit: {enabled: true, path: '{}/audit.jsonl'}";
    let (host, site, operator) = host(&place, audit);
    let guess = || Site { address: site.address.clone(), token: Some("a guess") };
    let start = now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..GUESSES)
            .map(|_| scope.spawn(|| guess().request("POST /session", &[], b"").status))
            .collect();
        until(PATIENCE, "guesses are counted", || {
            let refused = "a2e_http_answers_total{status=\"401\"}";
            metric(&operator, refused) > 3
        });
        assert_eq!(operator.request("POST /session", &[], b"").status, 200);
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|it| **it == status).count();
    let (slowed, refused) = (count(401), count(503));
    assert_eq!(slowed + refused, GUESSES, "{statuses:?}");
    // Ten a second, and no more wait than ten seconds hold.
    let least = Duration::from_millis(100) * u32::try_from(slowed - 1).unwrap();
    assert!(start.elapsed() >= least, "{slowed} in {:?}", start.elapsed());
    assert!(slowed >= 50 && refused >= 1, "{slowed} slowed, {refused} refused");
    host.stop();
    let text = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert_eq!(text.matches(r#""error_code":"unauthorized""#).count(), GUESSES);
    assert!(!text.contains("a guess") && !text.contains(OPERATOR));
}

#[test]
fn a_body_is_a_message_whatever_its_content_type_says() {
    let place = Place::new();
    let (host, site, operator) = host(&place, "");
    let session = site.open();
    let mut stream = site.stream(&session, None);
    let kinds = [
        "text/plain",
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "nonsense",
        "",
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let id = number.to_string();
        let body = json!({ "type": "ping", "id": id }).to_string();
        for headers in [&[("Content-Type", kind)][..], &[("Content-Type", kind); 2], &[]] {
            let all = [&[("X-Session-Id", session.as_str())], headers].concat();
            let reply = site.request("POST /send", &all, body.as_bytes());
            assert_eq!((reply.status, reply.json()), (200, json!({ "ok": true })), "{kind}");
            assert_eq!(stream.next().unwrap().message["req_id"], id);
        }
        let opened = site.request("POST /session", &[("Content-Type", kind)], b"");
        assert_eq!(opened.status, 200, "{kind}: {opened:?}");
        let asked = br#"{"message_type":"tool/call/req"}"#;
        let told = operator.request("POST /api/explain", &[("Content-Type", kind)], asked);
        assert_eq!(told.status, 200, "{kind}: {told:?}");
    }
    host.stop();
}
