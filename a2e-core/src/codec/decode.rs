//! The one typed decode of a message body, and the body as handlers get it.

use std::cell::Cell;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::MAX_WRITTEN_DEPTH;
use super::raw::RawJson;
use super::scan::Scanned;
use super::scan::member::Member;
use super::typed::LineDeserializer;
use crate::Error;

thread_local! {
    /// Nesting of the line that is being decoded on this thread, so that raw fields need no second look.
    static LINE_DEPTH: Cell<Option<u8>> = const { Cell::new(None) };
}

/// The nesting of the line that this thread decodes now.
pub(super) fn line_depth() -> Option<u8> {
    LINE_DEPTH.get()
}

/// A checked line, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    text: &'a str,
    depth: u8,
    /// Its members; empty where they are not known.
    members: &'a [Member],
}

impl<'a> Incoming<'a> {
    /// A line that was checked.
    pub fn of(scanned: &'a Scanned<'a>) -> Self {
        Self { text: scanned.text, depth: scanned.depth, members: scanned.members() }
    }

    /// The whole line: one JSON object, checked.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Its deepest nesting; the outermost object counts 1.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// A copy that outlives the read buffer.
    pub fn to_body(self) -> Body {
        Body { text: self.text.into(), depth: self.depth }
    }
}

/// A checked line that is owned, for handlers that run elsewhere than on the reader.
#[derive(Clone, Debug)]
pub struct Body {
    text: Arc<str>,
    depth: u8,
}

impl Body {
    /// The same, borrowed.
    pub fn as_incoming(&self) -> Incoming<'_> {
        Incoming { text: &self.text, depth: self.depth, members: &[] }
    }

    /// The whole line: one JSON object, checked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it is empty. A line that was accepted never is.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Decodes a checked line as a typed message.
///
/// # Errors
/// `schema_violation` with the path of the field and what was expected there.
pub fn decode<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T, Error> {
    LINE_DEPTH.set(Some(incoming.depth));
    let result = if incoming.members.is_empty() {
        from_checked(incoming.text, incoming.depth)
    } else {
        T::deserialize(LineDeserializer { text: incoming.text, members: incoming.members })
    };
    LINE_DEPTH.set(None);
    result.or_else(|_| explain(incoming))
}

/// Decodes a field that was carried as raw JSON; `loc` is its path in the message.
///
/// # Errors
/// `schema_violation` with the path of what is wrong, such as `arguments.path`.
pub fn decode_field<T: DeserializeOwned>(raw: &RawJson, loc: &str) -> Result<T, Error> {
    raw.decode().map_err(|_| {
        let mut deserializer = reader(raw.get(), raw.depth());
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(error) => {
                let inner = error.path().to_string();
                let loc = if inner == "." { loc.to_owned() } else { format!("{loc}.{inner}") };
                Error::schema(loc, without_position(&error.into_inner()))
            }
            Ok(_) => Error::schema(loc, "not of the expected shape"),
        }
    })
}

/// Decodes JSON text that nests to this depth.
pub(super) fn from_checked<'a, T: Deserialize<'a>>(
    text: &'a str,
    depth: u8,
) -> Result<T, serde_json::Error> {
    let mut deserializer = reader(text, depth);
    let value = T::deserialize(&mut deserializer)?;
    deserializer.end().map(|()| value)
}

/// A deserializer for text that nests to this depth. The limit of `serde_json` is [`MAX_DEPTH`](super::MAX_DEPTH),
/// which a line that wraps a payload may exceed; text that is deeper than any line meets that limit.
fn reader(text: &str, depth: u8) -> serde_json::Deserializer<serde_json::de::StrRead<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if depth <= MAX_WRITTEN_DEPTH {
        deserializer.disable_recursion_limit();
    }
    deserializer
}

/// The failed decode once more, this time keeping track of the path: slow, and only on failure.
#[cold]
fn explain<T: DeserializeOwned>(incoming: Incoming<'_>) -> Result<T, Error> {
    let mut deserializer = reader(incoming.text, incoming.depth);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let loc = error.path().to_string();
        let loc = if loc == "." { String::new() } else { loc };
        Error::schema(loc, without_position(&error.into_inner()))
    })
}

