//! The scanner against lists of good and bad lines, and against a second parser.

use proptest::prelude::*;

use super::*;
use crate::codec::{Incoming, decode};

fn problem(line: &str) -> Option<Problem> {
    scan(line.as_bytes()).err().map(|error| error.problem)
}

fn nested(depth: usize) -> String {
    format!(r#"{{"type":"x","a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
}

#[test]
fn r11_good_lines_pass() {
    for line in [
        r"{}",
        r#" { "a" : [ 1 , -0.5e-3 , true , null , "x" ] } "#,
        "\t{\"a\":{}}\r",
        r#"{"é":"ü","u":"\u00e9\ud83d\ude00\n\/"}"#,
        r#"{"n":1e308,"m":-0,"k":0.0}"#,
        "{\"del\":\"\u{7f}\"}",
    ] {
        assert_eq!(problem(line), None, "{line}");
    }
}

#[test]
fn r11_a_string_ends_where_it_does_wherever_that_is() {
    // Beyond the blocks that are looked at one by one, and back.
    for lead in (0..200).chain(300..460) {
        let text = "x".repeat(lead);
        for (rest, expected, at) in [
            (r#"","b":1}"#, None, 0),
            (r#"\n","b":"y"}"#, None, 0),
            ("\u{e9}\\u00e9\u{20ac}\",\"b\":[\"\",\"z\"]}", None, 0),
            ("\u{1}\"}", Some(Problem::Control), 0),
            ("\0\"}", Some(Problem::Control), 0),
            (r#"\x"}"#, Some(Problem::Escape), 1),
            (r"\", Some(Problem::End), 1),
            ("", Some(Problem::End), 0),
            (r#"" "b"}"#, Some(Problem::Unexpected), 2),
        ] {
            let line = format!(r#"{{"a":"{text}{rest}"#);
            let error = scan(line.as_bytes()).err();
            assert_eq!(error.as_ref().map(|it| it.problem), expected, "{line}");
            if let Some(error) = error {
                assert_eq!(error.offset, r#"{"a":""#.len() + lead + at, "{line}");
            }
        }
    }
}

#[test]
fn r11_bad_lines_are_refused() {
    use Problem::{Control, End, Escape, NotAnObject, Number, Trailing, Unexpected};
    for (line, expected) in [
        ("[]", NotAnObject),
        ("null", NotAnObject),
        ("5", NotAnObject),
        (r#"["ping","x"]"#, NotAnObject),
        ("\u{feff}{}", NotAnObject),
        ("\u{a0}{}", NotAnObject),
        ("{", End),
        (r#"{"a""#, End),
        (r#"{"a":"b"#, End),
        (r#"{"a":1"#, End),
        (r#"{"a":1,}"#, Unexpected),
        (r#"{"a":[1,]}"#, Unexpected),
        (r#"{"a":[1}}"#, Unexpected),
        (r#"{"a" 1}"#, Unexpected),
        (r"{a:1}", Unexpected),
        (r"{'a':1}", Unexpected),
        (r#"{"a":NaN}"#, Unexpected),
        (r#"{"a":Infinity}"#, Unexpected),
        (r#"{"a":-Infinity}"#, Number),
        (r#"{"a":tru}"#, Unexpected),
        (r#"{"a":01}"#, Unexpected),
        (r#"{"a":1.}"#, Number),
        (r#"{"a":.5}"#, Unexpected),
        (r#"{"a":+1}"#, Unexpected),
        (r#"{"a":1e}"#, Number),
        (r#"{"a":1e999}"#, Number),
        (r#"{"a":-1e999}"#, Number),
        ("{\"a\":\"\u{1}\"}", Control),
        ("{\"a\":\"\t\"}", Control),
        (r#"{"a":"\x"}"#, Escape),
        (r#"{"a":"\u12g4"}"#, Escape),
        (r#"{"a":"\ud800"}"#, Escape),
        (r#"{"a":"\udc00\ud800"}"#, Escape),
        (r#"{"a":"\ud800\u0041"}"#, Escape),
        (r"{} {}", Trailing),
        (r"{}x", Trailing),
    ] {
        assert_eq!(problem(line), Some(expected), "{line}");
    }
    let bad_utf8 = scan(b"{\"a\":\"\xff\"}").unwrap_err();
    assert_eq!((bad_utf8.problem, bad_utf8.offset), (Problem::Utf8, 6));
}

#[test]
fn r11_depth_127_is_accepted_and_128_refused() {
    assert_eq!(scan(nested(127).as_bytes()).unwrap().depth, 127);
    assert_eq!(problem(&nested(128)), Some(Problem::Depth(127)));
}

#[test]
fn r18_a_hundred_thousand_brackets_are_refused() {
    assert_eq!(problem(&format!("{{\"a\":{}", "[".repeat(100_000))), Some(Problem::Depth(127)));
    assert_eq!(problem(&"{\"a\":".repeat(100_000)), Some(Problem::Depth(127)));
}

#[test]
fn the_envelope_is_found_wherever_it_stands() {
    let line = r#"{"data":{"id":"inner","type":["no"]},"timeout":2.5,"a2e":"1.0","ty\u0070e":"tool\/call",
        "id":"\u0041b","req_id":7,"version":null}"#;
    let found = scan(line.as_bytes()).unwrap();
    let text = |text: &'static str| Slot::Text(Cow::Borrowed(text));
    for (key, slot) in [
        (Key::Kind, text("tool/call")),
        (Key::Id, text("Ab")),
        (Key::ReqId, Slot::Number(7.0)),
        (Key::Version, Slot::Other),
        (Key::A2e, text("1.0")),
        (Key::Timeout, Slot::Number(2.5)),
        (Key::CorrelationId, Slot::Absent),
    ] {
        assert_eq!(found.get(key), slot, "{key:?}");
    }
    assert_eq!(found.repeated, None);
    assert_eq!(found.depth, 3);
}

#[test]
fn r12_a_repeated_envelope_key_is_noticed() {
    for (line, key) in [
        (r#"{"type":"a","type":"a"}"#, Some("type")),
        (r#"{"type":"a","t\u0079pe":"b"}"#, Some("type")),
        (r#"{"id":1,"type":"a","\u0069d":"b"}"#, Some("id")),
        (r#"{"id":"1","id":"1","type":"a","type":"a"}"#, Some("id")),
        (r#"{"type":"a","type":"a","id":"1","id":"1"}"#, Some("id")),
        (r#"{"type":"a","type":"a","a2e":"1","a2e":"1"}"#, Some("type")),
        (r#"{"req_id":{},"req_id":[]}"#, Some("req_id")),
        (r#"{"type":"a","x":{"type":"b","type":"c"},"y":1,"y":2}"#, None),
    ] {
        assert_eq!(scan(line.as_bytes()).unwrap().repeated, key, "{line}");
    }
}

#[test]
fn depth_of_a_text_ignores_brackets_in_strings() {
    for (json, depth) in [("5", 0), ("{}", 1), (r#"{"a":[{"b":"]}[{\"["}]}"#, 3), ("[[],[[]]]", 3)]
    {
        assert_eq!(depth_of(json), depth, "{json}");
    }
}

#[test]
fn an_envelope_key_is_found_behind_many_members() {
    let many: Vec<String> = (0..100).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let line = format!(r#"{{{},"type":"x","id":"a"}}"#, many.join(","));
    let found = scan(line.as_bytes()).unwrap();
    assert_eq!(found.get(Key::Id).as_text(), Some("a"));
    let decoded: serde_json::Value = decode(Incoming::of(&found)).unwrap();
    assert_eq!(decoded.as_object().unwrap().len(), 102);
}

/// Mostly JSON, with a byte or two disturbed.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just(" "),
        Just("\"a\""),
        Just("\"type\""),
        Just("\"\\u0041\""),
        Just("\"\\ud83d\\ude00\""),
        Just("1"),
        Just("-0.5e3"),
        Just("true"),
        Just("null"),
        Just("\"é\""),
        Just("0"),
        Just("1e400"),
        Just("\\"),
    ];
    let soup = proptest::collection::vec(piece, 0..14).prop_map(|p| p.concat().into_bytes());
    let valid = ("[a-z\u{0}-\u{ff}]{0,6}", any::<f64>(), any::<i64>()).prop_map(|(s, f, n)| {
        serde_json::to_vec(&serde_json::json!({ "type": s, "x": [f, n, { "s": s }] })).unwrap()
    });
    let wrapped = soup.clone().prop_map(|soup| [b"{\"a\":[", soup.as_slice(), b"]}"].concat());
    let disturbed =
        (valid.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut v, i, b)| {
            let at = i.index(v.len());
            v[at] = b;
            v
        });
    prop_oneof![soup, wrapped, valid, disturbed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn r11_accepts_what_a_second_parser_accepts(line in nearly_json()) {
        let theirs = std::str::from_utf8(&line).is_ok()
            && serde_json::from_slice::<serde_json::Value>(&line).is_ok_and(|v| v.is_object());
        prop_assert_eq!(scan(&line).is_ok(), theirs, "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn r11_what_is_decoded_is_what_a_second_parser_reads(line in nearly_json()) {
        let Ok(found) = scan(&line) else { return Ok(()) };
        let ours: serde_json::Value = decode(Incoming::of(&found)).unwrap();
        prop_assert_eq!(&ours, &serde_json::from_slice::<serde_json::Value>(&line).unwrap());
        let ours = decode::<std::collections::BTreeMap<String, crate::codec::RawJson>>(Incoming::of(&found));
        let theirs = serde_json::from_slice(&line).map_err(|_| ());
        prop_assert_eq!(ours.map_err(|_| ()), theirs);
    }
}
