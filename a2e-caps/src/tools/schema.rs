//! Checks the arguments of a call against what its tool declares, without decoding them.
//!
//! Arguments that the tool does not declare are allowed and left to it: the wire ignores unknown
//! fields everywhere. `5.0` is an integer, `"5"` is not; null is no value of any type.

use a2e_core::codec::RawJson;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde_json::{Value, json};

use super::fields::Fields;
use super::protocol::ToolParameter;

/// Most problems that one error tells.
const MAX_PROBLEMS: usize = 32;

/// Whether `arguments` are what `parameters` declare.
///
/// # Errors
/// `schema_violation` with every problem (32 at most) in `detail.errors`, each with its path.
pub(super) fn check(arguments: &RawJson, parameters: &[ToolParameter]) -> Result<()> {
    let mut problems = Problems(Vec::new());
    if !parameters.is_empty() {
        problems.object("arguments", arguments.get(), parameters.iter());
    }
    problems.into_result()
}

struct Problems(Vec<(String, String)>);

impl Problems {
    fn add(&mut self, loc: &str, msg: impl Into<String>) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push((loc.to_owned(), msg.into()));
        }
    }

    fn into_result(self) -> Result<()> {
        let Some((loc, msg)) = self.0.first() else { return Ok(()) };
        let more = match self.0.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more, see `detail.errors`"),
        };
        let message = format!("{loc}: {msg}{more}");
        let errors: Vec<Value> =
            self.0.iter().map(|(loc, msg)| json!({ "loc": loc, "msg": msg })).collect();
        Err(Error::new(ErrorCode::SchemaViolation, message).with_detail("errors", errors))
    }

    fn object<'p>(
        &mut self,
        loc: &str,
        json: &str,
        parameters: impl Iterator<Item = &'p ToolParameter>,
    ) {
        let Some(Fields(fields)) = Fields::of(json) else {
            return self.add(loc, "expected an object");
        };
        for parameter in parameters {
            let loc = format!("{loc}.{}", parameter.name);
            let mut found = fields.iter().filter(|(key, _)| *key == parameter.name);
            match (found.next(), found.next()) {
                (None, _) if parameter.required => {
                    self.add(&loc, format!("missing; a {} is required", parameter.kind));
                }
                (None, _) => {}
                // The check must see exactly the arguments that the tool sees.
                (Some(_), Some(_)) => self.add(&loc, "stands twice"),
                (Some((_, value)), None) => self.value(&loc, value.get(), parameter),
            }
        }
    }

    fn value(&mut self, loc: &str, json: &str, parameter: &ToolParameter) {
        if let Err(found) = is_of(json, &parameter.kind) {
            let hint = match found {
                "null" if !parameter.required => "; leave it out instead",
                "a string" if matches!(parameter.kind.as_str(), "integer" | "number") => {
                    "; write it without quotes"
                }
                _ => "",
            };
            return self.add(loc, format!("expected {}, found {found}{hint}", parameter.kind));
        }
        if let Some(choices) = &parameter.choices {
            let text = serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
            if !choices.contains(&text) {
                self.add(loc, format!("expected one of {}", choices.join(", ")));
            }
        }
        if let Some(properties) = &parameter.properties
            && json.starts_with('{')
        {
            // The key counts: schemas often leave the name inside out.
            let named: Vec<ToolParameter> = properties
                .iter()
                .map(|(key, it)| ToolParameter { name: key.clone(), ..it.clone() })
                .collect();
            self.object(loc, json, named.iter());
        }
    }
}

