//! Sessions that go on over another connection: what is sent again, which peer may, which wins (R25, R42, R64, R65).

use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, SnapshotStoreConfig};
use a2e_core::snapshot::MemoryStore;
use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::{Peer, memory_pair};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::probe::Switch;
use crate::support::{
    PATIENCE, audited, clocked, counter, end, next, now, plugin, records, script, serves, settled,
    silent, stop, tuned, with,
};

fn config() -> HostConfig {
    let own = tuned(plugin("own", "Tally"), |it| {
        it.scope = Some(a2e_core::plugin::PluginScope::Session);
    });
    with([own, script("script", "future", "hang")])
}

/// Shakes hands, and gives the answer.
async fn greet(session: &mut TestSession, id: &str, last_seq: u64) -> Value {
    let resume = json!({ "session_id": id, "last_seq": last_seq });
    session.call("handshake/req", json!({ "resume": resume })).await
}

/// A session that can be resumed, and its id.
async fn resumable(host: &TestHost) -> (TestSession, String) {
    let mut session = host.session();
    let answer = greet(&mut session, "", 0).await;
    assert_eq!(
        (&answer["ok"], &answer["resumed"], &answer["gap"]),
        (&json!(true), &json!(false), &json!(-1))
    );
    let id = answer["session_id"].as_str().unwrap().to_owned();
    (session, id)
}

/// The connection is lost, and the session waits.
async fn lose(host: &TestHost, session: TestSession) {
    let before = host.executor().status().parked_sessions;
    drop(session);
    host.until("a session that waits", |it| it.parked_sessions == before + 1).await;
    host.until("its connection gone", |it| it.in_flight == 0).await;
}

fn resumed(answer: &Value, id: &str, gap: i64) {
    let said = (&answer["ok"], &answer["resumed"], &answer["gap"], &answer["session_id"]);
    assert_eq!(said, (&json!(true), &json!(true), &json!(gap), &json!(id)), "{answer}");
}

fn refused(answer: &Value, id: &str) {
    let said = (&answer["ok"], &answer["resumed"], &answer["gap"]);
    assert_eq!(said, (&json!(true), &json!(false), &json!(-1)), "{answer}");
    assert_ne!(answer["session_id"], json!(id));
    assert_eq!(answer["session_id"].as_str().unwrap().len(), 32);
}

async fn add(session: &mut TestSession, add: i64) -> i64 {
    session.call("tally/add/req", json!({ "add": add })).await["total"].as_i64().unwrap()
}

/// Whole lines as they come, by the byte.
struct Raw(a2e_core::transport::Connection, Vec<u8>);

impl Raw {
    fn open(host: &TestHost, resume: Value) -> Self {
        let client = host.executor().connect();
        let line = json!({ "type": "handshake/req", "id": "h", "resume": resume });
        client.sink.try_write(format!("{line}\n").as_bytes()).unwrap();
        Self(client, Vec::new())
    }

    fn send(&self, kind: &str, mut body: Value) {
        body["type"] = json!(kind);
        // Another id for each: the first one may still be in flight.
        body["id"] = json!(format!("{kind} {}", body.to_string().len()));
        self.0.sink.try_write(format!("{body}\n").as_bytes()).unwrap();
    }

