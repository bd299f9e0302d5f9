//! Lines of the wire: how a stream is split, which lines are taken, and what they say.
//!
//! The second opinion is `serde_json`: a line is taken exactly when `serde_json` reads an object from the
//! whole of it, with the same values, whether it is decoded as a whole or into a struct.

use a2e_core::codec::scan::{Key, Scanned, Slot, scan};
use a2e_core::codec::{Body, Envelope, Incoming, RawJson, decode, encode_value};
use a2e_core::codec::{LineBuffer, LineItem, MAX_DEPTH};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::random::Random;

/// The limit of lines here: small, so that short inputs pass it.
const LIMIT: usize = 512;

/// Splits the input three ways, and checks each line that comes of it.
pub fn run(data: &[u8]) {
    let whole = split(&[data]);
    let mut random = Random::of(data);
    assert_eq!(split(&random.pieces(data, 24)), whole, "pieces change nothing");
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(split(&bytes), whole, "single bytes change nothing");
    assert_eq!(whole, naive_split(data));
    // Also those that are too long for the stream.
    for text in data.split(|byte| *byte == b'\n') {
        line(text);
    }
}

/// What a stream is split into: lines, `None` for one that is too long, and last what has no end.
fn split(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let mut lines = LineBuffer::new(LIMIT);
    let mut seen = Vec::new();
    for piece in pieces {
        let room = lines.prepare(piece.len());
        assert!(room > 0, "there is always room to read");
        lines.buffer().extend_from_slice(piece);
        while let Some(item) = lines.next_item() {
            match item {
                LineItem::Line(length) => {
                    seen.push(Some(lines.front(length).to_vec()));
                    lines.consume(length);
                }
                LineItem::TooLong => seen.push(None),
            }
        }
    }
    seen.push(Some(lines.tail().to_vec()));
    seen
}

/// The same from the whole of the stream.
fn naive_split(data: &[u8]) -> Vec<Option<Vec<u8>>> {
    // A byte order mark before the first line is no part of it.
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let mut lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let tail = lines.pop().unwrap_or_default();
    let is_blank = |line: &[u8]| line.iter().all(|byte| b" \t\r".contains(byte));
    let whole = lines.into_iter().filter(|line| line.len() > LIMIT || !is_blank(line));
    let mut seen: Vec<_> = whole.map(|line| (line.len() <= LIMIT).then(|| line.to_vec())).collect();
    if tail.len() > LIMIT {
        seen.push(None);
        seen.push(Some(Vec::new()));
    } else {
        seen.push(Some(tail.to_vec()));
    }
    seen
}

/// One line, without its newline.
fn line(line: &[u8]) {
    let second = std::str::from_utf8(line).ok().and_then(|text| {
        let value: Value = serde_json::from_str(text).ok()?;
        value.is_object().then_some((text, value))
    });
    match (scan(line), second) {
        (Err(error), None) => assert!(error.offset <= line.len(), "{error}"),
        (Ok(scanned), Some((text, value))) => taken(&scanned, text, &value),
        (Ok(_), None) => panic!("serde_json refuses {:?}", String::from_utf8_lossy(line)),
        (Err(error), Some((text, _))) => panic!("serde_json takes {text:?}: {error}"),
    }
}

fn taken(scanned: &Scanned<'_>, text: &str, value: &Value) {
    assert_eq!(scanned.text, text);
    let depth = depth(value);
    // Of two values under one key `value` has the last, which may be the less deep.
    assert!((depth..=usize::from(MAX_DEPTH)).contains(&usize::from(scanned.depth)), "{text}");
    let Members(members) = serde_json::from_str(text).expect("read before");
    envelope(scanned, &members);

    let incoming = Incoming::of(scanned);
    assert_eq!(decode::<Value>(incoming).expect("any object"), *value);
    same(incoming, text);
    let body: Body = incoming.to_body();
    assert_eq!((body.len(), body.text()), (text.len(), text));
    same(body.as_incoming(), text);

    let encoded = encode_value(value).expect("not too deep");
    assert!(encoded.is_ascii());
    let again = scan(&encoded).expect("what we write, we read");
    assert_eq!(usize::from(again.depth), depth);
    assert_eq!(serde_json::from_slice::<Value>(&encoded).expect("strict JSON"), *value);
}

/// Decodes into a struct by both ways.
fn same(incoming: Incoming<'_>, text: &str) {
    match (decode::<Sample>(incoming), serde_json::from_str::<Sample>(text)) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours, theirs, "{text}");
            raw(&ours);
        }
        (Err(ours), Err(_)) => assert!(!ours.message().is_empty()),
        (ours, theirs) => panic!("{text}: {ours:?}, and serde_json {theirs:?}"),
    }
}

