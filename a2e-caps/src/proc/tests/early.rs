//! Output comes when it is written, lines whole where they come whole.

use tokio::time::{Instant, sleep, timeout};

use super::*;

/// A script of Python, which flushes when it is told to.
fn python(script: &str) -> Value {
    json!({ "cmd": ["python3", "-u", "-c", script] })
}

/// The text of the next event.
async fn text(session: &mut TestSession, id: &str) -> String {
    let event = timeout(PATIENCE, event(session, id)).await.expect("an event comes");
    event["data"]["text"].as_str().expect("it is output").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_comes_while_the_process_waits_for_its_answer() {
    let host = host().await;
    let mut session = host.session();
    for (script, stream) in [
        ("printf 'größe? '; read x; echo \"$x\"", "stdout"),
        ("printf 'größe? ' >&2; read x; echo \"$x\"", "stderr"),
        ("printf 'one\\ngröße? '; read x; echo \"$x\"", "stdout"),
    ] {
        let start = Instant::now();
        let id = spawn(&mut session, sh(script)).await;
        let mut seq = 1;
        if script.contains("one") {
            assert_eq!(text(&mut session, &id).await, "one\n");
            seq += 1;
        }
        let event = event(&mut session, &id).await;
        println!("a prompt came {:?} after its process was asked for", start.elapsed());
        assert_eq!(
            (&event["data"]["text"], &event["stream_type"]),
            (&json!("größe? "), &json!(stream))
        );
        write(&mut session, &id, "7\n", true).await;
        let told = told_from(&mut session, &id, seq).await;
        assert_eq!((told.stdout, told.code), (vec!["7\n".to_owned()], Some(0)));
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_progress_bar_comes_as_it_moves() {
    let host = host().await;
    let mut session = host.session();
    // It moves on when it was seen.
    let script = "import sys\n\
        for n in range(0, 101, 20):\n\
        \x20   sys.stdout.write(f'\\r{n}%')\n\
        \x20   sys.stdin.readline()\n\
        sys.stdout.write('\\ndone\\n')\n";
    let id = spawn(&mut session, python(script)).await;
    for (seq, percent) in (0..).zip((0..101).step_by(20)) {
        let event = event(&mut session, &id).await;
        assert_eq!(
            (&event["seq"], &event["data"]["text"]),
            (&json!(seq), &json!(format!("\r{percent}%")))
        );
        write(&mut session, &id, "\n", percent == 100).await;
    }
    let told = told_from(&mut session, &id, 6).await;
    assert_eq!((told.stdout.concat().as_str(), told.code), ("\ndone\n", Some(0)));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_come_whole_stay_whole() {
    let host = host().await;
    let mut session = host.session();
    // Each in one write, however far apart.
    for (script, expected) in [
        ("for n in 1 2 3; do echo line $n; sleep 0.1; done", &["line 1\n", "line 2\n", "line 3\n"]),
        ("for n in 1 2 3; do printf '%s\\r\\n' a; sleep 0.1; done", &["a\r\n"; 3]),
    ] {
        assert_eq!(run(&mut session, script).await.stdout, expected, "{script}");
    }
    let script = "import os\nfor n in range(2): os.write(1, b'l' * 30000 + b'\\n')";
    let id = spawn(&mut session, python(script)).await;
    let line = "l".repeat(30_000) + "\n";
    assert_eq!(told(&mut session, &id).await.stdout, vec![line; 2]);
    // In two writes with a wait between them: told as they were written, and a character never by
    // halves, unless the machine is so slow that they come as one.
    for (script, parts) in [
        ("printf begun; sleep 0.3; printf ' done\\n'", &["begun", " done\n"][..]),
        ("printf '\\303'; sleep 0.3; printf '\\244\\n'", &["ä\n"]),
        ("printf 'a\\303'; sleep 0.3; printf '\\244\\n'", &["a", "ä\n"]),
        ("printf 'a\\303'; sleep 0.3", &["a", "\u{fffd}"]),
    ] {
        let told = run(&mut session, script).await.stdout;
        assert!(told == parts || told == [parts.concat()], "{script}: {told:?}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_gets_its_lines_whole_all_the_same() {
    let host = host_with(plugin().with_setting("max_output_bytes", 4096)).await;
    let mut session = host.session();
    let script = "import os\nfor n in range(3000): os.write(1, b'%999d\\n' % n)";
    let id = spawn(&mut session, python(script)).await;
    // Held back amid a line, for longer than the beginning of a line waits.
    sleep(Duration::from_millis(500)).await;
    let told = told(&mut session, &id).await;
    assert_eq!(told.stdout.len(), 3000);
    assert!(told.stdout.iter().all(|line| line.len() == 1000));
    host.stop().await;
}

/// Less than a wait of 20 ms takes, of which the beginning is not seen here.
const WAIT: Duration = Duration::from_millis(10);

/// The shortest and the longest time, of many, from a spawn's reply to the first output of a short
/// process.
async fn times(session: &mut TestSession) -> (Duration, Duration) {
    let (mut shortest, mut longest) = (PATIENCE, Duration::ZERO);
    for _ in 0..20 {
        let id = spawn(session, sh("echo here")).await;
        let start = Instant::now();
        assert_eq!(text(session, &id).await, "here\n");
        let took = start.elapsed();
        (shortest, longest) = (shortest.min(took), longest.max(took));
        assert_eq!(told_from(session, &id, 1).await.code, Some(0));
    }
    (shortest, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_that_needs_it_is_waited_for() {
    let host = host().await;
    for (features, waits) in [
        (json!(["early_events"]), false),
        (json!(["another", "early_events"]), false),
        (json!(["another"]), true),
        (json!([]), true),
        (Value::Null, true),
    ] {
        let mut session = host.session();
        let mut request = json!({ "agent_id": "a", "agent_caps": ["proc"] });
        if !features.is_null() {
            request["client_features"] = features.clone();
        }
        let reply = session.call("handshake/req", request).await;
        assert_eq!(reply["ok"], true, "{reply}");
        let (shortest, longest) = times(&mut session).await;
        println!("{features}: output {shortest:?} to {longest:?} after the reply");
        // A slow machine adds to the times, and takes away from those that are waited for.
        let is_right = if waits { longest > WAIT } else { shortest < WAIT };
        assert!(is_right, "{features}: {shortest:?} to {longest:?}");
    }
    // Without a handshake nothing is known of the client.
    assert!(times(&mut host.session()).await.1 > WAIT);
    host.stop().await;
}