/// The parser's message without ` at line 1 column n`: a message is one line, the path says more.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::scan::scan;

    #[derive(Debug, serde::Deserialize)]
    struct Sample {
        name: String,
        #[serde(default, deserialize_with = "crate::protocol::number::integer")]
        count: u8,
        data: Option<RawJson>,
    }

    fn read(line: &str) -> Result<Sample, Error> {
        decode(Incoming::of(&scan(line.as_bytes()).unwrap()))
    }

    #[test]
    fn r13_a_wrong_field_is_named_with_its_path() {
        for (line, loc, part) in [
            (r#"{"name":5}"#, "name", "expected a string"),
            (r#"{"type":"x"}"#, "", "missing field `name`"),
            (r#"{"name":"a","count":"5"}"#, "count", "expected an integer"),
            (r#"{"name":"a","count":256}"#, "count", "fits u8"),
            (r#"{"name":"a","count":1.5}"#, "count", "expected an integer"),
            (r#"{"name":"a","name":"b"}"#, "", "duplicate field `name`"),
        ] {
            let error = read(line).unwrap_err();
            assert_eq!(error.code().as_str(), "schema_violation", "{line}");
            let first = &error.detail()["errors"][0];
            assert_eq!(first["loc"], loc, "{line}");
            assert!(first["msg"].as_str().unwrap().contains(part), "{line}: {first}");
            assert!(!error.message().contains("at line"), "{error}");
        }
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        #[default]
        First,
        Other(u8),
    }

    /// Every kind of field.
    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default)]
    struct Wide {
        text: String,
        letter: char,
        yes: bool,
        small: i8,
        large: u64,
        ratio: f64,
        maybe: Option<String>,
        few: Option<u8>,
        list: Vec<i32>,
        pair: (u8, String),
        map: std::collections::BTreeMap<i32, f32>,
        choice: Choice,
        any: serde_json::Value,
        raw: Option<RawJson>,
        unit: (),
    }

    #[test]
    fn each_kind_of_field_is_read_as_serde_json_reads_it() {
        let values = [
            "null",
            "true",
            "false",
            "0",
            "-7",
            "255",
            "300",
            "1.5",
            "1e3",
            r#""""#,
            r#""x""#,
            r#""a\u00e9\n""#,
            r#""first""#,
            "[]",
            "[1,2]",
            r#"[3,"t"]"#,
            "{}",
            r#"{"1":2.5}"#,
            r#"{"other":9}"#,
            r#"{"x":[{"y":null}]}"#,
        ];
        let keys = [
            "text",
            "letter",
            "yes",
            "small",
            "large",
            "ratio",
            "maybe",
            "few",
            "list",
            "pair",
            "map",
            "choice",
            "any",
            "raw",
            "unit",
            r"t\u0065xt",
            "unknown",
        ];
        for (key, value) in keys.iter().flat_map(|key| values.map(|value| (key, value))) {
            let line = format!(r#"{{ "type" : "x" , "{key}" :{value}, "z":0}}"#);
            let ours: Result<Wide, Error> = decode(Incoming::of(&scan(line.as_bytes()).unwrap()));
            let theirs = serde_json::from_str(&line).map_err(|error| without_position(&error));
            match (ours, theirs) {
                (Ok(ours), theirs) => assert_eq!(Ok(ours), theirs, "{line}"),
                (Err(ours), Ok::<Wide, _>(theirs)) => panic!("{line}: {ours}, but {theirs:?}"),
                (Err(ours), Err(theirs)) => {
                    assert_eq!(ours.detail()["errors"][0]["msg"], theirs, "{line}");
                }
            }
        }
    }

    #[test]
    fn unknown_fields_and_whole_floats_are_fine() {
        let it = read(r#"{"name":"a","count":7.0,"extra":[1,{"x":2}],"data":[[1]]}"#).unwrap();
        assert_eq!((it.name.as_str(), it.count, it.data.unwrap().get()), ("a", 7, "[[1]]"));
    }

    #[test]
    fn r13_what_is_wrong_in_a_raw_field_is_named_with_its_path() {
        for (raw, loc) in [
            (r#"{"name":5}"#, "arguments.name"),
            (r#"{"name":"a","count":-1}"#, "arguments.count"),
            ("{}", "arguments"),
            ("[]", "arguments"),
        ] {
            let raw = RawJson::parse(raw.to_owned()).unwrap();
            let error = decode_field::<Sample>(&raw, "arguments").unwrap_err();
            assert_eq!(error.code().as_str(), "schema_violation");
            assert_eq!(error.detail()["errors"][0]["loc"], loc, "{raw:?}");
        }
        let raw = RawJson::parse(r#"{"name":"a","x":[]}"#.to_owned()).unwrap();
        assert_eq!(decode_field::<Sample>(&raw, "arguments").unwrap().name, "a");
    }
}
