//! A client that is slower than its processes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;

/// What a process has written so far, by the size of the file that it notes it in.
fn progress(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |it| it.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_client_that_does_not_read_holds_the_process_back_and_loses_nothing() {
    let host = host_with(plugin().with_setting("max_output_bytes", 1 << 20)).await;
    let mut session = host.session();
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("note");
    // 32 MiB in lines of 1 KiB; one byte in the file for each 64 KiB.
    let script = "import sys\n\
        note = open(sys.argv[1], 'wb', 0)\n\
        for n in range(32 << 10):\n\
        \x20   sys.stdout.write(str(n).rjust(1023, '.') + '\\n')\n\
        \x20   if n % 64 == 63: sys.stdout.flush(); note.write(b'x')\n";
    let id = spawn(&mut session, json!({ "cmd": ["python3", "-c", script, note] })).await;
    let held = async {
        let mut last = 0;
        loop {
            sleep(Duration::from_millis(300)).await;
            let now = progress(&note);
            if now > 0 && now == last {
                return now;
            }
            last = now;
        }
    };
    let written = tokio::time::timeout(PATIENCE, held).await.unwrap() << 16;
    // 1 MiB here, half of 1 MiB in the sink, 256 KiB and 64 KiB in the two pipes.
    assert!((1 << 20..4 << 20).contains(&written), "{written} bytes were taken");
    assert_eq!(status(&mut session, &id).await, "running");
    let start = Instant::now();
    let told = told(&mut session, &id).await;
    println!("32 MiB in lines of 1 KiB: {:?}", start.elapsed());
    assert_eq!((told.stdout.len(), told.code), (32 << 10, Some(0)));
    for (n, line) in told.stdout.iter().enumerate() {
        assert_eq!(line.trim_start_matches('.').trim_end(), n.to_string());
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_a_flood_of_output_does_not_hold_up_the_requests_of_its_session() {
    let host = host().await;
    let mut session = host.session();
    let mut other = host.session();
    let id = spawn(&mut session, sh("yes")).await;
    // The flood stands before the first of the requests.
    sleep(Duration::from_millis(300)).await;
    let (mut slowest, mut others) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..100 {
        let start = Instant::now();
        let pong = session.call("ping", json!({})).await;
        assert_eq!(pong["type"], "pong");
        session.others();
        slowest = slowest.max(start.elapsed());
        let start = Instant::now();
        other.call("ping", json!({})).await;
        others = others.max(start.elapsed());
    }
    println!("slowest ping beside `yes`: {slowest:?}, of another session {others:?}");
    // Half a megabyte of events stands before each answer, and a test reads slowly.
    assert!(slowest < PATIENCE && others < PATIENCE, "{slowest:?} {others:?}");
    assert_eq!(status(&mut session, &id).await, "running");
    assert_eq!(kill(&mut session, &id, "SIGTERM").await["ok"], true);
    let events = session.others();
    assert_eq!(events.last().unwrap()["stream_type"], "killed");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_client_that_goes_without_reading_leaves_nothing() {
    let host = host().await;
    let token = token();
    for _ in 0..4 {
        let mut session = host.session();
        spawn(&mut session, sh(&format!("sleep {token} & yes"))).await;
        until("it runs", || sleepers(&token) == 1).await;
        drop(session);
        until("it is gone", || sleepers(&token) == 0).await;
    }
    host.until("no session", |status| status.sessions == 0).await;
    host.stop().await;
}
