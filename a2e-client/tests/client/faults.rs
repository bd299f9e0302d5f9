//! A host that breaks the protocol: what it breaks is counted, and the connection goes on.

use std::time::Duration;

use a2e_client::{CallOptions, ClientError, Options};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn garbage_is_counted_and_the_connection_goes_on() {
    let (client, mut peer) = fake(Options::default().max_line_bytes(2000)).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    let long =
        format!(r#"{{"type":"test/echo/resp","req_id":"{id}","text":"{}"}}"#, "x".repeat(2000));
    let deep = format!(r#"{{"type":"x","a":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let twice =
        format!(r#"{{"type":"test/echo/resp","req_id":"{id}","req_id":"{id}","text":"x"}}"#);
    let bad = [
        "hello, this is a banner",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"type":5}"#,
        r#"{"type":""}"#,
        r#"{"type":"x","type":"y"}"#,
        r#"{"type":"x","version":"2.0"}"#,
        r#"{"type":"x","id":7}"#,
        &twice,
        &deep,
        &long,
    ];
    for line in bad {
        peer.send_line(line).await;
    }
    peer.send_bytes(b"{\"type\":\"\xff\"}\n \t\r\n\r\n").await;
    answer(&mut peer, &id, "still here").await;
    assert_eq!(calling.reply().await.unwrap().text, "still here");
    assert_eq!(client.stats().bad_lines, bad.len() as u64 + 1);
    nothing_is_left(&client);
}

#[tokio::test]
async fn a_bad_answer_fails_its_call_and_no_other() {
    for (fields, expected) in [
        (r#""type":"test/slept/resp","text":"x""#, "where `test/echo/resp` is due"),
        (r#""type":"test/echo/resp""#, "missing field `text`"),
        (r#""type":"test/echo/resp","text":7"#, "text: "),
        (r#""type":"test/echo/resp","text":null"#, "text: "),
        (r#""type":"error""#, "missing field `code`"),
        (r#""type":"error","code":"x","detail":"text""#, "detail"),
        (r#""type":"test/echo/resp","text":"x","version":"2.0""#, "2.0"),
        (r#""type":"test/echo/resp","text":"x","id":5"#, "id"),
        (r#""type":"","text":"x""#, "`type` is empty"),
    ] {
        let (client, mut peer) = fake(Options::default()).await;
        let (bad, good) =
            (client.call(&echo("bad")).await.unwrap(), client.call(&echo("good")).await.unwrap());
        let ((_, bad_id), (_, good_id)) = (heard(&mut peer).await, heard(&mut peer).await);
        peer.send_line(&format!(r#"{{"req_id":"{bad_id}",{fields}}}"#)).await;
        answer(&mut peer, &good_id, "fine").await;
        let error = bad.reply().await.unwrap_err();
        assert!(
            matches!(&error, ClientError::Protocol(text) if text.contains(expected)),
            "{error}"
        );
        assert_eq!(good.reply().await.unwrap().text, "fine");
        nothing_is_left(&client);
    }
}

#[tokio::test]
async fn r43_second_late_and_unknown_answers_are_counted_and_dropped() {
    let (client, mut peer) = fake(Options::default()).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    answer(&mut peer, &id, "first").await;
    answer(&mut peer, &id, "second").await;
    for other in ["", "nobody", "0123456789abcdef0123456789abcdef"] {
        answer(&mut peer, other, "stray").await;
    }
    peer.send_line(&json!({ "type": "error", "req_id": id, "code": "x" }).to_string()).await;
    peer.send_line(&json!({ "type": "x/event", "req_id": id }).to_string()).await;
    peer.send_line(r#"{"type":"error","code":"parse_error","message":"who?"}"#).await;
    assert_eq!(calling.reply().await.unwrap().text, "first");

    let options = CallOptions::within(Duration::from_millis(20));
    assert!(client.rpc_with(&echo("slow"), options).await.is_err());
    let (_, slow) = heard(&mut peer).await;
    let (cancel, _) = heard(&mut peer).await;
    assert_eq!((&cancel["type"], &cancel["req_id"]), (&json!("cancel"), &json!(slow)));
    answer(&mut peer, &slow, "too late").await;
    until("all of them", || client.stats().late_replies == 3).await;
    assert_eq!((client.stats().unclaimed, client.stats().answered), (5, 1));
    nothing_is_left(&client);
}

#[tokio::test]
async fn long_and_escaped_answers_are_read() {
    let (client, mut peer) = fake(Options::default()).await;
    let big = "y".repeat(1 << 20);
    for (json, expected) in [
        (r#""\u00e9\u2028\ud83e\udd80""#.to_owned(), "é\u{2028}🦀"),
        ("\"raw é 🦀\"".to_owned(), "raw é 🦀"),
        (format!("\"{big}\""), big.as_str()),
    ] {
        let calling = client.call(&echo("x")).await.unwrap();
        let (_, id) = heard(&mut peer).await;
        let line = format!(r#"{{ "text" : {json}, "req_id":"{id}","type":"test\/echo\/resp" }}"#);
        peer.send_line(&format!("{line}\r")).await;
        assert_eq!(calling.reply().await.unwrap().text, expected);
    }
    nothing_is_left(&client);
}

#[tokio::test]
async fn answers_that_come_byte_by_byte_are_read() {
    let (client, mut peer) = fake(Options::default()).await;
    let calling = client.call(&echo("x")).await.unwrap();
    let (_, id) = heard(&mut peer).await;
    let line = format!("{{\"type\":\"test/echo/resp\",\"req_id\":\"{id}\",\"text\":\"slow\"}}\n");
    for byte in line.bytes() {
        peer.send_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(calling.reply().await.unwrap().text, "slow");
}
