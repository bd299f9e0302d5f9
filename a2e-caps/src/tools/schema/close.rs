//! Has the objects of a schema take no properties but those that it lists, where it says nothing of others.

use serde_json::{Map, Value};

/// Keywords by which schemas add up: an object that one of them sees in part must stay open.
const ADDING: [&str; 7] = [
    "allOf",
    "if",
    "not",
    "dependentSchemas",
    "unevaluatedProperties",
    "$dynamicRef",
    "$recursiveRef",
];

/// Closes every object of a schema. One whose parts add up is left as it is: which properties it takes is
/// not told by any of them alone.
pub(super) fn close(schema: &mut Value) {
    let mut adds_up = false;
    walk(schema, &mut |it| adds_up |= is_part_of_more(it));
    if !adds_up {
        walk(schema, &mut close_one);
    }
}

fn is_part_of_more(schema: &Map<String, Value>) -> bool {
    let has_one = |keys: &[&str]| keys.iter().any(|key| schema.contains_key(*key));
    has_one(&ADDING) || (has_one(&["properties"]) && has_one(&["anyOf", "oneOf", "$ref"]))
}

fn close_one(schema: &mut Map<String, Value>) {
    let says = |key: &str| schema.contains_key(key);
    let is_open = ["additionalProperties", "patternProperties", "propertyNames"];
    if says("properties") && !is_open.iter().any(|key| says(key)) {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// Visits a schema and every schema in it; what only looks like one (an example, a default) is not visited.
/// Recursion is bounded by the depth that a schema may have.
fn walk(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Some(map) = schema.as_object_mut() else { return };
    visit(map);
    for (key, value) in map {
        match (key.as_str(), value) {
            (
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas",
                Value::Object(named),
            ) => {
                for it in named.values_mut() {
                    walk(it, visit);
                }
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(list)) => {
                for it in list {
                    walk(it, visit);
                }
            }
            (
                "items"
                | "contains"
                | "additionalProperties"
                | "propertyNames"
                | "not"
                | "if"
                | "then"
                | "else"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                one,
            ) => walk(one, visit),
            _ => {}
        }
    }
}
