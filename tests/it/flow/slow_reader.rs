//! A reader that stops is held back, then cut, and disturbs nobody (R20, R21).

use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::HostConfig;
use a2e_core::testing::TestHost;
use a2e_core::transport::Connection;
use serde_json::json;

use crate::support::{Carrier, end, is_idle, now, plugin, script, serves, with};
use a2e_core::testing::TestSession;

const OUTBOUND: usize = 64 * 1024;
const REPLY: usize = 8 * 1024;

fn config() -> HostConfig {
    let mut config = with([plugin("echo", "Echo"), script("script", "inline", "reply")]);
    config.limits.max_outbound_bytes = OUTBOUND;
    config
}

/// A request whose reply is [`REPLY`] long.
fn wanting(id: usize) -> String {
    format!("{{\"type\":\"script/all/req\",\"id\":\"w{id}\",\"pad\":{REPLY}}}\n")
}

/// Writes as long as the host takes something, without reading; returns how many requests went out.
async fn stuff(connection: &Connection) -> usize {
    let mut sent = 0;
    for id in 0.. {
        let line = wanting(id);
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match connection.sink.try_write(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let more = connection.sink.ready();
                    let more = tokio::time::timeout(Duration::from_millis(100), more).await;
                    if more.is_err() {
                        // Half a line may stand there; the rest of it is sent when the host reads on.
                        return if rest.len() == line.len() {
                            sent
                        } else {
                            finish(connection, rest, sent)
                        };
                    }
                }
                // Cut already.
                Err(_) => return sent,
            }
        }
        sent += 1;
    }
    sent
}

/// The tail of a half-sent line goes out in the background.
fn finish(connection: &Connection, rest: &[u8], sent: usize) -> usize {
    let (sink, rest) = (std::sync::Arc::clone(&connection.sink), rest.to_vec());
    tokio::spawn(async move {
        let mut rest = rest.as_slice();
        while !rest.is_empty() {
            match sink.try_write(rest) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if sink.ready().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    sent + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_r21_a_reader_that_stops_is_held_back_and_resumes() {
    for carrier in Carrier::ALL {
        let host = TestHost::start(config()).await;
        let slow = carrier.connect(&host).await;
        let sent = stuff(&slow).await;
        // Where the host is slow, the transport may be full before the host is.
        host.until("a reader that is held back", |it| it.unsent_bytes >= OUTBOUND).await;
        let status = host.executor().status();
        let bound = OUTBOUND + 2 * REPLY;
        assert!(status.unsent_bytes <= bound, "{carrier:?}: {}", status.unsent_bytes);

        // Nobody else notices.
        let mut other = host.session();
        for _ in 0..20 {
            let start = now();
            serves(&mut other).await;
            assert!(start.elapsed() < Duration::from_millis(500), "{carrier:?}");
        }
        other.finish().await;

        // It reads again and gets every answer, also to the lines that the host had read already.
        let mut slow = TestSession::over(slow);
        for id in 0..sent {
            let reply = slow.reply_to(&format!("w{id}")).await;
            assert_eq!(reply["pad"].as_str().map(str::len), Some(REPLY), "{carrier:?} {id}");
        }
        serves(&mut slow).await;
        slow.finish().await;
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_lines_that_were_read_before_the_pause_need_no_further_input() {
    let host = TestHost::start(config()).await;
    let mut session = host.session();
    // All of it fits one read of the host, the replies do not fit the transport and the limit.
    let count = 200;
    let batch: String = (0..count).map(wanting).collect();
    session.send_bytes(batch.as_bytes()).await;
    host.until("a full sink", |it| it.unsent_bytes >= OUTBOUND).await;
    for id in 0..count {
        session.reply_to(&format!("w{id}")).await;
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_r21_the_end_of_input_behind_a_pause_loses_no_line() {
    let host = TestHost::start(config()).await;
    let mut session = host.session();
    let count = 200;
    let batch: String = (0..count).map(wanting).collect();
    session.send_bytes(batch.as_bytes()).await;
    let replies = session.finish().await;
    assert_eq!(replies.len(), count);
    assert!(replies.iter().all(|it| it["type"] == "script/resp"));
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_who_takes_nothing_for_long_is_cut_but_never_on_stdio() {
    let limit = Duration::from_millis(200);
    for carrier in Carrier::ALL {
        let builder = Executor::builder(config()).stall_limit(limit);
        let host = TestHost::build(builder).await.unwrap();
        let slow = carrier.connect(&host).await;
        let start = now();
        stuff(&slow).await;
        if matches!(carrier, Carrier::Stdio) {
            tokio::time::sleep(limit * 2).await;
            assert_eq!(host.executor().status().sessions, 1, "stdio is only held back");
            assert!(host.executor().status().unsent_bytes >= OUTBOUND);
            drop(slow);
        } else {
            host.until("the cut", |it| it.sessions == 0).await;
            assert!(start.elapsed() >= limit, "{carrier:?} {:?}", start.elapsed());
            assert!(slow.sink.try_write(b"x").is_err(), "{carrier:?}: the connection is closed");
        }
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_who_takes_a_little_now_and_then_is_not_cut() {
    let limit = Duration::from_millis(200);
    let builder = Executor::builder(config()).stall_limit(limit);
    let host = TestHost::build(builder).await.unwrap();
    let mut slow = host.executor().connect();
    stuff(&slow).await;
    let mut block = vec![0; 1024];
    let start = now();
    while start.elapsed() < limit * 3 {
        tokio::io::AsyncReadExt::read_exact(&mut slow.source, &mut block).await.unwrap();
        tokio::time::sleep(limit / 8).await;
    }
    assert_eq!(host.executor().status().sessions, 1);
    drop(slow);
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_one_line_longer_than_the_limit_still_fits() {
    let host = TestHost::start(config()).await;
    let mut session = host.session();
    let reply = session.call("script/all/req", json!({ "pad": 4 * OUTBOUND })).await;
    assert_eq!(reply["pad"].as_str().map(str::len), Some(4 * OUTBOUND));
    serves(&mut session).await;
    host.until("all sent", is_idle).await;
    session.finish().await;
    end(host).await;
}
