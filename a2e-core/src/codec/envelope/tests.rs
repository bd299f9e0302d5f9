//! Tests of the envelope: what is refused, and what is written.

use std::time::Duration;

use super::*;
use crate::codec::scan::scan;

fn verdict(line: &str) -> Result<(String, Option<String>), (String, String)> {
    let scanned = scan(line.as_bytes()).unwrap();
    match Envelope::of(&scanned) {
        Ok(envelope) => Ok((envelope.kind.into_owned(), envelope.id.map(Cow::into_owned))),
        Err(refused) => Err((refused.error.code().to_string(), refused.req_id)),
    }
}

#[test]
fn r13_each_bad_envelope_has_its_code_and_req_id() {
    for (line, code, req_id) in [
        (r"{}", "invalid_message", ""),
        (r#"{"id":"a"}"#, "invalid_message", "a"),
        (r#"{"type":"","id":"a"}"#, "invalid_message", "a"),
        (r#"{"type":["x"],"id":"a"}"#, "invalid_message", "a"),
        (r#"{"type":null,"id":7}"#, "invalid_message", "7"),
        (r#"{"type":"x","id":7}"#, "schema_violation", "7"),
        (r#"{"type":"x","id":-1.50e2}"#, "schema_violation", "-1.50e2"),
        (r#"{"type":"x","id":7,"id":7}"#, "invalid_message", ""),
        (r#"{"jsonrpc":"2.0","method":"initialize","id":0}"#, "invalid_message", "0"),
        (r#"{"type":"x","id":null}"#, "schema_violation", ""),
        (r#"{"type":"x","id":"a","version":"2.0"}"#, "version_mismatch", "a"),
        (r#"{"type":"x","id":"a","a2e":"0.9"}"#, "version_mismatch", "a"),
        (r#"{"type":"x","id":"a","version":"1.0","a2e":"11"}"#, "version_mismatch", "a"),
        (r#"{"type":"x","id":"a","version":1}"#, "schema_violation", "a"),
        (r#"{"type":"x","id":"a","id":"a"}"#, "invalid_message", ""),
        (r#"{"type":"x","type":"x","id":"a"}"#, "invalid_message", "a"),
    ] {
        assert_eq!(verdict(line), Err((code.into(), req_id.into())), "{line}");
    }
}

#[test]
fn good_envelopes_pass() {
    for line in [
        r#"{"type":"x","id":"a"}"#,
        r#"{"type":"x","id":"a","version":"1.9","a2e":"1"}"#,
        r#"{"id":"\u0061","version":"1.0","type":"\u0078"}"#,
    ] {
        assert_eq!(verdict(line), Ok(("x".into(), Some("a".into()))), "{line}");
    }
    assert_eq!(verdict(r#"{"type":"x"}"#), Ok(("x".into(), None)));
}

#[test]
fn a_written_line_has_every_field_of_the_envelope() {
    let mut out = Vec::new();
    let now = Time { mono: Duration::ZERO, wall: Duration::from_micros(1_700_000_000_000_042) };
    write_message(&mut out, &IdSource::new(), now, "a/resp", Some("q\"é"), br#""x":1"#);
    assert_eq!(out.pop(), Some(b'\n'));
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["req_id"], "q\"é");
    assert_eq!(line["ts"], 1_700_000_000.000_042_f64);
    assert_eq!(line["x"], 1);
    assert_eq!(line["id"].as_str().map(str::len), Some(32));
    assert!(out.is_ascii());
}
