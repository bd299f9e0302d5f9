//! Lines: their length, their ends, their depth (R10, R11).

use a2e_core::testing::TestHost;
use serde_json::json;

use crate::support::{Carrier, end, next, plugin, serves, with};

const LIMIT: usize = 4096;

async fn small_host() -> TestHost {
    let mut config = with([plugin("echo", "Echo")]);
    config.limits.max_line_bytes = LIMIT;
    TestHost::start(config).await
}

/// A request of exactly this many bytes.
fn line_of(length: usize) -> String {
    let line = |text: &str| format!(r#"{{"type":"echo/inline/req","id":"a","text":"{text}"}}"#);
    line(&"x".repeat(length - line("").len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_an_over_long_line_gets_one_error_and_the_session_goes_on() {
    for carrier in Carrier::ALL {
        let host = small_host().await;
        let mut session = carrier.open(&host).await;
        for length in [LIMIT, LIMIT + 1, 100_000, 3_000_000] {
            session.send_line(&line_of(length)).await;
            let answer = next(&mut session).await;
            if length <= LIMIT {
                assert_eq!(answer["type"], "echo/resp", "{carrier:?} {length}");
            } else {
                assert_eq!(answer["type"], "error", "{carrier:?} {length}: {answer}");
                assert_eq!(answer["code"], "line_too_long");
                assert_eq!(answer["req_id"], "", "the line was not read, so its id is not known");
                assert_eq!(answer["retryable"], false);
                assert!(answer["message"].as_str().unwrap().contains("4096"), "{answer}");
            }
            serves(&mut session).await;
        }
        assert!(session.finish().await.is_empty(), "one error each, no more");
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_an_over_long_line_without_end_is_answered_at_once_and_once() {
    let host = small_host().await;
    let mut session = host.session();
    session.send_bytes(&[b'x'; LIMIT + 1]).await;
    assert_eq!(next(&mut session).await["code"], "line_too_long");
    for _ in 0..100 {
        session.send_bytes(&[b'x'; LIMIT]).await;
    }
    session.send_bytes(b"\n{\"type\":\"ping\",\"id\":\"p\"}\n").await;
    assert_eq!(next(&mut session).await["req_id"], "p");
    session.send_bytes(&[b'{'; LIMIT * 2]).await;
    let rest = session.finish().await;
    assert_eq!(rest.len(), 1, "its end by the end of input is no second error: {rest:?}");
    assert_eq!(rest[0]["code"], "line_too_long");
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_line_ends_blanks_and_byte_order_marks() {
    let ping = r#"{"type":"ping","id":"p"}"#;
    for (bytes, expected) in [
        (format!("{ping}\n"), vec!["pong"]),
        (format!("{ping}\r\n"), vec!["pong"]),
        (format!("\n\r\n \t \r\n{ping}\n\n\n"), vec!["pong"]),
        (format!("  \t{ping}  \t\r\n"), vec!["pong"]),
        (format!("{ping}\n{ping}\r\n{ping}\n"), vec!["pong"; 3]),
        (format!("{ping}{ping}\n"), vec!["parse_error"]),
        (format!("{ping}\r{ping}\n"), vec!["parse_error"]),
        // A byte order mark is passed over before the first line, and refused after it.
        (format!("\u{feff}{ping}\n{ping}\n"), vec!["pong", "pong"]),
        (format!("\u{feff}\n{ping}\n"), vec!["pong"]),
        (format!("\u{feff}\u{feff}{ping}\n{ping}\n"), vec!["parse_error", "pong"]),
        (format!("\n\u{feff}{ping}\n{ping}\n"), vec!["parse_error", "pong"]),
        (format!("{ping}\n\u{feff}{ping}\n"), vec!["pong", "parse_error"]),
        // No other white space makes a line blank.
        (format!("\u{a0}\n{ping}\n"), vec!["parse_error", "pong"]),
        (
            format!("\u{b}\n\u{c}\n\0\n{ping}\n"),
            vec!["parse_error"; 3].into_iter().chain(["pong"]).collect(),
        ),
    ] {
        let host = small_host().await;
        let mut session = host.session();
        session.send_bytes(bytes.as_bytes()).await;
        let got: Vec<String> = session.finish().await.iter().map(brief).collect();
        assert_eq!(got, expected, "{bytes:?}");
        end(host).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_come_together_are_answered_as_if_each_came_by_itself() {
    let kinds = |number: usize| match number {
        0 | 1 => line_of(200) + "\n",
        2 => line_of(LIMIT) + "\n",
        3 => line_of(LIMIT + 1) + "\n",
        4 => "\n".to_owned(),
        5 => " \t\r\n".to_owned(),
        6 => "{\"type\":\"ping\"\n".to_owned(),
        7 => "{\"type\":\"nobody/req\",\"id\":\"n\"}\n".to_owned(),
        8 => "{\"type\":\"error\",\"id\":\"e\"}\r\n".to_owned(),
        _ => "{\"type\":\"ping\",\"id\":\"p\"}\n".to_owned(),
    };
    // Each kind follows each other one, in runs longer than what is checked at once.
    for step in [1, 3, 7, 9] {
        let mut lines: Vec<String> = (0..150).map(|at| kinds(at * step % 10)).collect();
        lines.extend((0..100).map(|_| kinds(0)));
        let host = small_host().await;
        let answers = |messages: Vec<serde_json::Value>| -> Vec<_> {
            messages.iter().map(|it| (brief(it), it["req_id"].to_string())).collect()
        };
        let mut together = host.session();
        together.send_bytes(lines.concat().as_bytes()).await;
        let mut apart = host.session();
        for line in &lines {
            apart.send_bytes(line.as_bytes()).await;
        }
        let (together, apart) = (answers(together.finish().await), answers(apart.finish().await));
        assert!(together.len() > 150, "{together:?}");
        assert_eq!(together, apart, "step {step}");
        end(host).await;
    }
}

/// The type, or the code of an error.
fn brief(message: &serde_json::Value) -> String {
    let key = if message["type"] == "error" { "code" } else { "type" };
    message[key].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_text_is_utf_8_also_where_nobody_looks() {
    let host = small_host().await;
    let mut session = host.session();
    let around = |middle: &[u8]| {
        [br#"{"type":"echo/inline/req","id":"a","unknown":""#, middle, b"\"}\n"].concat()
    };
    for (middle, is_good) in [
        ("grüße \u{2028}\u{1f600}".as_bytes(), true),
        (b"\xff".as_slice(), false),
        (b"\xc3", false),
        (b"\xed\xa0\x80", false),
        (b"\xc0\xaf", false),
        (b"\xf4\x90\x80\x80", false),
        (b"\\ud800", false),
        (b"\\udc00\\ud800", false),
        (b"\\ud83d\\ude00", true),
        (b"\\u0000", true),
        (b"a\0b", false),
        (b"\x7f", true),
    ] {
        session.send_bytes(&around(middle)).await;
        let answer = next(&mut session).await;
        let expected = if is_good { "echo/resp" } else { "parse_error" };
        assert_eq!(brief(&answer), expected, "{middle:?}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_numbers_and_literals_are_those_of_json() {
    let host = small_host().await;
    let mut session = host.session();
    for (value, is_good) in [
        ("0", true),
        ("-0.0e-3", true),
        ("1e308", true),
        ("NaN", false),
        ("Infinity", false),
        ("-Infinity", false),
        ("1e400", false),
        ("01", false),
        (".5", false),
        ("5.", false),
        ("+1", false),
        ("0x10", false),
        ("True", false),
        ("nul", false),
        ("'a'", false),
        ("[1,]", false),
        ("{\"a\":1,}", false),
        ("{a:1}", false),
        ("// x", false),
        ("undefined", false),
    ] {
        let line = format!(r#"{{"type":"echo/inline/req","id":"a","unknown":{value}}}"#);
        session.send_line(&line).await;
        let expected = if is_good { "echo/resp" } else { "parse_error" };
        assert_eq!(brief(&next(&mut session).await), expected, "{value}");
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_depth_127_is_read_and_128_is_not() {
    let host = small_host().await;
    let mut session = host.session();
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // The message itself is the first level.
    for (key, levels, expected) in [
        ("unknown", 126, "echo/resp"),
        ("unknown", 127, "parse_error"),
        ("unknown", 1500, "parse_error"),
        ("data", 126, "echo/resp"),
        ("data", 127, "parse_error"),
        ("data", 1500, "parse_error"),
    ] {
        for kind in ["echo/inline/req", "echo/dynamic/req", "echo/dynamic_future/req"] {
            let line = format!(r#"{{"type":"{kind}","id":"a","{key}":{}}}"#, nested(levels));
            session.send_line(&line).await;
            let answer = next(&mut session).await;
            assert_eq!(brief(&answer), expected, "{kind} {key} {levels}");
            let echoed = expected == "echo/resp" && key == "data";
            assert_eq!(answer["data"].is_array(), echoed, "the raw body comes back whole");
        }
    }
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_brackets_without_end_abort_nothing() {
    let host = TestHost::start(with([plugin("echo", "Echo")])).await;
    let mut session = host.session();
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let prefix = r#"{"type":"echo/inline/req","id":"a","data":"#;
        session.send_line(&format!("{prefix}{}", open.repeat(100_000))).await;
        assert_eq!(brief(&next(&mut session).await), "parse_error", "{open}");
        session.send_line(&open.repeat(100_000)).await;
        assert_eq!(brief(&next(&mut session).await), "parse_error", "{open}");
    }
    serves(&mut session).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_a_reply_wraps_the_deepest_payload_that_is_accepted() {
    let host = small_host().await;
    let mut session = host.session();
    // The reply adds two levels to those of the request.
    for (levels, expected) in [
        (1, "echo/wrap/resp"),
        (120, "echo/wrap/resp"),
        (124, "echo/wrap/resp"),
        (126, "echo/wrap/resp"),
        (127, "parse_error"),
    ] {
        let data = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        session.send_line(&format!(r#"{{"type":"echo/wrap/req","id":"a","data":{data}}}"#)).await;
        let answer = next(&mut session).await;
        assert_eq!(brief(&answer), expected, "{levels}: {}", answer["message"]);
    }
    assert_eq!(session.call("echo/inline/req", json!({"text": "on"})).await["text"], "on");
    session.finish().await;
    end(host).await;
}
