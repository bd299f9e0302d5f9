//! From YAML text to the tree, within bounds of size and depth.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::{Options, Spanned};

use crate::config::Position;
use crate::config::tree::node::{Data, MapEntry, Node, Origin};

/// Why the text is no YAML that we read.
#[derive(Debug)]
pub(in crate::config) struct SyntaxError {
    pub(in crate::config) at: Position,
    pub(in crate::config) message: String,
    pub(in crate::config) hint: Option<String>,
}

/// Nodes and anchors of one file, far above what a registry needs; the default of the crate lets an
/// alias bomb run for two seconds.
const MAX_NODES: usize = 50_000;
/// Bytes of all texts, each use of an alias counted.
const MAX_TEXT: usize = 4 << 20;
/// Nesting of lists and maps. One level takes 38 KiB of stack in a debug build, so that this fits a
/// thread of 1 MiB; a registry of ours has six.
const MAX_DEPTH: usize = 24;

/// Reads the text of one document; an empty one is `Null`.
pub(in crate::config) fn parse(text: &str) -> Result<Node, SyntaxError> {
    if let Some(at) = find_control(text) {
        let message = "control character in the file".to_owned();
        return Err(SyntaxError { at, message, hint: None });
    }
    match serde_saphyr::from_str_with_options::<Spanned<Plain>>(text, options()) {
        Ok(tree) => Ok(place(tree, text)),
        Err(error) => {
            let at = error.location().map_or(Position::default(), position);
            let hint = quote_hint(text, at);
            Err(SyntaxError { at, message: plain_message(&error), hint })
        }
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_anchors: 1000,
            max_aliases: 1000,
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: MAX_TEXT,
            flow_nesting_limit: MAX_DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 2 * MAX_NODES,
        },
        with_snippet: false,
    }
}

fn find_control(text: &str) -> Option<Position> {
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    text.find(bad).and_then(|place| text.get(..place)).map(end_of)
}

/// The place just after a text.
pub(in crate::config) fn end_of(text: &str) -> Position {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line: small(line as u64), column: small(column as u64) }
}

/// The message in our words, or the crate's own without the place, which we print ourselves.
fn plain_message(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::MultipleDocuments { .. } => return "a second document".to_owned(),
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("the key {key:?} stands twice");
        }
        _ => {}
    }
    let text = error.without_snippet().to_string();
    let limits = ["budget breached", "recursion limit", "alias replay", "alias expansion"];
    if limits.iter().any(|limit| text.starts_with(limit)) {
        return format!(
            "more than {MAX_NODES} values, {MAX_TEXT} bytes or {MAX_DEPTH} levels, each use of an \
             alias counted"
        );
    }
    if text.starts_with("non-finite float") {
        return "a number that is not finite".to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    let end = first.find(" at line ").unwrap_or(first.len());
    first.get(..end).unwrap_or(first).to_owned()
}

/// A brace opens a map inside `{…}` and `[…]`, so that an unquoted reference ends in nonsense there.
fn quote_hint(text: &str, at: Position) -> Option<String> {
    let line = text.lines().nth((at.line as usize).checked_sub(1)?)?;
    let is_flow = line.contains("${") && line.contains(['{', '[']);
    is_flow.then(|| "inside { } and [ ] put \"${…}\" in quotes".to_owned())
}

fn position(location: serde_saphyr::Location) -> Position {
    Position { line: small(location.line()), column: small(location.column()) }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The tree as the YAML crate gives it, before positions are made ours.
enum Plain {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Plain>>),
    Map(Vec<(Spanned<String>, Spanned<Plain>)>),
}

fn place(tree: Spanned<Plain>, text: &str) -> Node {
    let data = match tree.value {
        Plain::Null => Data::Null,
        Plain::Bool(value) => match source(tree.defined, text) {
            // YAML 1.1 knows these as booleans, the reference's parser does not.
            Some(word @ ("y" | "Y" | "n" | "N")) => Data::Text(word.to_owned(), Origin::Plain),
            _ => Data::Bool(value),
        },
        Plain::Number(value) => match source(tree.defined, text) {
            // A leading zero, or more digits than a number holds: text loses nothing.
            Some(word) if value.is_f64() && is_digits(word) => {
                Data::Text(word.to_owned(), Origin::Plain)
            }
            _ => Data::Number(value),
        },
        Plain::Text(value) => Data::Text(value, origin(tree.defined, text)),
        Plain::List(list) => Data::List(list.into_iter().map(|item| place(item, text)).collect()),
        Plain::Map(map) => Data::Map(
            map.into_iter()
                .map(|(key, value)| MapEntry {
                    at: position(key.defined),
                    key: key.value,
                    node: place(value, text),
                })
                .collect(),
        ),
    };
    Node { data, at: position(tree.defined) }
}

/// Quoted texts and blocks start with their own sign.
fn origin(location: serde_saphyr::Location, text: &str) -> Origin {
    let is_quoted =
        source(location, text).is_some_and(|text| text.starts_with(['"', '\'', '|', '>']));
    if is_quoted { Origin::Quoted } else { Origin::Plain }
}

/// A value as it stands in the file.
fn source(location: serde_saphyr::Location, text: &str) -> Option<&str> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let length = usize::try_from(location.span().byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?)
}

fn is_digits(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, number, boolean, list or map")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Null)
    }

    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
        Plain::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Plain, E> {
        Number::from_f64(value).map(Plain::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Plain, E> {
        Ok(Plain::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Plain, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Plain::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Plain, A::Error> {
        let mut map: Vec<(Spanned<String>, Spanned<Plain>)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let value = access.next_value()?;
            map.push((key, value));
        }
        let mut seen = std::collections::HashSet::new();
        match map.iter().find(|(key, _)| !seen.insert(key.value.as_str())) {
            Some((key, _)) => Err(A::Error::custom(format!("duplicate key {:?}", key.value))),
            None => Ok(Plain::Map(map)),
        }
    }
}
