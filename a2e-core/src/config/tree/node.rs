//! The registry file as a tree in which every key and value knows its place.

use serde_json::{Map, Number, Value};

/// A place in the file; both count from 1, and 0 stands for "not from a file".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

/// The notation of a text in the file. It decides whether the text may also be read as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Origin {
    /// Without quotes and without a reference.
    Plain,
    /// In quotes, or as a block.
    Quoted,
    /// The unquoted value was one `${…}` and nothing else.
    Reference,
    /// Some part of the value was a `${…}`.
    Mixed,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) data: Data,
    pub(in crate::config) at: Position,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(in crate::config) enum Data {
    Null,
    /// A value that could not be read. The problem is noted already.
    Broken,
    Bool(bool),
    Number(Number),
    Text(String, Origin),
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// A key of a map with its value.
#[derive(Clone, Debug)]
pub(in crate::config) struct MapEntry {
    pub(in crate::config) key: String,
    pub(in crate::config) at: Position,
    pub(in crate::config) node: Node,
}

impl Node {
    /// The value under a key, if this is a map that has it.
    pub(in crate::config) fn entry(&self, key: &str) -> Option<&Node> {
        let Data::Map(map) = &self.data else { return None };
        map.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// What it is, for messages; texts are shown only where they are no secret and not expanded.
    pub(in crate::config) fn describe(&self, is_secret: bool) -> String {
        match &self.data {
            Data::Null | Data::Broken => "null".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
            _ if is_secret => "another value".to_owned(),
            Data::Bool(value) => value.to_string(),
            Data::Number(value) => value.to_string(),
            Data::Text(_, Origin::Reference | Origin::Mixed) => {
                "the value of a variable".to_owned()
            }
            Data::Text(text, _) => format!("{:?}", text.chars().take(60).collect::<String>()),
        }
    }

    /// The value as JSON. A text that was one unquoted reference becomes a number or boolean where it
    /// reads exactly as we would write one.
    pub(in crate::config) fn to_json(&self) -> Value {
        match &self.data {
            Data::Null | Data::Broken => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(value) => Value::Number(value.clone()),
            Data::Text(text, Origin::Reference) => retype(text),
            Data::Text(text, _) => Value::String(text.clone()),
            Data::List(list) => Value::Array(list.iter().map(Node::to_json).collect()),
            Data::Map(map) => {
                let pairs = map.iter().map(|entry| (entry.key.clone(), entry.node.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }
}

fn retype(text: &str) -> Value {
    let value = serde_json::from_str(text).unwrap_or_default();
    let is_plain = matches!(value, Value::Bool(_) | Value::Number(_));
    let written = value.to_string();
    if is_plain && written == text { value } else { Value::String(text.to_owned()) }
}
