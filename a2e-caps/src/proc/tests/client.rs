//! The typed client against a host.

use a2e_client::Client;

use super::super::protocol::{KillSignal, SpawnRequest, StdinMode, StreamType};
use super::super::{ProcClient, ProcError};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn output_is_collected_by_the_process_that_wrote_it() {
    let host = host().await;
    let client = Client::memory(host.executor().connect()).await.unwrap();
    let procs = ProcClient::new(&client);
    // Many at once: their first lines come while other spawns are under way.
    let mut runs = Vec::new();
    for n in 0..20 {
        let script = format!("echo {n}; echo e{n} >&2; exit {n}");
        runs.push(procs.run(["sh".to_owned(), "-c".to_owned(), script]).await.unwrap());
    }
    for (n, process) in runs.into_iter().enumerate() {
        assert!(process.id().len() == 32 && process.pid() > 0);
        let output = process.output().await;
        assert_eq!((output.stdout, output.stderr), (format!("{n}\n"), format!("e{n}\n")));
        assert_eq!((output.code, output.dropped), (Some(i32::try_from(n).unwrap()), 0));
    }
    assert_eq!(procs.list().await.unwrap().len(), 20);
    client.close().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_says_that_nothing_has_to_wait_for_it() {
    let host = host().await;
    let client = Client::memory(host.executor().connect()).await.unwrap();
    let procs = ProcClient::new(&client);
    let mut shortest = PATIENCE;
    for _ in 0..20 {
        let mut process =
            procs.run(["sh", "-c", "printf 'name? '; read x; echo $x"]).await.unwrap();
        let prompt = process.next().await.unwrap();
        assert_eq!(prompt.data.text.as_deref(), Some("name? "));
        process.write("me\n").await.unwrap();
        assert_eq!(process.next().await.unwrap().data.text.as_deref(), Some("me\n"));
        let process = procs.run(["sh", "-c", "true"]).await.unwrap();
        let started = tokio::time::Instant::now();
        assert_eq!(process.output().await.code, Some(0));
        shortest = shortest.min(started.elapsed());
    }
    println!("the end of a short process at least {shortest:?} after its start was told");
    assert!(shortest < Duration::from_millis(15), "{shortest:?}");
    client.close().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_written_to_killed_and_asked_for() {
    let host = host().await;
    let client = Client::memory(host.executor().connect()).await.unwrap();
    let procs = ProcClient::new(&client);
    let mut cat = procs.run(["cat"]).await.unwrap();
    cat.write("hello\n").await.unwrap();
    let line = cat.next().await.unwrap();
    assert_eq!(
        (line.data.text.as_deref(), line.stream_type),
        (Some("hello\n"), StreamType::Stdout)
    );
    assert_eq!(procs.status(cat.id()).await.unwrap(), "running");
    cat.close_input().await.unwrap();
    assert_eq!(cat.next().await.unwrap().data.code, Some(0));
    assert_eq!(cat.next().await, None);
    assert!(matches!(cat.write("x").await, Err(ProcError::Refused(why)) if why.contains("ended")));
    assert!(matches!(cat.kill(KillSignal::Kill).await, Err(ProcError::Refused(_))));

    let request = SpawnRequest {
        cmd: vec!["sleep".to_owned(), "60".to_owned()],
        stdin_mode: StdinMode::Null,
        ..SpawnRequest::default()
    };
    let sleeper = procs.spawn(&request).await.unwrap();
    sleeper.kill(KillSignal::Terminate).await.unwrap();
    assert_eq!(procs.status(sleeper.id()).await.unwrap(), "killed");
    assert_eq!(sleeper.output().await.code, None);

    let refused = procs.run(["rm"]).await.unwrap_err();
    assert!(refused.to_string().starts_with("Command not allowed"), "{refused}");
    client.close().await;
    assert!(matches!(procs.run(["ls"]).await, Err(ProcError::Client(_))));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_output_that_is_not_taken_is_counted_and_the_end_still_comes() {
    let host = host().await;
    let client = Client::memory(host.executor().connect()).await.unwrap();
    let procs = ProcClient::with_buffer(&client, 64 << 10);
    let script = "i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done";
    let process = procs.run(["sh", "-c", script]).await.unwrap();
    let wait = async {
        while procs.status(process.id()).await.unwrap() == "running" || process.dropped() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    let output = process.output().await;
    assert_eq!(output.code, Some(0));
    let kept = output.stdout.lines().count();
    assert!(kept > 100 && output.stdout.starts_with("0\n1\n"), "{kept}");
    assert_eq!(kept as u64 + output.dropped, 5000);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_lost_connection_ends_the_output() {
    let host = host().await;
    let client = Client::memory(host.executor().connect()).await.unwrap();
    let procs = ProcClient::new(&client);
    let mut process = procs.run(["sh", "-c", "echo first; sleep 60"]).await.unwrap();
    assert_eq!(process.next().await.unwrap().data.text.as_deref(), Some("first\n"));
    host.stop().await;
    // The host tells the end of its processes before its own.
    let last = tokio::time::timeout(PATIENCE, process.next()).await.unwrap();
    assert!(last.is_none_or(|event| event.stream_type == StreamType::Killed));
    assert_eq!(tokio::time::timeout(PATIENCE, process.next()).await.unwrap(), None);
}
