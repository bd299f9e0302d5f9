//! What can be typed: the message types that the host handles, and their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use a2e_core::schema::MessageClass;
use serde_json::Value;

use super::link::Link;
use crate::Failure;

/// The call of a tool, whose bodies are those of the tools that the host lists.
const CALL: &str = "tool/call/req";
const LIST: &str = "tool/list/req";

/// The message types that can be sent, each with bodies that show its required fields.
#[derive(Debug, Default)]
pub(super) struct Types(BTreeMap<String, Vec<String>>);

/// Asks the host; one that does not tell takes what this program knows.
pub(super) async fn known(link: &mut Link, limit: Duration) -> Result<Types, Failure> {
    let status = ask(link, "host/status/req", limit).await?;
    let handled: BTreeSet<String> = list(&status, "plugins")
        .flat_map(|plugin| list(plugin, "types"))
        .filter_map(|wire_type| Some(wire_type.as_str()?.to_owned()))
        .collect();
    let mut types = Types::of(&handled);
    if types.0.contains_key(LIST) {
        types.add_tools(&ask(link, LIST, limit).await?);
    }
    Ok(types)
}

/// What the host answers; nothing where it does not in time.
async fn ask(link: &mut Link, wire_type: &str, limit: Duration) -> Result<Value, Failure> {
    let id = format!("connect {wire_type}");
    link.send(&format!(r#"{{"type":"{wire_type}","id":"{id}"}}"#)).await?;
    let answer = async {
        loop {
            match link.next().await? {
                Some(message) if message.req_id() == id => {
                    return Ok::<_, Failure>(message.value);
                }
                Some(_) => {}
                None => return Ok(Value::Null),
            }
        }
    };
    tokio::time::timeout(limit, answer).await.unwrap_or(Ok(Value::Null))
}

/// The items under a key.
fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

impl Types {
    fn of(handled: &BTreeSet<String>) -> Self {
        let linked = MessageClass::linked();
        let requests = linked.iter().filter(|it| it.reply_type.is_some());
        let is_core = |wire_type: &str| wire_type.starts_with("host/") || !wire_type.contains('/');
        let wanted = requests.filter(|it| {
            handled.is_empty() || is_core(it.wire_type) || handled.contains(it.wire_type)
        });
        let bodies = |schema: Option<Value>| vec![skeleton(&schema.unwrap_or_default())];
        let mut types: BTreeMap<String, Vec<String>> =
            wanted.map(|it| (it.wire_type.to_owned(), bodies(it.schema()))).collect();
        for wire_type in handled {
            types.entry(wire_type.clone()).or_insert_with(|| vec!["{}".to_owned()]);
        }
        Self(types)
    }

    /// The tools of a `tool/list/resp`, each as a call with its required arguments.
    fn add_tools(&mut self, listed: &Value) {
        let mut calls: Vec<String> = list(listed, "tools")
            .filter_map(|tool| {
                let name = Value::from(tool.get("name")?.as_str()?);
                let arguments = skeleton(tool.get("input_schema").unwrap_or(&Value::Null));
                Some(format!("{{\"tool_name\": {name}, \"arguments\": {arguments}}}"))
            })
            .collect();
        calls.sort();
        if !calls.is_empty() {
            self.0.insert(CALL.to_owned(), calls);
        }
    }

    /// Where the completion begins, and what could stand there.
    pub(super) fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let Some((word, rest)) = line.split_once(' ') else {
            let types = self.0.keys().filter(|it| it.starts_with(line));
            return (0, types.map(|it| format!("{it} ")).collect());
        };
        let bodies = self.0.get(word).into_iter().flatten();
        let bodies = bodies.filter(|body| body.starts_with(rest.trim_start()));
        (word.len() + 1, bodies.cloned().collect())
    }
}

/// An object with the required fields, each with an empty value of its type.
fn skeleton(schema: &Value) -> String {
    let fields = list(schema, "required").filter_map(Value::as_str).filter(|key| *key != "type");
    let fields: Vec<String> = fields
        .map(|key| {
            let kind = schema.get("properties").and_then(|it| it.get(key)?.get("type")?.as_str());
            let value = match kind {
                Some("string") => "\"\"",
                Some("array") => "[]",
                Some("object") => "{}",
                Some("boolean") => "false",
                Some("integer" | "number") => "0",
                _ => "null",
            };
            format!("{key:?}: {value}")
        })
        .collect();
    format!("{{{}}}", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_complete_and_then_their_fields() {
        let types = Types::of(&["tool/call/req".to_owned(), "own/req".to_owned()].into());
        assert_eq!(types.complete("tool"), (0, vec!["tool/call/req ".to_owned()]));
        assert_eq!(types.complete("own"), (0, vec!["own/req ".to_owned()]));
        assert_eq!(types.complete("memory").1, [""; 0], "the host does not handle it");
        let (at, bodies) = types.complete("tool/call/req ");
        assert_eq!(at, 14);
        assert_eq!(bodies, ["{\"arguments\": {}}"]);
        assert_eq!(types.complete("tool/call/req {").1.len(), 1);
        assert_eq!(types.complete("tool/call/req {\"x").1, [""; 0]);
        assert!(types.complete("host/st").1.len() >= 2);
        assert!(Types::of(&BTreeSet::new()).complete("memory").1.len() > 2);
    }

    #[test]
    fn a_call_completes_the_tools_that_are_listed() {
        let mut types = Types::of(&["tool/call/req".to_owned()].into());
        let schema = |required: &[&str]| json!({ "required": required, "properties": { "path": { "type": "string" }, "n": { "type": "integer" } } });
        types.add_tools(&json!({ "tools": [
            { "name": "read", "input_schema": schema(&["path", "n"]) },
            { "name": "list", "input_schema": schema(&[]) },
            { "name": "a \"b\"" },
            { "nameless": 1 },
        ] }));
        let all = [
            r#"{"tool_name": "a \"b\"", "arguments": {}}"#,
            r#"{"tool_name": "list", "arguments": {}}"#,
            r#"{"tool_name": "read", "arguments": {"path": "", "n": 0}}"#,
        ];
        assert_eq!(types.complete("tool/call/req ").1, all);
        assert_eq!(types.complete(r#"tool/call/req {"tool_name": "r"#).1, all[2..]);
        assert_eq!(types.complete(r#"tool/call/req {"tool_name": "x"#).1, [""; 0]);
        // A host that lists none, or refuses to.
        for listed in [json!({ "tools": [] }), json!({ "type": "error" }), Value::Null] {
            let mut types = Types::of(&["tool/call/req".to_owned()].into());
            types.add_tools(&listed);
            assert_eq!(types.complete("tool/call/req ").1, [r#"{"arguments": {}}"#]);
        }
    }
}
