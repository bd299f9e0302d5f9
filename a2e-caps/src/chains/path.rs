//! What `$.a.b` finds, and whether a condition holds.

use std::borrow::Cow;
use std::cmp::Ordering;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde_json::{Map, Number, Value};

use crate::json::Room;

/// What paths are looked up in: the outputs over the initial input, and in a map the item over both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) input: &'a Map<String, Value>,
    pub(super) outputs: &'a Map<String, Value>,
    pub(super) item: Option<&'a Value>,
}

/// What an expression finds. A copy is measured before it is made.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    Text(&'a str),
    Value(&'a Value),
    /// The whole input.
    Input,
    /// Everything that paths find, as one object.
    Whole,
}

const NOTHING: Found<'static> = Found::Value(&Value::Null);

/// Whether an operator holds for the order of its two sides.
type Test = fn(Option<Ordering>) -> bool;

/// In this order one is looked for in a condition.
const OPERATORS: [(&str, Test); 6] = [
    ("==", |order| order == Some(Ordering::Equal)),
    ("!=", |order| order != Some(Ordering::Equal)),
    (">=", |order| order.is_some_and(Ordering::is_ge)),
    ("<=", |order| order.is_some_and(Ordering::is_le)),
    (">", |order| order.is_some_and(Ordering::is_gt)),
    ("<", |order| order.is_some_and(Ordering::is_lt)),
];

impl<'a> Context<'a> {
    /// A text that begins with `$` is the value at that path, null where there is none; another one, and any
    /// other value, is itself.
    fn find<'s>(&self, expression: &'s str) -> Found<'s>
    where
        'a: 's,
    {
        match expression.strip_prefix('$') {
            None => Found::Text(expression),
            Some("") => Found::Whole,
            Some(path) => self.at(path.strip_prefix('.').unwrap_or_default()),
        }
    }

    /// The items that a path finds: those of a list, or the one that it is.
    ///
    /// # Errors
    /// As [`arguments`](Self::arguments), where they must be copied.
    pub(super) fn items<'s>(&self, path: &'s str, most: usize) -> Result<Cow<'s, [Value]>>
    where
        'a: 's,
    {
        match self.find(path) {
            Found::Value(Value::Array(items)) => Ok(Cow::Borrowed(items)),
            Found::Value(item) => Ok(Cow::Borrowed(std::slice::from_ref(item))),
            found => Ok(Cow::Owned(vec![self.copied(found, &mut Room(most))?])),
        }
    }

    /// The arguments of a node: `input`, and over it what `input_map` finds.
    ///
    /// # Errors
    /// When what is found has more than `most` bytes.
    pub(super) fn arguments(
        &self,
        input: &Map<String, Value>,
        input_map: &Map<String, Value>,
        most: usize,
    ) -> Result<Map<String, Value>> {
        let (mut arguments, mut room) = (input.clone(), Room(most));
        for (key, value) in input_map {
            let found = match value {
                Value::String(expression) => self.copied(self.find(expression), &mut room)?,
                literal => literal.clone(),
            };
            arguments.insert(key.clone(), found);
        }
        Ok(arguments)
    }

    /// A copy, made where there is room for it.
    fn copied(&self, found: Found<'_>, room: &mut Room) -> Result<Value> {
        let has_room = match found {
            Found::Text(text) => room.take(text),
            Found::Value(value) => room.take(value),
            Found::Input => room.take(self.input),
            Found::Whole => {
                room.take(self.input)
                    && room.take(self.outputs)
                    && self.item.is_none_or(|item| room.take(item))
            }
        };
        if !has_room {
            let text = "the arguments have more bytes than there may be (max_output_bytes)";
            return Err(Error::new(ErrorCode::OutOfMemory, text));
        }
        Ok(match found {
            Found::Text(text) => Value::from(text),
            Found::Value(value) => value.clone(),
            Found::Input => Value::Object(self.input.clone()),
            Found::Whole => Value::Object(self.whole()),
        })
    }

    /// Whether a condition holds.
    ///
    /// # Errors
    /// When two values have no order.
    pub(super) fn holds(&self, condition: &str) -> std::result::Result<bool, String> {
        let condition = condition.trim();
        if condition.is_empty() {
            return Ok(true);
        }
        let split = OPERATORS.iter().find_map(|(text, test)| {
            condition.split_once(text).map(|(left, right)| (left.trim(), *text, test, right.trim()))
        });
        let Some((left, operator, test, right)) = split else {
            return Ok(match self.find(condition) {
                Found::Text(text) => is_true(&literal(text)),
                Found::Value(value) => is_true(value),
                Found::Input => !self.input.is_empty(),
                Found::Whole => {
                    !(self.input.is_empty() && self.outputs.is_empty() && self.item.is_none())
                }
            });
        };
        let (left, right) = (self.find(left), literal(right));
        let order = compare(left, &right);
        let is_order = !matches!(operator, "==" | "!=");
        if order.is_none() && is_order && !matches!(left, Found::Value(Value::Null)) {
            let one = match left {
                Found::Text(_) => "a text",
                Found::Value(value) => kind(value),
                Found::Input | Found::Whole => "an object",
            };
            let other = kind(&right);
            let why = format!("{one} {operator} {other} has no meaning");
            return Err(format!("condition `{condition}`: {why}"));
        }
        Ok(test(order))
    }

    /// Everything that paths find, as one object.
    fn whole(&self) -> Map<String, Value> {
        let mut whole = self.input.clone();
        whole.extend(self.outputs.iter().map(|(key, value)| (key.clone(), value.clone())));
        whole.extend(self.item.map(|item| ("item".to_owned(), item.clone())));
        whole
    }

    fn at(&self, path: &str) -> Found<'a> {
        let mut keys = path.split('.');
        let Some(first) = keys.next() else { return NOTHING };
        let found = self.first(first).and_then(|it| keys.try_fold(it, step));
        if let Some(found) = found {
            return Found::Value(found);
        }
        // The whole input by a name of its own, unless a key has taken it.
        let mut keys = path.split('.');
        if keys.next() != Some("input") || self.first("input").is_some() {
            return NOTHING;
        }
        let Some(key) = keys.next() else { return Found::Input };
        let found = named(self.input, key).and_then(|it| keys.try_fold(it, step));
        found.map_or(NOTHING, Found::Value)
    }

    fn first(&self, key: &str) -> Option<&'a Value> {
        let item = self.item.filter(|_| key == "item" || key.starts_with("item["));
        if let Some(item) = item {
            return indexed(item, key.strip_prefix("item")?);
        }
        named(self.outputs, key).or_else(|| named(self.input, key))
    }
}

