//! `a2e schema`: every message that can come, in words that are no Rust, with the fields as they are.

use serde_json::{Map, Value, json};

use crate::process::support::program::{Host, Place, a2e, outcome};
use crate::process::support::wire::Wire;

fn all() -> Value {
    let (code, stdout, stderr) = outcome(&mut a2e(&["schema", "--all"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    serde_json::from_str(&stdout).unwrap()
}

fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().filter(|_| key == "description") {
                    Some(text) => found.push(text.to_owned()),
                    None => texts(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn descriptions_hold_no_rust() {
    let schema = all();
    let mut found = Vec::new();
    texts(&schema, &mut found);
    assert!(found.len() > 200);
    for text in found {
        for rust in ["[`", "`]", "::", "`None`", "`Some", "Option<", "Vec<", "serde", "](crate"] {
            assert!(!text.contains(rust), "{text}");
        }
        // Names of Rust types are written in one word with capitals inside.
        let words = text.split(|c: char| !c.is_alphanumeric());
        let is_type = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().skip(1).any(|c| c.is_ascii_lowercase())
                && word.chars().skip(1).any(|c| c.is_ascii_uppercase())
        };
        let known = ["OpenEnv", "SQLite", "TypeScript", "URLs", "WebSocket", "GiB", "KiB", "MiB"];
        let odd: Vec<&str> = words.filter(|it| is_type(it) && !known.contains(it)).collect();
        assert!(odd.is_empty(), "{odd:?} in {text}");
    }
}

#[test]
fn every_message_that_can_come_is_there() {
    let schema = all();
    let messages = schema["messages"].as_object().unwrap();
    for kind in [
        "error",
        "pong",
        "handshake/resp",
        "invoke/event",
        "tool/event",
        "proc/read/event",
        "host/stop/resp",
        "session/gap/push",
        "approval/ask/push",
        "*/changed/push",
    ] {
        assert!(messages.contains_key(kind), "{kind}");
    }
    // Each request that is answered has its answer there.
    let (_, list, _) = outcome(&mut a2e(&["schema"]));
    for line in list.lines().filter(|line| line.contains("->")) {
        let reply = line.rsplit("-> ").next().unwrap();
        assert!(list.contains(&format!("  {reply}\n")) || reply.contains("test"), "{reply}");
    }
    let codes = messages["error"]["properties"]["code"]["anyOf"].as_array().unwrap();
    for code in ["parse_error", "unknown_type", "timeout", "tool_error", "memory_full"] {
        let known = codes.iter().find(|it| it["const"] == code);
        assert!(
            known.unwrap_or_else(|| panic!("{code}"))["description"].as_str().unwrap().len() > 5
        );
    }
    let (code, stdout, _) = outcome(&mut a2e(&["schema", "error"]));
    assert!(code == Some(0) && stdout.contains("\"unknown_type\""), "{stdout}");
    // One for each namespace.
    let (code, stdout, _) = outcome(&mut a2e(&["schema", "tool/changed/push"]));
    assert!(code == Some(0) && stdout.contains("\"generation\""), "{stdout}");
}

/// A value that fits a schema.
fn sample(schema: &Value, defs: &Value) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return sample(&defs[name], defs);
    }
    let first = |key: &str| schema[key].as_array().and_then(|list| list.first()).cloned();
    if let Some(value) = first("enum") {
        return value;
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(inner) = first("oneOf").or_else(|| first("anyOf")) {
        return sample(&inner, defs);
    }
    let kind = schema["type"]
        .as_str()
        .map(str::to_owned)
        .or_else(|| Some(first("type")?.as_str()?.to_owned()));
    match kind.as_deref() {
        Some("string") => json!("x"),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => {
            let mut object = Map::new();
            for key in schema["required"].as_array().into_iter().flatten() {
                let key = key.as_str().unwrap();
                object.insert(key.to_owned(), sample(&schema["properties"][key], defs));
            }
            Value::Object(object)
        }
        _ => Value::Null,
    }
}

#[test]
fn required_fields_are_as_they_are() {
    let schema = all();
    let place = Place::new();
    let config = place.config(
        "plugins:
  - {name: t, type: tools, cls: a2e.caps.tools.plugin.ToolPlugin}
  - {name: m, type: memory, cls: a2e.caps.memory.plugin.MemoryPlugin}
  - {name: p, type: proc, cls: a2e.caps.proc.plugin.ProcPlugin, metadata: {allowed_commands: []}}
",
    );
    let host = Host::at_socket(&place, &["-c", &config]);
    let mut wire = Wire::connect(&place.socket());
    wire.handshake("reader");
    let messages = schema["messages"].as_object().unwrap();
    let ours =
        ["ping", "memory/", "proc/", "tool/", "host/status", "host/explain", "host/snapshot"];
    let is_ours = |kind: &str| {
        kind == "ping" || (kind.ends_with("/req") && ours.iter().any(|it| kind.starts_with(it)))
    };
    let mut checked = 0;
    for (kind, schema) in messages.iter().filter(|(kind, _)| is_ours(kind)) {
        let mut body = sample(schema, &schema["$defs"]);
        let body = body.as_object_mut().unwrap();
        body.remove("type");
        let answer = wire.call(kind, Value::Object(body.clone()));
        let is_refused = answer["type"] == "error" && answer["code"] == "schema_violation";
        assert!(!is_refused, "{kind} with {body:?}: {answer}");
        // What hosts always write is there.
        let kind_of_answer = answer["type"].as_str().unwrap();
        for key in messages[kind_of_answer]["required"].as_array().unwrap() {
            assert!(
                answer.get(key.as_str().unwrap()).is_some(),
                "{kind_of_answer} without {key}: {answer}"
            );
        }
        for key in body.keys() {
            let mut less = body.clone();
            less.remove(key);
            let answer = wire.call(kind, Value::Object(less));
            assert_eq!(answer["code"], "schema_violation", "{kind} without {key}: {answer}");
            checked += 1;
        }
    }
    assert!(checked >= 5, "{checked}");
    host.stop();
}
