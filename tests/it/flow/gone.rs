//! Clients that leave, and clocks that jump (R42, R45).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use a2e_core::transport::from_tcp;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::probe::Switch;
use crate::support::{
    Carrier, audited, end, is_idle, now, plugin, records, script, serves, settled, tuned, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn r42_the_calls_of_a_client_that_left_are_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    // The end of input on TCP may be a half-close: calls go on for the time of the drain.
    for carrier in Carrier::ALL.into_iter().filter(|it| *it != Carrier::Tcp) {
        for run in ["future", "pool"] {
            let path = folder.path().join(format!("{carrier:?}{run}"));
            let act = if run == "pool" { "watch" } else { "hang" };
            let bad = tuned(script("script", run, act), |it| it.permits = Some(1));
            let host = TestHost::start(audited(with([bad]), &path)).await;
            let switch = Switch::new();
            let mut session = carrier.open(&host).await;
            for _ in 0..3 {
                session.send("script/never/req", json!({ "probe": switch.key() })).await;
            }
            host.until("two in the queue", |it| it.waiting == 2).await;
            switch.noted("script").await;
            let start = now();
            drop(session);
            host.until("its end", |it| it.sessions == 0 && is_idle(it)).await;
            assert!(start.elapsed() < Duration::from_secs(1), "{carrier:?} {:?}", start.elapsed());
            switch.noted(if run == "pool" { "cancelled" } else { "future dropped" }).await;
            assert_eq!(of_calls(&host), 3);
            end(host).await;
            let outcomes: Vec<_> =
                records(&path).into_iter().map(|mut it| it["outcome"].take()).collect();
            assert_eq!(outcomes, ["client_gone"; 3], "{carrier:?} {run}");
        }
    }
}

/// How many calls were made of the one plugin.
fn of_calls(host: &TestHost) -> u64 {
    host.executor().status().plugins[0].calls
}

/// A TCP session, and the client's end of it.
async fn tcp(host: &TestHost) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    host.executor().spawn(from_tcp(server));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_connection_that_is_reset_counts_as_a_client_that_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let host = TestHost::start(audited(with([script("script", "future", "hang")]), &path)).await;
    let switch = Switch::new();
    let client = tcp(&host).await;
    let line = json!({ "type": "script/never/req", "id": "a", "probe": switch.key() });
    let bytes = format!("{line}\n");
    client.writable().await.unwrap();
    assert_eq!(client.try_write(bytes.as_bytes()).unwrap(), bytes.len());
    switch.entered(1).await;
    let start = now();
    client.set_zero_linger().unwrap();
    drop(client);
    host.until("its end", |it| it.sessions == 0 && is_idle(it)).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    end(host).await;
    assert_eq!(records(&path)[0]["outcome"], "client_gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_client_that_only_ends_its_input_still_gets_its_answers() {
    let host = TestHost::start(with([script("script", "future", "hang")])).await;
    let switch = Switch::new();
    let mut session = TestSession::over(from_tcp(tcp(&host).await));
    let id = session.send("script/never/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    let rest = tokio::spawn(session.finish());
    host.until("the drain", |it| it.sessions == 1).await;
    switch.open();
    let rest = rest.await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0]["req_id"], json!(id));
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_thousand_clients_that_leave_in_mid_message_leave_nothing() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    for round in 0..10 {
        let mut sessions = Vec::new();
        for _ in 0..100 {
            let mut session = host.session();
            session.send_bytes(b"{\"type\":\"echo/pool/req\",\"id\":\"a\"}\n{\"type\":\"ec").await;
            sessions.push(session);
        }
        drop(sessions);
        host.until("the end of all", |it| it.sessions == 0).await;
        assert!(round < 10);
    }
    settled(&host).await;
    end(host).await;
}

const YEAR: u64 = 31_556_952;

#[tokio::test(flavor = "multi_thread")]
async fn r45_jumps_of_the_wall_clock_change_nothing() {
    let clock = ManualClock::new();
    clock.set_wall(Duration::from_secs(1_700_000_000));
    let config = with([script("script", "future", "hang"), plugin("echo", "Echo")]);
    let host = TestHost::build(Executor::builder(config).clock(clock.clone())).await.unwrap();
    let switch = Switch::new();
    let mut session = host.session();
    let first = session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(1).await;
    for wall in [1_700_003_600, 1_699_996_400, 1_700_000_000 + 10 * YEAR, 0, 1_700_000_000] {
        clock.set_wall(Duration::from_secs(wall));
        let pong = session.call("ping", json!({})).await;
        assert_eq!(pong["uptime_seconds"], 0.0, "{wall}");
        assert_eq!(pong["ts"].to_string(), format!("{wall}.0"), "the time of day is told as it is");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(host.executor().status().in_flight, 1, "{wall}: nothing timed out");
    }
    // On the monotonic scale 30 s are 30 s.
    clock.advance(Duration::from_millis(29_900));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(host.executor().status().in_flight, 1);
    clock.advance(Duration::from_millis(100));
    assert_eq!(session.reply_to(&first).await["code"], "timeout");
    // The drain goes by the same clock.
    session.send("script/all/req", json!({ "probe": switch.key() })).await;
    switch.entered(2).await;
    session.send("shutdown", json!({ "timeout": 5 })).await;
    clock.set_wall(Duration::from_secs(2_000_000_000));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(host.executor().status().sessions, 1);
    clock.advance(Duration::from_secs(5));
    assert_eq!(session.next().await.unwrap()["code"], "shutting_down");
    assert!(session.next().await.is_none());
    drop(session);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_what_a_client_left_half_said_is_not_run() {
    let host = TestHost::start(with([plugin("keeper", "Keeper")])).await;
    let mut other = host.session();
    let mut session = host.session();
    session.send_bytes(br#"{"type":"keeper/add/req","id":"a","add":1"#).await;
    drop(session);
    host.until("its end", |it| it.sessions == 1).await;
    assert_eq!(other.call("keeper/add/req", json!({})).await["total"], 0);
    serves(&mut other).await;
    other.finish().await;
    end(host).await;
}
