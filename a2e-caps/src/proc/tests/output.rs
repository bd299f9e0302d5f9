//! Order, ends and forms of output.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn r41_ten_thousand_lines_of_each_stream_come_in_order() {
    let host = host().await;
    let mut session = host.session();
    let script = "i=0; while [ $i -lt 10000 ]; do echo $i; echo $i >&2; i=$((i+1)); done";
    let told = run(&mut session, script).await;
    let expected: Vec<String> = (0..10_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(told.stdout, expected);
    assert_eq!(told.stderr, expected);
    assert_eq!(told.code, Some(0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_told_line_by_line_as_text() {
    let host = host().await;
    let mut session = host.session();
    for (script, stdout) in [
        ("true", &[][..]),
        ("printf '\\n\\n'", &["\n", "\n"]),
        ("printf 'a\\r\\nb'", &["a\r\n", "b"]),
        ("printf 'ok \\377\\376 \\303\\244\\n'", &["ok \u{fffd}\u{fffd} ä\n"]),
        ("printf 'cut \\303'", &["cut \u{fffd}"]),
        ("printf 'nul \\000 \\033[1m\\n'", &["nul \u{0} \u{1b}[1m\n"]),
        ("printf '\\342\\200\\250\\n'", &["\u{2028}\n"]),
    ] {
        assert_eq!(run(&mut session, script).await.stdout, stdout, "{script}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_line_without_end_comes_in_parts() {
    let host = host().await;
    let mut session = host.session();
    let script = "import sys; sys.stdout.write('ä' * 100_000 + '\\n' + 'end')";
    let id = spawn(&mut session, json!({ "cmd": ["python3", "-c", script] })).await;
    let told = told(&mut session, &id).await;
    assert_eq!(told.stdout.concat(), format!("{}\nend", "ä".repeat(100_000)));
    // More where the writer is held up amid the line.
    assert!(told.stdout.len() >= 5, "{}", told.stdout.len());
    assert!(told.stdout.iter().all(|part| part.len() <= 64 << 10));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_comes_after_the_end_of_both_streams() {
    let host = host().await;
    let mut session = host.session();
    // The streams end before the program does.
    let told = run(&mut session, "echo out; echo err >&2; exec >&- 2>&-; sleep 0.2; exit 5").await;
    assert_eq!((told.stdout, told.stderr), (vec!["out\n".into()], vec!["err\n".into()]));
    assert_eq!(told.code, Some(5));
    // A descendant holds the stream; it ends with the program, and what it wrote is told.
    let token = token();
    let script = format!("(echo before; exec sleep {token}) & sleep 0.3; echo last");
    let told = run(&mut session, &script).await;
    assert_eq!((told.stdout.len(), told.code), (2, Some(0)));
    assert_eq!(sleepers(&token), 0, "nothing is left when the exit is told");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_are_told_with_code_or_negative_signal() {
    let host = host().await;
    let mut session = host.session();
    for (script, code, expected) in [
        ("exit 0", 0, "completed"),
        ("exit 1", 1, "failed"),
        ("exit 255", 255, "failed"),
        ("kill -9 $$", -9, "failed"),
        ("kill -15 $$", -15, "failed"),
    ] {
        let id = spawn(&mut session, sh(script)).await;
        assert_eq!(told(&mut session, &id).await.code, Some(code), "{script}");
        assert_eq!(status(&mut session, &id).await, expected, "{script}");
    }
    host.stop().await;
}