/// One key further: of an object a member, of a list the place; `key[0]` is both.
fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => named(map, key),
        Value::Array(_) if key.starts_with('[') => indexed(value, key),
        Value::Array(list) => {
            let (place, rest) = key.split_at(key.find('[').unwrap_or(key.len()));
            indexed(list.get(place.parse::<usize>().ok()?)?, rest)
        }
        _ => None,
    }
}

/// A member of an object; a key that holds brackets is looked for as it is before they are read.
fn named<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).or_else(|| {
        let (key, rest) = key.split_at(key.find('[')?);
        indexed(map.get(key)?, rest)
    })
}

/// What `[0][1]` finds.
fn indexed<'a>(value: &'a Value, indexes: &str) -> Option<&'a Value> {
    let Some(rest) = indexes.strip_prefix('[') else {
        return indexes.is_empty().then_some(value);
    };
    let (place, rest) = rest.split_once(']')?;
    indexed(value.as_array()?.get(place.parse::<usize>().ok()?)?, rest)
}

/// An integer, a float, `true`, `false`, or text without its quotes.
fn literal(text: &str) -> Value {
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    match text {
        "true" => return true.into(),
        "false" => return false.into(),
        _ => {}
    }
    let looks_numeric = text.bytes().any(|it| it.is_ascii_digit());
    let number = text.parse::<f64>().ok().filter(|_| looks_numeric).and_then(Number::from_f64);
    number.map_or_else(|| Value::from(text.trim_matches(['\'', '"'])), Value::Number)
}

