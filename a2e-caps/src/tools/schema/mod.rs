//! The schemas of tools: completed, closed, compiled once, and what arguments are checked against.
//!
//! What is listed is what is checked. `5.0` is an integer, `"5"` is not; null is no value but where the
//! schema says so. No reference is followed out of its schema.

mod close;
mod parameters;
mod problems;
#[cfg(test)]
mod tests;

use a2e_core::codec::RawJson;
use a2e_core::{Error, Result};
use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use self::parameters::Of;
use self::problems::Problems;
use super::fields::Fields;
use super::protocol::ToolDefinition;

/// A schema of arguments, compiled.
#[derive(Debug)]
pub(super) struct Checker {
    validator: Validator,
    schema: Value,
}

impl Checker {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it.
    fn new(schema: Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            // A plugin's schema makes the host open nothing.
            .offline()
            // In time that grows with the text, whatever the pattern.
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .map_err(|error| error.masked().to_string())?;
        Ok(Self { validator, schema })
    }

    /// The checker of a definition that is complete.
    ///
    /// # Errors
    /// What is wrong with its schemas.
    pub(super) fn of(tool: &ToolDefinition) -> Result<Self, String> {
        let read = |raw: &RawJson| raw.decode().unwrap_or(Value::Null);
        if let Some(output) = &tool.output_schema {
            Self::new(read(output)).map_err(|why| format!("its output schema: {why}"))?;
        }
        let input = tool.input_schema.as_ref().map_or(Value::Bool(true), read);
        Self::new(input).map_err(|why| format!("its input schema: {why}"))
    }

    /// Whether arguments are what the schema asks for.
    ///
    /// # Errors
    /// `schema_violation` with every problem (32 at most) in `detail.errors`, each with its path.
    pub(super) fn check(&self, arguments: &RawJson) -> Result<()> {
        let mut problems = Problems::of(&self.schema);
        let value = values(arguments, &mut problems);
        if problems.is_empty() && !self.validator.is_valid(&value) {
            self.validator.iter_errors(&value).for_each(|error| problems.add_error(&error));
        }
        problems.into_result()
    }
}

/// The arguments as values. The check must see exactly the arguments that the tool sees, so none may stand
/// twice.
fn values(arguments: &RawJson, problems: &mut Problems<'_>) -> Value {
    let Some(Fields(fields)) = Fields::of(arguments.get()) else {
        problems.add("arguments".to_owned(), "expected an object");
        return Value::Null;
    };
    let mut object = Map::new();
    for (name, raw) in fields {
        let loc = format!("arguments.{name}");
        match serde_json::from_str(raw.get()) {
            Ok(value) => {
                if object.insert(name, value).is_some() {
                    problems.add(loc, "stands twice");
                }
            }
            Err(_) => {
                problems.add(loc, "a number beyond every range, or a text that is no Unicode");
            }
        }
    }
    Value::Object(object)
}

impl ToolDefinition {
    /// The definition with what it leaves out: schemas from the parameter lists, and parameter lists, which
    /// clients of the reference read, from the schemas. An object that lists its properties and says
    /// nothing of others takes no others. An own schema must be one of an object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn completed(mut self) -> Result<Self, Error> {
        let wrong = |which: &str, why: &str| {
            Error::internal(format!("tool `{}`: its {which} schema {why}", self.name))
        };
        for it in self.input_parameters.iter().chain(&self.output_parameters) {
            parameters::check(it)
                .map_err(|why| Error::internal(format!("tool `{}`: {why}", self.name)))?;
        }
        let input = match &self.input_schema {
            None => parameters::schema(&self.input_parameters, Of::Arguments),
            Some(own) => {
                let mut schema = object(own).map_err(|why| wrong("input", why))?;
                close::close(&mut schema);
                if self.input_parameters.is_empty() {
                    self.input_parameters = parameters::list(&schema);
                }
                schema
            }
        };
        let output = match &self.output_schema {
            None if self.output_parameters.is_empty() => None,
            None => Some(parameters::schema(&self.output_parameters, Of::Result)),
            Some(own) => {
                let schema = object(own).map_err(|why| wrong("output", why))?;
                if self.output_parameters.is_empty() {
                    self.output_parameters = parameters::list(&schema);
                }
                Some(schema)
            }
        };
        let raw = |which: &str, schema: &Value| {
            RawJson::of(schema).map_err(|_| wrong(which, "is nested too deep"))
        };
        let input = raw("input", &input)?;
        let output = output.map(|schema| raw("output", &schema)).transpose()?;
        (self.input_schema, self.output_schema) = (Some(input), output);
        Ok(self)
    }

    /// Whether its input schema says no more than its parameters do, for the hash of a definition.
    pub(super) fn is_input_derived(&self) -> bool {
        self.input_schema.as_ref().is_none_or(|own| {
            let derived = parameters::schema(&self.input_parameters, Of::Arguments);
            own.decode::<Value>().is_ok_and(|own| own == derived)
        })
    }

    /// The same of its output schema.
    pub(super) fn is_output_derived(&self) -> bool {
        self.output_schema.as_ref().is_none_or(|own| {
            let derived = parameters::schema(&self.output_parameters, Of::Result);
            own.decode::<Value>().is_ok_and(|own| own == derived)
        })
    }
}

/// A schema that is given, as one of an object.
fn object(own: &RawJson) -> Result<Value, &'static str> {
    let mut schema: Value = own.decode().map_err(|_| "is nested too deep")?;
    let Some(map) = schema.as_object_mut() else { return Err("must be an object") };
    let kind = map.entry("type").or_insert_with(|| "object".into());
    if kind != "object" {
        return Err("must have the type `object`: arguments and results are objects");
    }
    Ok(schema)
}