    async fn line(&mut self) -> Vec<u8> {
        let read = async {
            loop {
                if let Some(end) = self.1.iter().position(|byte| *byte == b'\n') {
                    return self.1.drain(..=end).collect();
                }
                assert!(self.0.source.read_buf(&mut self.1).await.unwrap() > 0, "the stream ended");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a line comes in time")
    }

    async fn lines(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while lines.len() < count {
            lines.push(self.line().await);
        }
        lines
    }
}

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_resume_sends_again_what_was_not_read_byte_for_byte() {
    let host = TestHost::start(config()).await;
    for received in [0, 1, 3, 6, 7] {
        let mut first = Raw::open(&host, json!({ "session_id": "", "last_seq": 0 }));
        let id = parsed(&first.line().await)["session_id"].as_str().unwrap().to_owned();
        first.send("tally/say/req", json!({ "count": 5, "size": 3 }));
        first.send("tally/add/req", json!({ "add": received }));
        let sent = first.lines(7).await;
        drop(first);
        let resume = json!({ "session_id": id, "last_seq": received });
        let mut second = Raw::open(&host, resume);
        resumed(&parsed(&second.line().await), &id, 0);
        let missed = &sent[usize::try_from(received).unwrap()..];
        assert_eq!(second.lines(missed.len()).await, missed, "after {received}");
        // Then what is new, and the counting goes on.
        second.send("tally/add/req", json!({ "add": 10 }));
        let new = second.line().await;
        assert_eq!(parsed(&new)["total"], received + 10, "the state of plugins came with it");
        drop(second);
        let mut third = Raw::open(&host, json!({ "session_id": id, "last_seq": 7 }));
        resumed(&parsed(&third.line().await), &id, 0);
        assert_eq!(third.line().await, new);
        third.send("ping", json!({}));
        assert_eq!(parsed(&third.line().await)["type"], "pong");
    }
    assert_eq!((counter(&host, "resumes"), counter(&host, "resumes_refused")), (10, 0));
    assert_eq!(counter(&host, "resume_lines_lost"), 0);
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_what_no_longer_fits_is_a_counted_gap() {
    // Handshake facts aside, a push of 200 letters takes more than 1,200 bytes.
    for (limit, count, received) in
        [(4_000, 10, 0), (4_000, 10, 8), (4_000, 10, 11), (0, 4, 1), (1_000, 3, 0)]
    {
        let mut config = config();
        config.limits.max_resume_bytes = limit;
        let host = TestHost::start(config).await;
        let (mut session, id) = resumable(&host).await;
        session.call("tally/say/req", json!({ "count": count, "size": 200 })).await;
        let sent = count + 1;
        lose(&host, session).await;
        assert!(host.executor().status().resume_bytes <= limit);
        let dropped = counter(&host, "resume_lines_dropped");
        let kept = sent - dropped;
        assert!(dropped > 0 && (limit == 0) == (kept == 0), "{dropped} of {sent}");
        let mut session = host.session();
        let answer = greet(&mut session, &id, received).await;
        let gap = dropped.saturating_sub(received);
        resumed(&answer, &id, i64::try_from(gap).unwrap());
        let replayed = sent - received - gap;
        for place in 0..replayed {
            let line = next(&mut session).await;
            let number = sent - replayed + place;
            let is_reply = number == count;
            assert_eq!(line["type"], if is_reply { "tally/say/resp" } else { "tally/push" });
            assert!(is_reply || line["number"] == number, "{line}");
        }
        silent(&mut session).await;
        assert_eq!(counter(&host, "resume_lines_lost"), gap);
        drop(session);
        host.until("its end", |it| it.sessions == 0).await;
        stop(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_what_cannot_be_resumed_gives_a_fresh_session_and_tells_nothing() {
    let (host, clock) = clocked(config()).await;
    let (mut session, id) = resumable(&host).await;
    assert_eq!(add(&mut session, 5).await, 5);
    lose(&host, session).await;
    let unknown = "0123456789abcdef0123456789abcdef";
    let long = "f".repeat(70_000);
    let mut answers = Vec::new();
    // One line was sent: the reply.
    for (asked, last_seq) in [
        (unknown, 0),
        (&id, 2),
        (&id, u64::MAX),
        (&id.to_uppercase(), 0),
        (&id[..31], 0),
        ("../../etc/passwd", 0),
        ("\u{0}", 0),
        (&*long, 0),
    ] {
        let mut other = host.session();
        let mut answer = greet(&mut other, asked, last_seq).await;
        refused(&answer, &id);
        // It serves, it is empty, and it can itself be resumed.
        assert_eq!(add(&mut other, 1).await, 1, "R65");
        let fresh = answer["session_id"].as_str().unwrap().to_owned();
        lose(&host, other).await;
        let mut other = host.session();
        resumed(&greet(&mut other, &fresh, 1).await, &fresh, 0);
        assert_eq!(add(&mut other, 1).await, 2);
        lose(&host, other).await;
        for of_each in ["id", "req_id", "ts", "session_id"] {
            answer[of_each] = Value::Null;
        }
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "every refusal looks the same: {answers:?}");
    // None of these attempts took it away from the peer that may have it.
    let mut session = host.session();
    resumed(&greet(&mut session, &id, 1).await, &id, 0);
    assert_eq!(add(&mut session, 1).await, 6);
    lose(&host, session).await;
    // Its time is over.
    clock.advance(Duration::from_secs(3601));
    let mut session = host.session();
    refused(&greet(&mut session, &id, 1).await, &id);
    assert_eq!(add(&mut session, 1).await, 1);
    drop(session);
    stop(host).await;
}

/// A session of a peer, and the answer to its handshake.
async fn as_peer(host: &TestHost, peer: &Peer, token: &str, id: &str) -> (TestSession, Value) {
    let (client, mut server) = memory_pair();
    server.peer = peer.clone();
    host.executor().spawn(server);
    let mut session = TestSession::over(client);
    let body = json!({ "auth_token": token, "resume": { "session_id": id, "last_seq": 0 } });
    let answer = session.call("handshake/req", body).await;
    (session, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_only_the_same_principal_may_resume() {
    let host = TestHost::start(config()).await;
    let user = |uid| Peer { uid: Some(uid), ..Peer::named(format!("unix uid={uid}")) };
    let tcp = |port: u16| Peer::named(format!("tcp 127.0.0.1:{port}"));
    for (owner, thief, is_same) in [
        ((user(1), ""), (user(1), ""), true),
        ((user(1), ""), (user(2), ""), false),
        ((user(1), ""), (user(0), ""), false),
        ((user(1), "t"), (user(1), "u"), true),
        ((tcp(1), "t"), (tcp(2), "t"), true),
        ((tcp(1), "t"), (tcp(1), "u"), false),
        ((tcp(1), "t"), (tcp(1), ""), false),
        ((tcp(1), ""), (tcp(2), ""), true),
        ((user(1), ""), (tcp(1), ""), false),
        ((tcp(1), ""), (user(1), ""), false),
    ] {
        let (mut first, answer) = as_peer(&host, &owner.0, owner.1, "").await;
        let id = answer["session_id"].as_str().unwrap().to_owned();
        add(&mut first, 7).await;
        // While it lives as well as when it waits; neither harms the owner.
        let (mut other, answer) = as_peer(&host, &thief.0, thief.1, &id).await;
        if is_same {
            resumed(&answer, &id, 0);
        } else {
            refused(&answer, &id);
            assert_eq!(add(&mut other, 1).await, 1, "R65: {owner:?} {thief:?}");
            assert_eq!(add(&mut first, 0).await, 7);
            lose(&host, first).await;
            let (mut third, answer) = as_peer(&host, &thief.0, thief.1, &id).await;
            refused(&answer, &id);
            assert_eq!(add(&mut third, 1).await, 1);
            lose(&host, third).await;
        }
        lose(&host, other).await;
        let (mut own, answer) = as_peer(&host, &owner.0, owner.1, &id).await;
        resumed(&answer, &id, 0);
        own.reply_to("t2").await;
        assert_eq!(add(&mut own, 0).await, 7, "{owner:?} {thief:?}");
        lose(&host, own).await;
    }
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_resume_takes_a_live_session_over_and_each_call_ends_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(config(), &path)).await;
    let switch = Switch::new();
    let (mut old, id) = resumable(&host).await;
    add(&mut old, 3).await;
    for _ in 0..5 {
        old.send("script/never/req", json!({ "probe": switch.key() })).await;
    }
    switch.entered(5).await;
    let mut new = host.session();
    resumed(&greet(&mut new, &id, 1).await, &id, 0);
    // The calls that were under way ended when their connection was cut, and that is told here.
    let mut ended: Vec<String> = Vec::new();
    for _ in 0..5 {
        let answer = next(&mut new).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("cancelled")));
        ended.push(answer["req_id"].as_str().unwrap().to_owned());
    }
    ended.sort();
    ended.dedup();
    assert_eq!(ended.len(), 5, "each once");
    assert_eq!(old.next().await, None, "the old connection is cut");
    assert_eq!(add(&mut new, 1).await, 4);
    silent(&mut new).await;
    host.until("one session", |it| it.sessions == 1).await;
    settled(&host).await;
    new.finish().await;
    end(host).await;
    let calls = records(&path).into_iter().filter(|it| it["type"] == "script/never/req");
    let calls: Vec<Value> = calls.collect();
    assert_eq!(calls.len(), 5);
    assert!(calls.iter().all(|it| it["outcome"] == "client_gone" && it["session_id"] == json!(id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r64_a_resume_storm_has_one_winner_and_none_hangs() {
    let host = Arc::new(TestHost::start(config()).await);
    let (mut session, id) = resumable(&host).await;
    add(&mut session, 42).await;
    for round in 1..4_u64 {
        if round % 2 == 0 {
            // With the session live, and while it waits.
            drop(session);
            host.until("it waits", |it| it.parked_sessions >= 1).await;
        }
        let attempts: Vec<_> = (0..100)
            .map(|_| {
                let (host, id) = (Arc::clone(&host), id.clone());
                tokio::spawn(async move {
                    let mut session = host.session();
                    let resume = json!({ "session_id": id, "last_seq": round });
                    session.send("handshake/req", json!({ "resume": resume })).await;
                    // None, if another took the session from it in that moment.
                    let answer = session.next().await;
                    (session, answer)
                })
            })
            .collect();
        let mut open = Vec::new();
        for attempt in attempts {
            let (session, answer) = attempt.await.unwrap();
            if let Some(answer) = answer {
                assert_eq!(answer["type"], "handshake/resp");
                open.push((session, answer["resumed"] == true));
            }
        }
        // A connection that was told to have it and was overtaken finds itself cut.
        let mut winners = Vec::new();
        for (mut session, is_resumed) in open {
            if is_resumed {
                if survives(&mut session).await {
                    winners.push(session);
                }
            } else {
                assert_eq!(add(&mut session, 1).await, 1, "R65");
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        session = winners.remove(0);
        assert_eq!(add(&mut session, 0).await, 42);
    }
    drop(session);
    host.until("all gone", |it| it.sessions == 0).await;
}

/// Whether the connection still stands: nothing comes, and it does not end either.
async fn survives(session: &mut TestSession) -> bool {
    let quiet = Duration::from_millis(300);
    tokio::time::timeout(quiet, session.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_connection_that_cannot_be_ended_keeps_its_session() {
    let hanging = script("hanging", "inline", "block").with_setting("own_type", "hanging/req");
    let host = TestHost::start(with([plugin("own", "Tally"), hanging])).await;
    let switch = Switch::new();
    let (mut old, id) = resumable(&host).await;
    assert_eq!(add(&mut old, 1).await, 1);
    old.send("hanging/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    // Its reader is stuck in a plugin: a peer that asks is not held up for ever.
    let mut new = host.session();
    let start = now();
    let answer = greet(&mut new, &id, 1).await;
    refused(&answer, &id);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(add(&mut new, 1).await, 1, "R65");
    // Once the plugin lets go, the session can be had.
    switch.open();
    host.until("it waits", |it| it.parked_sessions == 1).await;
    let mut new = host.session();
    resumed(&greet(&mut new, &id, 1).await, &id, 0);
    drop((old, new));
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_be_resumed_any_number_of_times() {
    let host = TestHost::start(config()).await;
    let (mut session, id) = resumable(&host).await;
    let mut sent = 0;
    for round in 1..20 {
        assert_eq!(add(&mut session, 1).await, round);
        sent += 1;
        if round % 2 == 0 {
            lose(&host, session).await;
        }
        session = host.session();
        resumed(&greet(&mut session, &id, sent).await, &id, 0);
        silent(&mut session).await;
        sent += 1;
    }
    assert_eq!(counter(&host, "resumes"), 19);
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_counts_only_as_the_first_message_of_a_connection() {
    let host = TestHost::start(config()).await;
    let (mut session, id) = resumable(&host).await;
    add(&mut session, 5).await;
    for (kind, body) in [
        ("ping", json!({})),
        ("tally/add/req", json!({})),
        ("nope", json!({})),
        ("handshake/req", json!({})),
        ("handshake/req", json!({ "resume": { "session_id": "", "last_seq": 0 } })),
    ] {
        let mut other = host.session();
        other.call(kind, body.clone()).await;
        let answer = greet(&mut other, &id, 0).await;
        refused(&answer, &id);
        // It keeps the session that it has, which can be resumed from here on.
        let own = answer["session_id"].as_str().unwrap().to_owned();
        lose(&host, other).await;
        let mut other = host.session();
        resumed(&greet(&mut other, &own, 0).await, &own, 0);
        lose(&host, other).await;
    }
    assert_eq!(add(&mut session, 0).await, 5, "the one that was asked for is unharmed");
    // A handshake without `resume`, or a repeated one, says nothing of it.
    let answer = session.call("handshake/req", json!({})).await;
    assert_eq!(
        (&answer["session_id"], answer.get("resumed"), answer.get("gap")),
        (&json!(id), None, None)
    );
    drop(session);
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_malformed_resume_is_a_schema_violation_and_harms_nothing() {
    let host = TestHost::start(config()).await;
    let (session, id) = resumable(&host).await;
    lose(&host, session).await;
    let mut other = host.session();
    for resume in [
        json!({}),
        json!([]),
        json!("x"),
        json!(true),
        json!({ "session_id": id }),
        json!({ "last_seq": 0 }),
        json!({ "session_id": null, "last_seq": 0 }),
        json!({ "session_id": 5, "last_seq": 0 }),
        json!({ "session_id": id, "last_seq": -1 }),
        json!({ "session_id": id, "last_seq": 1.5 }),
        json!({ "session_id": id, "last_seq": "0" }),
        json!({ "session_id": id, "last_seq": 1e30 }),
    ] {
        let code = other.call_error("handshake/req", json!({ "resume": resume })).await;
        assert_eq!(code, "schema_violation", "{resume}");
    }
    // Nothing was served yet, so a right one still counts; null is none.
    let answer = other
        .call("handshake/req", json!({ "resume": { "session_id": id, "last_seq": 0.0 } }))
        .await;
    resumed(&answer, &id, 0);
    let mut plain = host.session();
    let answer = plain.call("handshake/req", json!({ "resume": null })).await;
    assert_eq!((answer.get("resumed"), answer.get("gap")), (None, None));
    serves(&mut plain).await;
    drop((other, plain));
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_session_that_never_asked_keeps_nothing() {
    let mut config = config();
    config.snapshot_store = Some(SnapshotStoreConfig::Memory);
    let store = Arc::new(MemoryStore::new());
    let builder = Executor::builder(config).snapshot_store(store.clone());
    let host = TestHost::build(builder).await.unwrap();
    let mut session = host.session();
    let id = session.handshake(&[]).await["session_id"].as_str().unwrap().to_owned();
    session.call("tally/say/req", json!({ "count": 20, "size": 50 })).await;
    add(&mut session, 1).await;
    assert_eq!(host.executor().status().resume_bytes, 0);
    session.finish().await;
    host.until("its end", |it| it.sessions == 0).await;
    assert_eq!(host.executor().status().parked_sessions, 0);
    let mut other = host.session();
    refused(&greet(&mut other, &id, 0).await, &id);
    other.finish().await;
    end(host).await;
    let keys = a2e_core::snapshot::SnapshotStore::keys(&*store, None).unwrap();
    assert!(
        keys.iter().all(|key| key.session.as_ref().is_none_or(|it| it.as_str() != id)),
        "{keys:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_sessions_that_wait_are_bounded_and_the_oldest_goes() {
    let (most, count) = (4, 9);
    let mut config = config();
    config.limits.max_sessions = most;
    let host = TestHost::start(config).await;
    let mut ids = Vec::new();
    for _ in 0..count {
        let (mut session, id) = resumable(&host).await;
        add(&mut session, 1).await;
        session.finish().await;
        host.until("its end", |it| it.sessions == 0).await;
        host.until("bounded", |it| it.parked_sessions <= most).await;
        ids.push(id);
    }
    // All at once: one that waits again would push out another.
    let mut sessions = Vec::new();
    for id in &ids[count - most..] {
        let mut session = host.session();
        resumed(&greet(&mut session, id, 0).await, id, 0);
        assert_eq!(next(&mut session).await["total"], 1);
        sessions.push(session);
    }
    drop(sessions.pop());
    host.until("room for a connection", |it| it.sessions < most).await;
    for id in &ids[..count - most] {
        let mut session = host.session();
        refused(&greet(&mut session, id, 0).await, id);
        drop(session);
        host.until("room for a connection", |it| it.sessions < most).await;
    }
    drop(sessions);
    stop(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r44_a_resume_while_the_host_drains_is_told_so_and_loses_nothing() {
    let store = Arc::new(MemoryStore::new());
    let builder = || Executor::builder(config()).snapshot_store(store.clone());
    let host = Arc::new(TestHost::build(builder()).await.unwrap());
    let switch = Switch::new();
    let (mut session, id) = resumable(&host).await;
    add(&mut session, 9).await;
    lose(&host, session).await;
    // This one keeps the host draining.
    let mut busy = host.session();
    let last = busy.send("script/never/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    let mut late = host.session();
    late.send("script/never/req", json!({ "probe": switch.key() })).await;
    switch.entered(2).await;
    let draining = Arc::clone(&host);
    let drain =
        tokio::spawn(async move { draining.executor().shutdown(Duration::from_secs(5)).await });
    let code = async {
        loop {
            let reply = late
                .call("handshake/req", json!({ "resume": { "session_id": id, "last_seq": 1 } }))
                .await;
            if reply["type"] == "error" {
                return reply["code"].as_str().unwrap().to_owned();
            }
        }
    };
    assert_eq!(code.await, "shutting_down");
    switch.open();
    assert_eq!(busy.reply_to(&last).await["type"], "script/resp");
    drain.await.unwrap();
    // The next life of the host has it.
    let host = TestHost::build(builder()).await.unwrap();
    let mut session = host.session();
    resumed(&greet(&mut session, &id, 1).await, &id, -1);
    assert_eq!(add(&mut session, 1).await, 10);
    session.finish().await;
    end(host).await;
}
