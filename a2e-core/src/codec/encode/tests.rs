//! The encoder against `serde_json`, and its own rules.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;
use crate::codec::scan::{Problem, scan, scan_written};
use crate::codec::{Incoming, RawJson, decode};

#[derive(Serialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i8, i8),
    Box { width: u64 },
}

#[derive(Serialize)]
struct Everything<'a> {
    shapes: Vec<Shape>,
    map: BTreeMap<u16, Option<char>>,
    text: &'a str,
    unit: (),
    tuple: (bool, i128),
}

#[test]
fn every_shape_of_serde_is_written_as_serde_json_writes_it() {
    let it = Everything {
        shapes: vec![
            Shape::Point,
            Shape::Circle(0.1),
            Shape::Line(-1, 2),
            Shape::Box { width: u64::MAX },
        ],
        map: BTreeMap::from([(7, Some('x')), (8, None)]),
        text: "plain \"quoted\" \\ \n\r\t\u{8}\u{c}\u{0}\u{7f}",
        unit: (),
        tuple: (true, i128::MIN),
    };
    let ours = String::from_utf8(encode_value(&it).unwrap()).unwrap();
    let theirs =
        serde_json::to_string(&it).unwrap().replace("\\b", "\\u0008").replace("\\f", "\\u000c");
    assert_eq!(ours, theirs);
}

#[test]
fn hex_digits_are_those_of_the_formatter() {
    for word in [0, 9, 10, 0x0123_4567_89ab_cdef, u64::MAX] {
        assert_eq!(&hex::<16>(word), format!("{word:016x}").as_bytes());
    }
    assert_eq!(&hex::<8>(0x00c0_ffee), b"00c0ffee");
}

#[test]
fn seconds_have_six_decimals() {
    for (micros, text) in [
        (0, "0.000000"),
        (1, "0.000001"),
        (1_000_001, "1.000001"),
        (1_795_642_736_010_386, "1795642736.010386"),
        (u64::MAX, "18446744073709.551615"),
    ] {
        let mut out = Vec::new();
        encode_seconds(&mut out, micros);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn non_ascii_is_escaped_in_strings_keys_and_raw_text() {
    let raw = RawJson::parse("{ \"ä\" :\n[ \"😀\u{2028}\" ] }".into()).unwrap();
    let line = encode_value(&json!({ "é": "😀\u{85}", "raw": 1 })).unwrap();
    assert_eq!(line, br#"{"raw":1,"\u00e9":"\ud83d\ude00\u0085"}"#);
    assert_eq!(encode_value(&raw).unwrap(), br#"{ "\u00e4" : [ "\ud83d\ude00\u2028" ] }"#);
}

#[test]
fn r11_numbers_that_json_lacks_are_refused() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(encode_value(&[value]), Err(EncodeError::NonFinite));
    }
    assert_eq!(encode_value(&f32::NAN), Err(EncodeError::NonFinite));
}

#[test]
fn r11_a_value_deeper_than_127_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (depth, fits) in [(126, true), (127, false)] {
        let raw = RawJson::parse(nested(depth)).unwrap();
        let theirs = serde_json::value::RawValue::from_string(nested(depth)).unwrap();
        assert_eq!(encode_value(&[&raw]).is_ok(), fits, "raw {depth}");
        assert_eq!(encode_value(&[&theirs]).is_ok(), fits, "serde_json's raw {depth}");
    }
    let mut value = Value::Null;
    for depth in 1..=128 {
        value = Value::Array(vec![value]);
        assert_eq!(encode_value(&value).is_ok(), depth <= 127, "{depth}");
    }
}

#[test]
fn r11_a_reply_may_wrap_a_payload_of_127_levels_and_is_read_back() {
    let payload = RawJson::parse("[".repeat(127) + &"]".repeat(127)).unwrap();
    // The message itself is the first level.
    for (wrapping, fits) in [(1, true), (8, true), (9, false)] {
        let body = (1..wrapping).fold(json!(0), |inner, _| json!({ "a": inner }));
        let text = body.to_string().replace('0', &format!("{payload:?}"));
        let raw = serde_json::value::RawValue::from_string(text).unwrap();
        let fields = BTreeMap::from([("x", raw)]);
        let mut out = Vec::new();
        let written = encode_fields(&fields, &mut out);
        if !fits {
            assert_eq!(written, Err(EncodeError::TooDeep(135)));
            continue;
        }
        written.unwrap();
        let line = [b"{".as_slice(), &out, b"}"].concat();
        assert_eq!(scan(&line).unwrap_err().problem, Problem::Depth(127));
        let scanned = scan_written(&line).unwrap();
        assert_eq!(scanned.depth, 127 + wrapping);
        let incoming = Incoming::of(&scanned);
        let read: BTreeMap<String, Value> = decode(incoming).unwrap();
        let copy = incoming.to_body();
        assert_eq!(decode::<BTreeMap<String, Value>>(copy.as_incoming()).unwrap(), read);
        let carried: BTreeMap<String, RawJson> = decode(incoming).unwrap();
        assert_eq!(carried["x"].decode::<Value>().unwrap(), read["x"]);
    }
}

#[test]
fn raw_json_deeper_than_any_line_is_not_decoded() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let raw: RawJson = serde_json::from_str(&deep).unwrap();
    assert!(raw.decode::<Value>().unwrap_err().to_string().contains("recursion"));
}

#[test]
fn body_fields_go_between_the_envelope_s_braces() {
    let mut out = b"kept".to_vec();
    encode_fields(&json!({ "a": { "b": [] }, "c": 1 }), &mut out).unwrap();
    assert_eq!(out, br#"kept"a":{"b":[]},"c":1"#);
}

#[test]
fn a_body_that_would_break_the_envelope_is_refused_and_leaves_no_trace() {
    let mut out = b"kept".to_vec();
    for body in
        [json!({ "a": 1, "type": 2 }), json!({ "req_id": "x" }), json!([1]), json!(5), json!("x")]
    {
        assert!(matches!(encode_fields(&body, &mut out), Err(EncodeError::Body(_))), "{body}");
        assert_eq!(out, b"kept");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]
    #[test]
    fn r15_whatever_is_written_is_strict_ascii_and_reads_back(value in any_json()) {
        let line = encode_value(&json!({ "v": value })).unwrap();
        prop_assert!(line.is_ascii() && !line.contains(&b'\n'));
        prop_assert!(scan(&line).is_ok());
        let back: Value = serde_json::from_slice(&line).unwrap();
        prop_assert_eq!(&back["v"], &value);
    }
}

#[test]
fn raw_json_may_be_a_whole_body() {
    let raw = |json: &str| crate::codec::RawJson::parse(json.to_owned()).unwrap();
    let mut out = b"{\"type\":\"x\",".to_vec();
    encode_fields(&raw(" { \"a\" : 1.50, \"\u{e9}\":{\"id\":[]} } "), &mut out).unwrap();
    let expected: &[u8] = br#"{"type":"x","a" : 1.50, "\u00e9":{"id":[]}"#;
    assert_eq!(out, expected);
    encode_fields(&raw("{}"), &mut out).unwrap();
    for bad in ["[]", "5", "null", "\"x\"", r#"{"a":1,"id":2}"#, r#"{"\u0069d":2}"#, r#"{"ts":0}"#]
    {
        let error = encode_fields(&raw(bad), &mut out).unwrap_err();
        assert!(matches!(error, EncodeError::Body(_)), "{bad}: {error}");
        assert_eq!(out, expected, "nothing is left of it");
    }
}
