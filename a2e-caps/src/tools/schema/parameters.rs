//! Parameter lists, which clients of the reference read, and schemas: each from the other.

use std::collections::BTreeMap;

use a2e_core::config::did_you_mean;
use serde_json::{Map, Value, json};

use crate::tools::protocol::{PARAMETER_TYPES, ToolParameter};

/// Nesting to which a parameter list follows a schema.
const MAX_DEPTH: usize = 4;

/// Whether a parameter has a type that there is, and so have those in it.
///
/// # Errors
/// Which has not, and what is meant perhaps.
pub(super) fn check(parameter: &ToolParameter) -> Result<(), String> {
    let names = PARAMETER_TYPES;
    if !names.contains(&parameter.kind.as_str()) {
        let hint = did_you_mean(&parameter.kind, names);
        let hint = hint.unwrap_or_else(|| format!("there are {}", names.join(", ")));
        let (name, kind) = (&parameter.name, &parameter.kind);
        return Err(format!("parameter `{name}` has the unknown type `{kind}`; {hint}"));
    }
    parameter.properties.iter().flat_map(|map| map.values()).try_for_each(check)
}

/// What a list of parameters is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Arguments: there are no others, and null is none.
    Arguments,
    /// A result: there may be more, and one that need not be there may be null.
    Result,
}

/// The schema of an object with these fields.
pub(super) fn schema(parameters: &[ToolParameter], of: Of) -> Value {
    object(parameters.iter().map(|it| (it.name.as_str(), it)), of)
}

fn object<'p>(fields: impl Iterator<Item = (&'p str, &'p ToolParameter)>, of: Of) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, parameter) in fields {
        if parameter.required {
            required.push(Value::from(name));
        }
        properties.insert(name.to_owned(), value(parameter, of));
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if of == Of::Arguments {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    Value::Object(schema)
}

fn value(parameter: &ToolParameter, of: Of) -> Value {
    let kind = parameter.kind.as_str();
    let mut schema = match &parameter.properties {
        // The key counts: lists often leave the name inside out.
        Some(fields) if kind == "object" => {
            match object(fields.iter().map(|(key, it)| (key.as_str(), it)), of) {
                Value::Object(schema) => schema,
                _ => Map::new(),
            }
        }
        _ => Map::new(),
    };
    let may_be_null = of == Of::Result && !parameter.required;
    let kinds = if may_be_null { json!([kind, "null"]) } else { Value::from(kind) };
    schema.insert("type".to_owned(), kinds);
    if !parameter.description.is_empty() {
        schema.insert("description".to_owned(), parameter.description.as_str().into());
    }
    if let Some(choices) = &parameter.choices {
        let typed = |text: &String| match kind {
            "string" => Value::from(text.as_str()),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
        };
        let null = may_be_null.then_some(Value::Null);
        schema.insert("enum".to_owned(), choices.iter().map(typed).chain(null).collect());
    }
    Value::Object(schema)
}

/// The fields of an object's schema as a list: those that must be there first.
pub(super) fn list(schema: &Value) -> Vec<ToolParameter> {
    fields(schema, schema, 0)
}

fn fields(schema: &Value, root: &Value, depth: usize) -> Vec<ToolParameter> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let place = |name: &str| required.iter().position(|it| *it == name);
    let mut list: Vec<ToolParameter> = properties
        .iter()
        .map(|(name, of)| ToolParameter {
            required: place(name).is_some(),
            ..parameter(name, of, root, depth)
        })
        .collect();
    list.sort_by_key(|it| place(&it.name).unwrap_or(usize::MAX));
    list
}

fn parameter(name: &str, schema: &Value, root: &Value, depth: usize) -> ToolParameter {
    let told = resolved(schema, root);
    let text = |key: &str| schema.get(key).or_else(|| told.get(key)).and_then(Value::as_str);
    let kind = kind_of(told, root);
    let mut parameter =
        ToolParameter::optional(name, kind, text("description").unwrap_or_default());
    parameter.choices = choices(told);
    if kind == "object" && depth < MAX_DEPTH {
        let within = fields(told, root, depth + 1);
        let named = within.into_iter().map(|it| (it.name.clone(), it));
        let named: BTreeMap<_, _> = named.collect();
        parameter.properties = Some(named).filter(|map| !map.is_empty());
    }
    parameter
}

/// The schema behind a reference within the document, and the first of several forms that is not null.
fn resolved<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let mut at = schema;
    // References can lead in a circle.
    for _ in 0..MAX_DEPTH {
        let reference = at.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#'));
        let forms = ["anyOf", "oneOf"].iter().find_map(|key| at.get(key)?.as_array());
        let next = match (reference, forms) {
            (Some(pointer), _) => root.pointer(pointer),
            (None, Some(forms)) => forms.iter().find(|it| it.get("type") != Some(&"null".into())),
            (None, None) => None,
        };
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    at
}

/// A type of the reference's list.
fn kind_of(schema: &Value, root: &Value) -> &'static str {
    let known = |text: &str| PARAMETER_TYPES.into_iter().find(|it| *it == text);
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => known(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find_map(known),
        _ => None,
    };
    let of_value = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Number(it) if it.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) | Value::Null => "object",
    };
    let first = schema.get("enum").and_then(|it| it.get(0)).or_else(|| schema.get("const"));
    kind.or_else(|| first.map(of_value))
        .or_else(|| schema.get("items").map(|_| "array"))
        .unwrap_or(if std::ptr::eq(schema, root) { "object" } else { "string" })
}

/// The only values that are allowed, where they are texts or numbers.
fn choices(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    schema.get("enum")?.as_array()?.iter().map(text).collect()
}
