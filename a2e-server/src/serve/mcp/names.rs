//! Names that clients take, and the request types that are offered as tools: by rule, from what their
//! types say of themselves.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use a2e_core::protocol::pattern::fits;
use a2e_core::schema::MessageClass;
use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use super::convert::cut;

/// Longest name: clients put their own before it, and models take 64.
pub(super) const MAX_NAME: usize = 40;

/// The argument that names a session.
pub(super) const SESSION: &str = "session";

/// Types that are never offered: steering a host is no tool of a model, and the front speaks these itself.
const NEVER: [&str; 6] = ["host/", "tool/", "mcp/", "session/", "handshake", "cancel"];

/// The name of a tool for clients: what they do not take is replaced, and the hash of the whole name tells
/// it from others.
pub(super) fn alias(name: &str) -> String {
    let is_fine = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    if name.len() <= MAX_NAME && name.chars().all(is_fine) {
        return name.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let hash = hasher.finish() & 0x00ff_ffff;
    let plain = name.chars().map(|it| if is_fine(it) { it } else { '_' });
    let start: String = plain.take(MAX_NAME - 7).collect();
    format!("{start}_{hash:06x}")
}

/// A request type as a tool.
pub(super) struct Exposed {
    pub(super) wire_type: &'static str,
    /// The handle that it needs, where another type of its namespace opens one.
    pub(super) handle: Option<Handle>,
    tool: Tool,
    /// The same, with the argument that names a session.
    in_session: Tool,
}

/// A field that a request must have, and the type that gives it.
#[derive(Clone)]
pub(super) struct Handle {
    pub(super) field: String,
    pub(super) init: &'static str,
}

impl Exposed {
    pub(super) fn tool(&self, is_modern: bool) -> &Tool {
        if is_modern { &self.in_session } else { &self.tool }
    }

    /// Whether it controls an environment: a model that can reset its world learns that nothing matters.
    pub(super) fn controls_env(&self) -> bool {
        self.wire_type.starts_with("env/")
    }
}

/// The types that fit the patterns, by the name of their tool.
pub(super) fn exposed(patterns: &[String]) -> BTreeMap<String, Arc<Exposed>> {
    let classes = MessageClass::linked();
    let mut found = BTreeMap::new();
    for class in &classes {
        let Some(short) = class.wire_type.strip_suffix("/req") else { continue };
        let is_asked = class.reply_type.is_some_and(|reply| !reply.is_empty());
        let is_ours = NEVER.iter().any(|it| class.wire_type.starts_with(it));
        if !is_asked || is_ours || !patterns.iter().any(|pattern| fits(pattern, short)) {
            continue;
        }
        if let Some(it) = described(class, &classes) {
            found.insert(it.tool.name.to_string(), Arc::new(it));
        }
    }
    found
}

fn described(class: &MessageClass, all: &[&'static MessageClass]) -> Option<Exposed> {
    let Value::Object(mut schema) = class.schema()? else { return None };
    let short = class.wire_type.strip_suffix("/req")?;
    let about = schema.remove("description");
    let about = about.as_ref().and_then(Value::as_str).unwrap_or(short).to_owned();
    for key in ["title", "$schema"] {
        schema.remove(key);
    }
    schema.insert("type".to_owned(), "object".into());
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for key in ["type", "id", "version", "ts"] {
            properties.remove(key);
        }
    }
    let handle = handle_of(short, &schema, all);
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        let is_filled = |key: &Value| handle.as_ref().is_some_and(|it| *key == *it.field);
        required.retain(|key| *key != "type" && !is_filled(key));
    }
    let about = match &handle {
        Some(it) => format!("{about} `{}` may be left out.", it.field),
        None => about,
    };
    let make =
        |schema: JsonObject| Tool::new(alias(&short.replace('/', "_")), cut(&about, 1024), schema);
    let mut with_session = schema.clone();
    if let Some(properties) = with_session.get_mut("properties").and_then(Value::as_object_mut) {
        let about =
            "The session that it works in, as session_open gave it; one of its own unless given.";
        properties.insert(SESSION.to_owned(), json!({ "type": "string", "description": about }));
    }
    let (tool, in_session) = (make(schema), make(with_session));
    Some(Exposed { wire_type: class.wire_type, handle, tool, in_session })
}

/// The field that `<namespace>/init` gives and this type must have.
fn handle_of(short: &str, schema: &JsonObject, all: &[&'static MessageClass]) -> Option<Handle> {
    let (namespace, verb) = short.split_once('/')?;
    if verb == "init" {
        return None;
    }
    let init = format!("{namespace}/init/req");
    let init = all.iter().find(|class| class.wire_type == init)?;
    let reply = all.iter().find(|class| Some(class.wire_type) == init.reply_type)?.schema()?;
    let given = reply.get("properties")?.as_object()?;
    let required = schema.get("required")?.as_array()?.iter().filter_map(Value::as_str);
    let mut handles = required.filter(|key| key.ends_with("_id") && given.contains_key(*key));
    Some(Handle { field: handles.next()?.to_owned(), init: init.wire_type })
}

#[cfg(test)]
mod tests {
    use super::{MAX_NAME, alias};

    #[test]
    fn names_are_short_plain_and_told_apart() {
        assert_eq!(alias("read_file"), "read_file");
        let long = "x".repeat(MAX_NAME);
        assert_eq!(alias(&long), long);
        let odd = ["a.b", "a/b", "a b", "ä", &"x".repeat(41), &"x".repeat(42)].map(alias);
        for (place, name) in odd.iter().enumerate() {
            let is_plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c));
            assert!(is_plain && name.len() <= MAX_NAME, "{name}");
            assert!(!odd[place + 1..].contains(name), "{name}");
        }
    }
}
