//! The one typed decode of a message body, and the body as handlers get it.

use std::cell::Cell;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::raw::RawJson;
use super::scan::Scanned;
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
}

impl<'a> Incoming<'a> {
    /// The line that a check went over.
    pub fn of(scanned: &Scanned<'a>) -> Self {
        Self::new(scanned.text, scanned.depth)
    }

    /// A line that [`scan`](super::scan::scan) accepted, with its nesting.
    pub(crate) fn new(text: &'a str, depth: u8) -> Self {
        Self { text, depth }
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
        Incoming { text: &self.text, depth: self.depth }
    }

    /// The whole line: one JSON object, checked.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is no byte; never so for a line that was accepted.
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
    let result = serde_json::from_str(incoming.text);
    LINE_DEPTH.set(None);
    result.map_err(|error| explain::<T>(incoming.text, &error))
}

/// Decodes a field that was carried as raw JSON; `loc` is its path in the message.
///
/// # Errors
/// `schema_violation` with the path of what is wrong, such as `arguments.path`.
pub fn decode_field<T: DeserializeOwned>(raw: &RawJson, loc: &str) -> Result<T, Error> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let mut deserializer = serde_json::Deserializer::from_str(raw.get());
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

/// The failed decode once more, this time keeping track of the path: slow, and only on failure.
#[cold]
fn explain<T: DeserializeOwned>(text: &str, first: &serde_json::Error) -> Error {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => {
            let loc = error.path().to_string();
            let loc = if loc == "." { String::new() } else { loc };
            Error::schema(loc, without_position(&error.into_inner()))
        }
        Ok(_) => Error::schema("", without_position(first)),
    }
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
        let scanned = scan(line.as_bytes()).unwrap();
        decode(Incoming::new(scanned.text, scanned.depth))
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