/// The order of two values of one kind, without blanks around a text on the left. Objects and lists have none.
fn compare(left: Found<'_>, right: &Value) -> Option<Ordering> {
    let text = |left: &str, right: &str| Some(left.trim().cmp(right));
    match (left, right) {
        (Found::Text(left), Value::String(right)) => text(left, right),
        (Found::Value(Value::String(left)), Value::String(right)) => text(left, right),
        (Found::Value(Value::Number(left)), Value::Number(right)) => {
            match (left.as_i64(), right.as_i64()) {
                (Some(left), Some(right)) => Some(left.cmp(&right)),
                _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
            }
        }
        (Found::Value(Value::Bool(left)), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// What is empty, zero, false or null is not true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(it) => *it,
        Value::Number(it) => it.as_f64() != Some(0.0),
        Value::String(it) => !it.is_empty(),
        Value::Array(it) => !it.is_empty(),
        Value::Object(it) => !it.is_empty(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn paths_and_conditions() {
        let input = map(json!({
            "n": 3, "s": " yes ", "list": [1, [2, { "x": 5 }]], "a.b": 1, "both": "input", "k[0]": 7,
            "empty": [], "zero": 0, "f": 2.5, "no": false, "big": u64::MAX,
        }));
        let outputs =
            map(json!({ "both": "output", "node": { "rows": [{ "id": 4 }] }, "nil": null }));
        let plain = Context { input: &input, outputs: &outputs, item: None };
        let item = json!({ "id": 9, "tags": ["t"] });
        let inner = Context { item: Some(&item), ..plain };
        let resolve = |context: &Context<'_>, path: &str| {
            context.copied(context.find(path), &mut Room(usize::MAX)).unwrap()
        };
        for (path, expected) in [
            ("text", json!("text")),
            ("$.n", json!(3)),
            ("$.both", json!("output")),
            ("$.input.both", json!("input")),
            ("$.input.list.1.1.x", json!(5)),
            ("$.list.0", json!(1)),
            ("$.list[1][0]", json!(2)),
            ("$.list[1].1.x", json!(5)),
            ("$.list.1[1].x", json!(5)),
            ("$.node.rows[0].id", json!(4)),
            ("$.node.rows.[0].id", json!(4)),
            ("$.k[0]", json!(7)),
            ("$.nil", json!(null)),
            ("$.missing", json!(null)),
            ("$.list.9", json!(null)),
            ("$.list.-1", json!(null)),
            ("$.list[", json!(null)),
            ("$.list[0", json!(null)),
            ("$.list[x]", json!(null)),
            ("$.n.x", json!(null)),
            ("$n", json!(null)),
            ("$.", json!(null)),
            ("$.item.id", json!(null)),
        ] {
            assert_eq!(resolve(&plain, path), expected, "{path}");
        }
        assert_eq!(resolve(&inner, "$.item.tags[0]"), json!("t"));
        assert_eq!(resolve(&inner, "$.item"), item);
        assert_eq!(resolve(&inner, "$")["item"], item);
        assert_eq!(resolve(&plain, "$")["both"], "output");
        assert_eq!(resolve(&plain, "$.input"), Value::Object(input.clone()));
        for (condition, expected) in [
            ("", true),
            ("  ", true),
            ("$.n", true),
            ("$.zero", false),
            ("$.empty", false),
            ("$.missing", false),
            ("$.no", false),
            ("false", false),
            ("text", true),
            ("$.n == 3", true),
            ("$.n == 3.0", true),
            ("$.n==4", false),
            ("$.n != 4", true),
            ("$.n >= 3", true),
            ("$.n <= 2", false),
            ("$.n > 2.5", true),
            ("$.f < 3", true),
            ("$.big > 5", true),
            ("$.s == yes", true),
            ("$.s == 'yes'", true),
            ("$.s > \"a\"", true),
            ("$.no == false", true),
            ("$.no == 0", false),
            ("$.missing == 0", false),
            ("$.missing != 0", true),
            ("$.missing > 0", false),
            ("$.missing <= 0", false),
            ("$.s != 5", true),
            ("$.list == 1", false),
            ("a == a", true),
            ("$", true),
            ("$.input", true),
            ("$ == 1", false),
            ("$.input != a", true),
        ] {
            assert_eq!(plain.holds(condition), Ok(expected), "{condition}");
        }
        for condition in ["$.s > 5", "$.n < abc", "$.list >= 1", "$.node > a", "$ > 1"] {
            let error = plain.holds(condition).unwrap_err();
            assert!(error.contains(condition) && error.contains("has no meaning"), "{error}");
        }
    }

    #[test]
    fn arguments_are_input_under_what_the_map_finds() {
        let input = map(json!({ "n": 3 }));
        let outputs = Map::new();
        let context = Context { input: &input, outputs: &outputs, item: None };
        let (own, found) =
            (map(json!({ "a": 1, "b": "$.n" })), map(json!({ "a": "$.n", "c": [1], "d": "$5" })));
        let expected = map(json!({ "a": 3, "b": "$.n", "c": [1], "d": null }));
        assert_eq!(context.arguments(&own, &found, 10).unwrap(), expected);
    }

    #[test]
    fn arguments_have_no_more_than_there_is_room_for() {
        let (input, outputs) = (map(json!({ "a": "é".repeat(10) })), map(json!({ "n": "xx" })));
        let plain = Context { input: &input, outputs: &outputs, item: None };
        let item = json!("yy");
        let inner = Context { item: Some(&item), ..plain };
        for (context, path, bytes) in [
            (plain, "$.a", 62),
            (plain, "$.input", 68),
            (plain, "$", 78),
            (inner, "$", 82),
            (inner, "$.item", 4),
            (plain, "text", 6),
            (plain, "$.none", 4),
        ] {
            for (keys, most, fits) in [
                (vec!["k"], bytes, true),
                (vec!["k"], bytes - 1, false),
                (vec!["k", "l"], 2 * bytes, true),
                (vec!["k", "l"], 2 * bytes - 1, false),
            ] {
                let found = keys.into_iter().map(|key| (key.to_owned(), json!(path))).collect();
                let made = context.arguments(&Map::new(), &found, most);
                assert_eq!(made.is_ok(), fits, "{path} in {most}");
            }
        }
    }
}