/// What is carried as text comes out as the same value, and never breaks the line.
fn raw(sample: &Sample) {
    let data = sample.data.as_ref().map(RawJson::get);
    let Ok(encoded) = encode_value(sample) else {
        let depth = data.map(|it| depth(&serde_json::from_str(it).expect("checked")));
        panic!("a line of this depth was read, so it can be written: {depth:?}");
    };
    assert!(encoded.is_ascii() && !encoded.contains(&b'\n'));
    let again: Value = serde_json::from_slice(&encoded).expect("strict JSON");
    let first = data.map(|it| serde_json::from_str::<Value>(it).expect("checked"));
    assert_eq!(again["data"], first.unwrap_or_default());
}

/// The envelope by the rules, from all members in their order.
fn envelope(scanned: &Scanned<'_>, members: &[(String, Value)]) {
    let last = |name: &str| members.iter().rev().find(|(key, _)| key == name).map(|it| &it.1);
    for (key, name) in [
        (Key::Kind, "type"),
        (Key::Id, "id"),
        (Key::ReqId, "req_id"),
        (Key::Version, "version"),
        (Key::A2e, "a2e"),
        (Key::Timeout, "timeout"),
        (Key::CorrelationId, "correlation_id"),
        (Key::TraceParent, "traceparent"),
        (Key::TraceState, "tracestate"),
    ] {
        let expected = match last(name) {
            None => Slot::Absent,
            Some(Value::String(text)) => Slot::Text(text.into()),
            Some(Value::Number(number)) => Slot::Number(number.as_f64().expect("a double")),
            Some(_) => Slot::Other,
        };
        assert_eq!(scanned.get(key), expected, "{name} of {}", scanned.text);
    }
    let names = ["type", "id", "req_id", "version", "a2e"];
    let mut twice = members.iter().enumerate().filter(|(place, (key, _))| {
        names.contains(&key.as_str()) && members[..*place].iter().any(|(other, _)| other == key)
    });
    let twice = twice.clone().find(|(_, (key, _))| key == "id").or_else(|| twice.next());
    let twice = twice.map(|(_, (key, _))| key.as_str());
    assert_eq!(scanned.repeated, twice);

    let text = |name: &str| last(name).and_then(Value::as_str);
    let is_one = |name| text(name).is_none_or(|it| it.split('.').next() == Some("1"));
    let is_text = |name| last(name).is_none_or(Value::is_string);
    let expected = if twice.is_some() || text("type").is_none_or(str::is_empty) {
        Some("invalid_message")
    } else if !is_text("id") {
        Some("schema_violation")
    } else {
        let wrong = ["version", "a2e"].into_iter().find(|name| !is_text(name) || !is_one(name));
        wrong.map(|name| if is_text(name) { "version_mismatch" } else { "schema_violation" })
    };
    match (Envelope::of(scanned), expected) {
        (Ok(envelope), None) => {
            assert_eq!(Some(&*envelope.kind), text("type"));
            assert_eq!(envelope.id.as_deref(), text("id"));
            assert_eq!(envelope.req_id.as_deref(), text("req_id"));
        }
        (Err(refused), Some(code)) => {
            assert_eq!(refused.error.code().as_str(), code, "{}", scanned.text);
            match last("id").filter(|_| twice != Some("id")) {
                Some(Value::String(id)) => assert_eq!(refused.req_id, *id),
                // A number is answered under its own text.
                Some(Value::Number(number)) if !refused.req_id.is_empty() => {
                    let id: Value = serde_json::from_str(&refused.req_id).expect("a number");
                    assert_eq!(id, Value::Number(number.clone()));
                }
                _ => assert_eq!(refused.req_id, ""),
            }
        }
        (found, expected) => panic!("{}: {found:?}, and by the rules {expected:?}", scanned.text),
    }
}

/// Nesting; the outermost object counts 1.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Fields of each kind that messages have.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Sample {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    #[serde(deserialize_with = "a2e_core::protocol::number::integer")]
    count: i64,
    timeout: Option<f64>,
    small: u8,
    is_on: bool,
    data: Option<RawJson>,
    tags: Vec<String>,
    way: Way,
    inner: Option<Box<Sample>>,
    any: Value,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Way {
    #[default]
    In,
    Out(u32),
}

/// The members of an object, doubled ones too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
