//! Limits of what is in flight, and what is answered whatever hangs (R22, R26).

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use a2e_core::testing::{TestHost, TestSession};
use a2e_core::transport::{ByteSource, Connection, memory_pair};
use serde_json::json;
use tokio::io::{AsyncRead, ReadBuf};

use crate::plugins::echo;
use crate::probe::Switch;
use crate::support::{
    counter, end, next, now, plugin, script, serves, settled, silent, tuned, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn r22_three_hundred_requests_beyond_max_parallel_are_all_answered() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    for kind in echo::TYPES {
        let mut session = host.session();
        let ids: BTreeSet<String> = (0..300).map(|it| format!("q{it}")).collect();
        let batch: String =
            ids.iter().map(|id| format!("{{\"type\":\"{kind}\",\"id\":\"{id}\"}}\n")).collect();
        session.send_bytes(batch.as_bytes()).await;
        let replies = session.finish().await;
        let got: BTreeSet<String> =
            replies.iter().map(|it| it["req_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(replies.len(), 300, "{kind}");
        assert!(replies.iter().all(|it| it["type"] == "echo/resp"), "{kind}");
        assert_eq!(got, ids, "{kind}");
    }
    assert_eq!(counter(&host, "overloaded"), 0);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_what_the_queue_cannot_hold_is_overloaded_at_once() {
    for run in ["pool", "blocking", "future"] {
        let script = tuned(script("script", run, "hang"), |it| it.permits = Some(1));
        let mut config = with([script, plugin("echo", "Echo")]);
        config.limits.max_queue = 2;
        config.limits.max_in_flight = if run == "future" { 1 } else { 256 };
        let host = TestHost::start(config).await;
        let switch = Switch::new();
        let mut session = host.session();
        let body = json!({ "probe": switch.key() });
        let served = [
            session.send("script/all/req", body.clone()).await,
            session.send("script/all/req", body.clone()).await,
            session.send("script/all/req", body.clone()).await,
        ];
        switch.entered(1).await;
        for _ in 0..3 {
            let start = now();
            let refused = session.call("script/all/req", body.clone()).await;
            assert!(start.elapsed() < Duration::from_millis(100), "{run} {:?}", start.elapsed());
            assert_eq!(refused["code"], "overloaded", "{run}: {refused}");
            assert_eq!(refused["retryable"], true);
            assert_eq!(refused["capability_name"], "test");
        }
        let status = host.executor().status();
        assert_eq!((status.in_flight, status.waiting), (3, 2), "{run}");
        assert_eq!(status.counters["overloaded"], 3);
        switch.open();
        for id in served {
            assert_eq!(session.reply_to(&id).await["by"], "script", "{run}");
        }
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_one_session_at_its_limit_does_not_hold_up_another() {
    let mut config = with([script("script", "future", "hang")]);
    config.limits.max_in_flight = 2;
    let host = TestHost::start(config).await;
    let switch = Switch::new();
    let (mut greedy, mut other) = (host.session(), host.session());
    let body = json!({ "probe": switch.key() });
    for _ in 0..10 {
        greedy.send("script/all/req", body.clone()).await;
    }
    switch.entered(2).await;
    host.until("eight wait", |it| it.waiting == 8).await;
    assert_eq!(switch.count(), 2);
    let quick = json!({ "acts": { "script": "reply" } });
    assert_eq!(other.call("script/all/req", quick).await["by"], "script");
    assert_eq!(switch.count(), 2, "it went past those that wait");
    switch.open();
    let served = greedy.finish().await;
    assert_eq!(served.len(), 10);
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_sessions_that_wait_for_one_permit_have_it_in_turns() {
    for run in ["pool", "blocking", "future"] {
        let single = tuned(script("script", run, "hang"), |it| it.permits = Some(1));
        let host = TestHost::start(with([single])).await;
        let (mut greedy, mut other) = (host.session(), host.session());
        let switches = [Switch::new(), Switch::new(), Switch::new()];
        for switch in &switches {
            greedy.send("script/all/req", json!({ "probe": switch.key() })).await;
        }
        let [first, second, third] = &switches;
        first.entered(1).await;
        host.until("two wait", |it| it.waiting == 2).await;
        let quick = json!({ "acts": { "script": "reply" } });
        let id = other.send("script/all/req", quick).await;
        host.until("three wait", |it| it.waiting == 3).await;
        first.open();
        second.entered(1).await;
        second.open();
        assert_eq!(other.reply_to(&id).await["by"], "script", "{run}: before the third");
        third.entered(1).await;
        third.open();
        assert_eq!(greedy.finish().await.len(), 3, "{run}");
        other.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_place_that_is_given_back_is_of_use_to_another_plugin() {
    let of_host: (usize, usize) = (256, 1);
    let of_session: (usize, usize) = (1, 4096);
    for (max_in_flight, max_in_flight_host) in [of_host, of_session] {
        let mut config = with([script("script", "future", "hang"), plugin("echo", "Echo")]);
        config.limits.max_in_flight = max_in_flight;
        config.limits.max_in_flight_host = max_in_flight_host;
        let host = TestHost::start(config).await;
        let mut session = host.session();
        let switch = Switch::new();
        session.send("script/all/req", json!({ "probe": switch.key() })).await;
        switch.entered(1).await;
        let mut waiting = Vec::new();
        let leaves = |kind: &&str| !["echo/inline/req", "echo/dynamic/req"].contains(kind);
        for kind in echo::TYPES.into_iter().filter(leaves) {
            waiting.push(session.send(kind, json!({})).await);
        }
        host.until("all wait", |it| it.waiting == waiting.len()).await;
        switch.open();
        for id in waiting {
            assert_eq!(session.reply_to(&id).await["type"], "echo/resp");
        }
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_the_host_s_limit_holds_over_all_sessions() {
    let mut config = with([script("script", "future", "hang")]);
    config.limits.max_in_flight_host = 3;
    let host = TestHost::start(config).await;
    let switch = Switch::new();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut session = host.session();
        for _ in 0..2 {
            session.send("script/all/req", json!({ "probe": switch.key() })).await;
        }
        sessions.push(session);
    }
    switch.entered(3).await;
    host.until("three wait", |it| it.waiting == 3).await;
    assert_eq!(switch.count(), 3);
    switch.open();
    for session in sessions {
        assert_eq!(session.finish().await.len(), 2);
    }
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_bytes_in_flight_pause_the_reading_and_refuse_nothing() {
    let mut config = with([script("script", "future", "hang"), plugin("echo", "Echo")]);
    config.limits.max_in_flight_bytes = 4096;
    let host = TestHost::start(config).await;
    let switch = Switch::new();
    let (mut session, mut other) = (host.session(), host.session());
    // One line that is larger than the limit always fits.
    let body = json!({ "probe": switch.key(), "unknown": "x".repeat(10_000) });
    let first = session.send("script/all/req", body.clone()).await;
    switch.entered(1).await;
    let second = session.send("script/all/req", body).await;
    let pinged = session.send("ping", json!({})).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(switch.count(), 1, "the second line is not read yet");
    assert_eq!(host.executor().status().in_flight, 1);
    serves(&mut other).await;
    switch.open();
    for id in [first, second] {
        assert_eq!(session.reply_to(&id).await["by"], "script");
    }
    assert_eq!(session.reply_to(&pinged).await["type"], "pong");
    assert_eq!(counter(&host, "refused") + counter(&host, "overloaded"), 0);
    session.finish().await;
    other.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_lines_behind_the_pause_in_one_read_are_all_served() {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_in_flight_bytes = 1;
    let host = TestHost::start(config).await;
    let mut session = host.session();
    let batch: String = (0..50)
        .map(|it| format!("{{\"type\":\"echo/pool/req\",\"id\":\"b{it}\",\"text\":\"t\"}}\n"))
        .collect();
    session.send_bytes(batch.as_bytes()).await;
    for id in 0..50 {
        assert_eq!(session.reply_to(&format!("b{id}")).await["text"], "t");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_ping_and_handshake_are_answered_while_every_worker_hangs() {
    for run in ["pool", "blocking", "future"] {
        let mut config = with([script("script", run, "hang"), plugin("echo", "Echo")]);
        config.limits.max_workers = 2;
        let host = TestHost::start(config).await;
        let switch = Switch::new();
        let mut session = host.session();
        for _ in 0..40 {
            session.send("script/never/req", json!({ "probe": switch.key() })).await;
        }
        switch.entered(if run == "future" { 40 } else { 2 }).await;
        for _ in 0..10 {
            let start = now();
            silent(&mut session).await;
            assert_eq!(session.handshake(&["test"]).await["ok"], true);
            let inline = session.call("echo/inline/req", json!({ "text": "t" })).await;
            assert_eq!(inline["text"], "t");
            assert!(start.elapsed() < Duration::from_millis(300), "{run}: {:?}", start.elapsed());
        }
        switch.open();
        for _ in 0..40 {
            assert_eq!(next(&mut session).await["by"], "script");
        }
        settled(&host).await;
        session.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_session_too_many_is_refused_and_the_others_stay() {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_sessions = 2;
    let host = TestHost::start(config).await;
    let (mut one, mut two) = (host.session(), host.session());
    host.until("two sessions", |it| it.sessions == 2).await;
    let mut one_more = host.session();
    let refusal = one_more.next().await.expect("a word before the end");
    assert_eq!((&refusal["type"], &refusal["code"]), (&json!("error"), &json!("overloaded")));
    assert!(one_more.next().await.is_none(), "it sees the end of the stream");
    serves(&mut one).await;
    serves(&mut two).await;
    one.finish().await;
    host.until("a free place", |it| it.sessions == 1).await;
    let mut three = host.session();
    serves(&mut three).await;
    two.finish().await;
    three.finish().await;
    end(host).await;
}

/// Answers of short work are sent together, and a batch of it is begun together. Neither may hold
/// anything up when the next piece of work takes long.
#[tokio::test(flavor = "multi_thread")]
async fn r26_an_answer_does_not_wait_for_what_comes_behind_it_and_hangs() {
    for behind in ["pool", "inline"] {
        let second = script("second", behind, "hang").with_setting("own_type", "second/req");
        let mut config = with([script("first", "pool", "reply"), second]);
        config.limits.max_workers = 1;
        let host = TestHost::start(config).await;
        let switch = Switch::new();
        let mut session = host.session();
        // From these the host learns that its work is short.
        for _ in 0..10 {
            assert_eq!(session.call("script/first/req", json!({})).await["by"], "first");
        }
        let line = |kind: &str, id: &str| {
            json!({ "type": kind, "id": id, "probe": switch.key() }).to_string() + "\n"
        };
        let batch = line("script/first/req", "short") + &line("second/req", "long");
        session.send_bytes(batch.as_bytes()).await;
        assert_eq!(session.reply_to("short").await["by"], "first", "{behind}");
        switch.entered(1).await;
        switch.open();
        assert_eq!(session.reply_to("long").await["type"], "script/resp", "{behind}");
        session.finish().await;
        end(host).await;
    }
}

/// Counts how often the host asks for input.
struct Counted(ByteSource, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_waits_is_not_woken_by_what_its_session_answers() {
    const CALLS: usize = 50;

    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    for kind in echo::TYPES {
        let asked = Arc::new(AtomicUsize::new(0));
        let (client, end) = memory_pair();
        let source = Box::new(Counted(end.source, Arc::clone(&asked)));
        host.executor().spawn(Connection { source, ..end });
        let mut session = TestSession::over(client);
        serves(&mut session).await;
        let before = asked.load(Ordering::Relaxed);
        for _ in 0..CALLS {
            session.call(kind, json!({})).await;
            // Else the next line would wake it as well.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let asked = asked.load(Ordering::Relaxed) - before;
        // Once when there is input, once whether there is more, once to be told of more.
        assert!(asked <= 3 * CALLS + 10, "{kind}: asked {asked} times");
        session.finish().await;
    }
    end(host).await;
}
