//! A tool that is a function: its arguments and its result are types, and say the schemas by themselves.

use std::fmt;
use std::sync::Arc;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{ToolCall, ToolDefinition, ToolOutput};

type Sync = Box<dyn Fn(ToolCall) -> Result<ToolOutput> + Send + std::marker::Sync>;
type Async = Box<dyn Fn(ToolCall) -> BoxFuture<Result<ToolOutput>> + Send + std::marker::Sync>;

enum Body {
    Sync(Sync),
    Async(Async),
}

/// What the function of a tool may give back: any type that has a JSON form and a schema, or a
/// [`ToolOutput`], where images or sounds are among it.
pub trait Returns {
    /// The schema of the result's `data`; `None` for any JSON.
    fn schema() -> Option<Value>;

    /// The output.
    ///
    /// # Errors
    /// When it has no form on the wire.
    fn into_output(self) -> Result<ToolOutput>;
}

impl<T: Serialize + JsonSchema> Returns for T {
    fn schema() -> Option<Value> {
        wrapped(schema_of::<T>())
    }

    fn into_output(self) -> Result<ToolOutput> {
        ToolOutput::of(&self)
    }
}

impl Returns for ToolOutput {
    fn schema() -> Option<Value> {
        None
    }

    fn into_output(self) -> Result<ToolOutput> {
        Ok(self)
    }
}

/// A tool that is a function of its arguments.
///
/// The constructors are the doors of a handler: they say where the function runs. Arguments are checked
/// against the schema of their type before it is called; unknown ones are refused. What it captures is its
/// state.
///
/// ```
/// use a2e_caps::tools::contract::{Tool, ToolCall};
/// use a2e_core::Result;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Count {
///     /// What to count in.
///     text: String,
/// }
///
/// #[derive(serde::Serialize, schemars::JsonSchema)]
/// struct Words {
///     /// How many there are.
///     words: usize,
/// }
///
/// fn count(arguments: Count, _call: &ToolCall) -> Result<Words> {
///     Ok(Words { words: arguments.text.split_whitespace().count() })
/// }
///
/// a2e_caps::register_tool!(Tool::inline("count_words", "Counts words.", count));
/// # fn main() {}
/// ```
pub struct Tool {
    pub(super) definition: ToolDefinition,
    pub(super) run: Run,
    body: Body,
}

impl Tool {
    /// Runs on the reader: bounded work below 100 us, no I/O, no wait.
    pub fn inline<A, O, F>(name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Returns,
        F: Fn(A, &ToolCall) -> Result<O> + Send + std::marker::Sync + 'static,
    {
        Self::sync(Run::Inline, name, description, function)
    }

    /// Runs on the worker pool: CPU-bound and short work.
    pub fn pool<A, O, F>(name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Returns,
        F: Fn(A, &ToolCall) -> Result<O> + Send + std::marker::Sync + 'static,
    {
        Self::sync(Run::Pool, name, description, function)
    }

    /// Runs on a thread that may block: files, databases, programs.
    pub fn blocking<A, O, F>(name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Returns,
        F: Fn(A, &ToolCall) -> Result<O> + Send + std::marker::Sync + 'static,
    {
        Self::sync(Run::Blocking, name, description, function)
    }

    /// Runs as a future, which is dropped when the call ends early.
    pub fn future<A, O, F, Fut>(name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Returns,
        F: Fn(A, ToolCall) -> Fut + Send + std::marker::Sync + 'static,
        Fut: Future<Output = Result<O>> + Send + 'static,
    {
        let body: Async = Box::new(move |call| match call.decode::<A>() {
            Ok(arguments) => {
                let future = function(arguments, call);
                Box::pin(async move { future.await?.into_output() })
            }
            Err(error) => Box::pin(async move { Err(error) }),
        });
        Self::new::<A, O>(Run::Future, name, description, Body::Async(body))
    }

    fn sync<A, O, F>(run: Run, name: &str, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema,
        O: Returns,
        F: Fn(A, &ToolCall) -> Result<O> + Send + std::marker::Sync + 'static,
    {
        let body: Sync = Box::new(move |call| function(call.decode::<A>()?, &call)?.into_output());
        Self::new::<A, O>(run, name, description, Body::Sync(body))
    }

    fn new<A: JsonSchema, O: Returns>(run: Run, name: &str, description: &str, body: Body) -> Self {
        let mut input = schema_of::<A>();
        if let Some(map) = input.as_object_mut()
            && map.keys().all(|key| matches!(key.as_str(), "type" | "description"))
            && map.get("type").is_some_and(|it| it == "object")
        {
            // A struct without fields.
            map.insert("properties".to_owned(), json!({}));
        }
        let mut definition = ToolDefinition::new(name, description).with_input_schema(&input);
        if let Some(output) = O::schema() {
            definition = definition.with_output_schema(&output);
        }
        Self { definition, run, body }
    }

    /// Changes what the types do not say: tags, version, whether it is idempotent.
    ///
    /// ```
    /// # use a2e_caps::tools::contract::{Tool, ToolDefinition};
    /// # fn doc(tool: Tool) -> Tool {
    /// tool.define(|it| ToolDefinition { idempotent: true, ..it.tagged(&["text"]) })
    /// # }
    /// ```
    #[must_use]
    pub fn define(mut self, change: impl FnOnce(ToolDefinition) -> ToolDefinition) -> Self {
        self.definition = change(self.definition);
        self
    }

    pub(super) fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        match &self.body {
            Body::Sync(function) => function(call),
            Body::Async(_) => Err(Error::internal("a future on a thread")),
        }
    }

    pub(super) fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        match &self.body {
            Body::Sync(_) => Box::pin(async { Err(Error::internal("a function as a future")) }),
            Body::Async(function) => function(call),
        }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("definition", &self.definition)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl ToolDefinition {
    /// Sets a schema (draft 2020-12, of an object) that arguments are checked against, in place of one from
    /// the parameters.
    #[must_use]
    pub fn with_input_schema(mut self, schema: &Value) -> Self {
        self.input_schema = raw(schema);
        self
    }

    /// Sets the schema of the result's `data`.
    #[must_use]
    pub fn with_output_schema(mut self, schema: &Value) -> Self {
        self.output_schema = raw(schema);
        self
    }
}

/// A schema that is nested too deep to be sent becomes one that is refused.
fn raw(schema: &Value) -> Option<RawJson> {
    RawJson::of(schema).or_else(|_| RawJson::of(&Value::Null)).ok()
}

/// The schema of a type, without what only a file of its own needs.
pub(in crate::tools) fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = a2e_core::schema::schema_of::<T>();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        map.remove("title");
    }
    schema
}

/// The schema of `data`: a value that is no object is sent as `{"value": …}`. `None` for any JSON.
fn wrapped(mut schema: Value) -> Option<Value> {
    if schema.get("type").is_some_and(|it| it == "object") {
        return Some(schema);
    }
    let map = schema.as_object_mut()?;
    if map.is_empty() {
        return None;
    }
    let definitions = map.remove("$defs");
    let mut whole = Map::new();
    whole.insert("type".to_owned(), "object".into());
    whole.insert("properties".to_owned(), json!({ "value": schema }));
    whole.insert("required".to_owned(), json!(["value"]));
    whole.extend(definitions.map(|it| ("$defs".to_owned(), it)));
    Some(Value::Object(whole))
}
