//! The canonical form of a key: equal keys have equal texts.

use std::fmt;
use std::sync::Arc;

use serde_json::{Number, Value};

use super::text::composed;
use crate::json::JsonObject;

/// Members sorted by name, arrays as they are, one text for each number, letters composed.
///
/// # Errors
/// When a text in it has no characters (a lone surrogate), or a number no finite value.
pub(in crate::memory) fn canonical(key: &JsonObject) -> Result<Arc<str>, NoCanonicalForm> {
    let value: Value = key.raw().decode().map_err(|_| NoCanonicalForm)?;
    let mut out = String::with_capacity(key.raw().get().len());
    write(&value, &mut out);
    Ok(out.into())
}

/// The key is JSON that cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::memory) struct NoCanonicalForm;

impl fmt::Display for NoCanonicalForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("has a text that is not Unicode, or a number out of range")
    }
}

/// Recursion is bounded by the depth that a message may have.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            // Sorted here, too: whether the map keeps an order is up to a feature of its crate.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (place, (name, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        Value::Number(number) => write_number(number, out),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Null => out.push_str("null"),
    }
}

/// Quotes and backslashes are escaped, so that texts cannot imitate structure; the rest needs no
/// escape, as only this module reads the form.
fn write_text(text: &str, out: &mut String) {
    let text = composed(text);
    out.push('"');
    for piece in text.split_inclusive(['"', '\\']) {
        match piece.strip_suffix(['"', '\\']) {
            Some(plain) => {
                out.push_str(plain);
                out.push('\\');
                out.push_str(piece.get(plain.len()..).unwrap_or_default());
            }
            None => out.push_str(piece),
        }
    }
    out.push('"');
}

/// A float without a fraction is written as the integer that it equals.
fn write_number(number: &Number, out: &mut String) {
    /// 2^64; an integer beyond it is a float already.
    const END_OF_INTEGERS: f64 = 18_446_744_073_709_551_616.0;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < END_OF_INTEGERS => {
            #[allow(clippy::cast_possible_truncation, reason = "whole, and far within i128")]
            let whole = value as i128;
            out.push_str(&whole.to_string());
        }
        _ => out.push_str(&number.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: &str) -> Arc<str> {
        canonical(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn equal_keys_have_one_form() {
        for (a, b) in [
            (r#"{"a":1,"b":2}"#, r#"{ "b" : 2, "a" : 1 }"#),
            (r#"{"a":{"x":1,"y":[{"p":1,"q":2}]}}"#, r#"{"a":{"y":[{"q":2,"p":1}],"x":1}}"#),
            (r#"{"n":1}"#, r#"{"n":1.0}"#),
            (r#"{"n":1000}"#, r#"{"n":1e3}"#),
            (r#"{"n":0}"#, r#"{"n":-0.0}"#),
            (r#"{"n":9223372036854775808}"#, r#"{"n":9223372036854775808.0}"#),
            (r#"{"n":1e300}"#, r#"{"n":1.0E+300}"#),
            (r#"{"é":"\u00e9"}"#, r#"{"\u00e9":"é"}"#),
            (r#"{"a":"\n\/"}"#, r#"{"a":"\u000a/"}"#),
            (r#"{"e\u0301":"Zu\u0308rich"}"#, r#"{"é":"Z\u00fcrich"}"#),
        ] {
            assert_eq!(form(a), form(b), "{a} and {b}");
        }
    }

    #[test]
    fn unequal_keys_differ() {
        for (a, b) in [
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":1}"#, r#"{"a":true}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":1.5}"#, r#"{"a":1}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":18446744073709551615}"#, r#"{"a":18446744073709551614}"#),
            (r#"{"a":"\",\"b\":\""}"#, r#"{"a":"","b":""}"#),
            (r#"{"a":"\\\""}"#, r#"{"a":"\""}"#),
            (r#"{"a":"A"}"#, r#"{"a":"a"}"#),
        ] {
            assert_ne!(form(a), form(b), "{a} and {b}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        for key in [r#"{"a":"\ud800"}"#, r#"{"\udc00\ud800":1}"#, r#"{"a":[1e999]}"#] {
            assert_eq!(
                canonical(&serde_json::from_str(key).unwrap()),
                Err(NoCanonicalForm),
                "{key}"
            );
        }
    }
}