/// Whether a JSON text is of this type; otherwise what it is. A type that is unknown fits all.
fn is_of(json: &str, kind: &str) -> Result<(), &'static str> {
    let found = match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    let fits = match kind {
        "string" => found == "a string",
        "object" => found == "an object",
        "array" => found == "an array",
        "boolean" => found == "a boolean",
        "number" | "integer" if found == "a number" => {
            let value = json.parse::<f64>().unwrap_or(f64::INFINITY);
            if !value.is_finite() {
                return Err("a number beyond every range");
            }
            if kind == "integer" && value.fract() != 0.0 {
                return Err("a fraction");
            }
            true
        }
        "number" | "integer" => false,
        _ => true,
    };
    if fits { Ok(()) } else { Err(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<ToolParameter> {
        let mut nested = ToolParameter::optional("opts", "object", "");
        nested.properties = Some(
            [("depth", ToolParameter::required("", "integer", ""))]
                .map(|(key, it)| (key.to_owned(), it))
                .into(),
        );
        vec![
            ToolParameter::required("path", "string", ""),
            ToolParameter::optional("n", "integer", ""),
            ToolParameter::optional("x", "number", ""),
            ToolParameter::optional("on", "boolean", ""),
            ToolParameter::optional("list", "array", ""),
            ToolParameter::optional("mode", "string", "").one_of(&["a", "b"]),
            ToolParameter::optional("level", "integer", "").one_of(&["1", "2"]),
            ToolParameter::optional("any", "json", ""),
            nested,
        ]
    }

    #[test]
    fn arguments_are_checked_and_every_problem_is_named() {
        for (arguments, expected) in [
            (r#"{"path":"p"}"#, &[][..]),
            (r#"{"path":"p","n":5}"#, &[]),
            (r#"{"path":"p","n":5.0}"#, &[]),
            (r#"{"path":"p","n":-3e2}"#, &[]),
            (r#"{"path":"p","n":5.5}"#, &["arguments.n"]),
            (r#"{"path":"p","n":"5"}"#, &["arguments.n"]),
            (r#"{"path":"p","n":null}"#, &["arguments.n"]),
            (r#"{"path":"p","n":1e999}"#, &["arguments.n"]),
            (r#"{"path":"p","n":true}"#, &["arguments.n"]),
            (r#"{"path":"p","x":5}"#, &[]),
            (r#"{"path":"p","x":-0.5}"#, &[]),
            (r#"{"path":"p","x":"0.5"}"#, &["arguments.x"]),
            (r#"{"path":"p","x":[]}"#, &["arguments.x"]),
            (r#"{"path":"p","on":false}"#, &[]),
            (r#"{"path":"p","on":"false"}"#, &["arguments.on"]),
            (r#"{"path":"p","on":0}"#, &["arguments.on"]),
            (r#"{"path":"p","list":[1,"a"]}"#, &[]),
            (r#"{"path":"p","list":{}}"#, &["arguments.list"]),
            (r#"{"path":"p","mode":"b"}"#, &[]),
            (r#"{"path":"p","mode":"\u0062"}"#, &[]),
            (r#"{"path":"p","mode":"c"}"#, &["arguments.mode"]),
            (r#"{"path":"p","level":2}"#, &[]),
            (r#"{"path":"p","level":3}"#, &["arguments.level"]),
            (r#"{"path":"p","any":null}"#, &[]),
            (r#"{"path":"p","unknown":{"x":[]}}"#, &[]),
            (r#"{"path":"p","opts":{"depth":1,"more":2}}"#, &[]),
            (r#"{"path":"p","opts":{}}"#, &["arguments.opts.depth"]),
            (r#"{"path":"p","opts":{"depth":"1"}}"#, &["arguments.opts.depth"]),
            (r#"{"path":"p","opts":[]}"#, &["arguments.opts"]),
            (r#"{"path":"p","path":"q"}"#, &["arguments.path"]),
            (r#"{"\u0070ath":"p"}"#, &[]),
            ("{}", &["arguments.path"]),
            (r#"{"path":5}"#, &["arguments.path"]),
            (
                r#"{"n":"1","x":"2","on":3}"#,
                &["arguments.path", "arguments.n", "arguments.x", "arguments.on"],
            ),
        ] {
            let raw = RawJson::parse(arguments.to_owned()).unwrap();
            let found: Vec<String> = match check(&raw, &parameters()) {
                Ok(()) => Vec::new(),
                Err(error) => error.detail()["errors"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|it| it["loc"].as_str().unwrap().to_owned())
                    .collect(),
            };
            assert_eq!(found, expected, "{arguments}");
        }
    }

    #[test]
    fn a_message_says_what_would_be_right() {
        for (arguments, expected) in [
            (
                r#"{"path":"p","n":"5"}"#,
                "expected integer, found a string; write it without quotes",
            ),
            (r#"{"path":"p","n":null}"#, "expected integer, found null; leave it out instead"),
            (r#"{"path":"p","mode":"c"}"#, "expected one of a, b"),
            ("{}", "missing; a string is required"),
        ] {
            let raw = RawJson::parse(arguments.to_owned()).unwrap();
            let error = check(&raw, &parameters()).unwrap_err();
            assert!(error.message().ends_with(expected), "{arguments}: {error}");
        }
    }
}
