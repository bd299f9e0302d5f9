//! What is wrong with arguments, in words by which a model mends its call.

use a2e_core::config::did_you_mean;
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use jsonschema::error::{TypeKind, ValidationError, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Value, json};

/// Most problems that one error tells.
const MAX_PROBLEMS: usize = 32;

/// Most names that are told where none is near.
const MAX_NAMES: usize = 16;

/// Longest text of one problem, in bytes: it may quote a schema.
const MAX_TEXT: usize = 512;

/// The problems of one check.
pub(super) struct Problems<'s> {
    schema: &'s Value,
    found: Vec<(String, String)>,
}

impl<'s> Problems<'s> {
    pub(super) fn of(schema: &'s Value) -> Self {
        Self { schema, found: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn add(&mut self, loc: String, msg: impl Into<String>) {
        // What has the wrong type is mostly none of the right values either.
        if self.found.len() < MAX_PROBLEMS && self.found.iter().all(|it| it.0 != loc) {
            let mut msg = msg.into();
            msg.truncate(msg.floor_char_boundary(MAX_TEXT));
            self.found.push((loc, msg));
        }
    }

    pub(super) fn into_result(self) -> Result<()> {
        let Some((loc, msg)) = self.found.first() else { return Ok(()) };
        let more = match self.found.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more, see `detail.errors`"),
        };
        let message = format!("{loc}: {msg}{more}");
        let errors: Vec<Value> =
            self.found.iter().map(|(loc, msg)| json!({ "loc": loc, "msg": msg })).collect();
        Err(Error::new(ErrorCode::SchemaViolation, message).with_detail("errors", errors))
    }

    pub(super) fn add_error(&mut self, error: &ValidationError<'_>) {
        let loc = loc(error.instance_path());
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                for name in unexpected {
                    let msg = self.unknown(name, error.schema_path());
                    self.add(format!("{loc}.{name}"), msg);
                }
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let of = self.around(error.schema_path(), 1).and_then(|it| it.get("properties"));
                let kind = of.and_then(|of| of.get(name)?.get("type")?.as_str());
                self.add(
                    format!("{loc}.{name}"),
                    format!("missing; a {} is required", kind.unwrap_or("value")),
                );
            }
            kind => {
                let msg = self.told(error, kind);
                self.add(loc, msg);
            }
        }
    }

    /// What an argument is told that the tool does not know.
    fn unknown(&self, name: &str, path: &Location) -> String {
        let known = self.around(path, 1).and_then(|it| it.get("properties")?.as_object());
        let known: Vec<&str> =
            known.into_iter().flat_map(|map| map.keys()).map(String::as_str).collect();
        if let Some(hint) = did_you_mean(name, known.iter().copied()) {
            return format!("unknown; {hint}");
        }
        match known.as_slice() {
            [] => "unknown; there are none here".to_owned(),
            some if some.len() <= MAX_NAMES => format!("unknown; there are {}", some.join(", ")),
            _ => "unknown".to_owned(),
        }
    }

    fn told(&self, error: &ValidationError<'_>, kind: &ValidationErrorKind) -> String {
        match kind {
            ValidationErrorKind::Type { kind } => self.wrong_type(error, kind),
            ValidationErrorKind::Enum { options } => {
                let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
                let options: Vec<String> =
                    options.as_array().into_iter().flatten().map(text).collect();
                format!("expected one of {}", options.join(", "))
            }
            ValidationErrorKind::AnyOf { context }
            | ValidationErrorKind::OneOfNotValid { context } => self.no_form(context),
            _ => error.masked().to_string(),
        }
    }

    fn wrong_type(&self, error: &ValidationError<'_>, kind: &TypeKind) -> String {
        let (found, is_null) = match error.instance().as_ref() {
            Value::Null => ("null", true),
            Value::Bool(_) => ("a boolean", false),
            Value::Number(it) if it.is_f64() => ("a fraction", false),
            Value::Number(_) => ("a number", false),
            Value::String(_) => ("a string", false),
            Value::Array(_) => ("an array", false),
            Value::Object(_) => ("an object", false),
        };
        let expected = match kind {
            TypeKind::Single(kind) => kind.to_string(),
            TypeKind::Multiple(kinds) => {
                kinds.iter().map(|it| it.to_string()).collect::<Vec<_>>().join(" or ")
            }
        };
        let is_number = expected.contains("integer") || expected.contains("number");
        let hint = if is_null && self.may_be_left_out(error) {
            "; leave it out instead"
        } else if is_number && found == "a string" {
            "; write it without quotes"
        } else {
            ""
        };
        format!("expected {expected}, found {found}{hint}")
    }

    /// Whether an object that has this member could be without it.
    fn may_be_left_out(&self, error: &ValidationError<'_>) -> bool {
        // …/properties/<name>/type
        let object = self.around(error.schema_path(), 3);
        let name = error.instance_path().segments().last();
        let (Some(object), Some(LocationSegment::Property(name))) = (object, name) else {
            return false;
        };
        object.get("properties").is_some()
            && !object
                .get("required")
                .and_then(Value::as_array)
                .is_some_and(|names| names.iter().any(|it| it.as_str() == Some(&name)))
    }

    fn no_form(&self, forms: &[Vec<ValidationError<'static>>]) -> String {
        let first = |errors: &Vec<ValidationError<'static>>| {
            let mut inner = Problems::of(self.schema);
            for error in errors {
                inner.add_error(error);
            }
            let (loc, msg) = inner.found.into_iter().next()?;
            Some(format!("{loc}: {msg}"))
        };
        let told: Vec<String> = forms.iter().filter_map(first).collect();
        format!("fits none of {} forms ({})", forms.len(), told.join(" | "))
    }

    /// The schema that holds a keyword, as many steps above it.
    fn around(&self, path: &Location, steps: usize) -> Option<&'s Value> {
        let mut pointer = path.as_str();
        for _ in 0..steps {
            pointer = pointer.get(..pointer.rfind('/')?)?;
        }
        self.schema.pointer(pointer)
    }
}

fn loc(path: &Location) -> String {
    let mut loc = "arguments".to_owned();
    for segment in path.segments() {
        match segment {
            LocationSegment::Property(name) => {
                loc.push('.');
                loc.push_str(&name);
            }
            LocationSegment::Index(at) => loc.extend(["[", &at.to_string(), "]"]),
        }
    }
    loc
}
