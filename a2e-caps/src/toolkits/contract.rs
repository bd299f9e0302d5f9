//! What other capabilities may use of this one: the way to offer a toolkit.
//!
//! A plugin offers one with `host.contribute::<dyn Toolkit>(name, toolkit)` in its `start`.

use std::sync::Arc;

use a2e_core::Result;
use serde_json::{Map, Value};

use crate::tools::contract::{ToolDefinition, ToolProvider};

/// Tools that work once they are configured, each session for itself.
pub trait Toolkit: Send + Sync + 'static {
    /// What it is: a copy of what is known, no I/O and no wait. The same at all times.
    fn about(&self) -> ToolkitAbout;

    /// Makes tools that work with this configuration, which fits the schema. Runs on a thread that may block.
    /// The tools are called by the names of [`ToolkitAbout::tools`].
    ///
    /// # Errors
    /// Why they cannot be had with it. The text goes to the agent: no secrets.
    fn configure(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>>;

    /// The same with a configuration of the operator, who may choose what agents may not.
    ///
    /// # Errors
    /// As [`configure`](Self::configure).
    fn configure_own(&self, config: &Map<String, Value>) -> Result<Arc<dyn ToolProvider>> {
        self.configure(config)
    }
}

/// What a toolkit is.
#[derive(Clone, Debug)]
pub struct ToolkitAbout {
    /// Its name, which stands before those of its tools: `<name>__<tool>`.
    pub name: String,
    /// Another name, for people.
    pub alias: String,
    /// What it is for.
    pub description: String,
    /// Its kind.
    pub category: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// A picture.
    pub icon_svg: Option<String>,
    /// The JSON Schema of its configuration. A property that is `writeOnly`, or holds a part that is or a `$ref`, is a
    /// secret: it is shown to nobody, and its configuration is kept in no snapshot.
    pub schema: Value,
    /// Its tools, by names of their own.
    pub tools: Vec<ToolDefinition>,
    /// Its version.
    pub version: String,
}

impl ToolkitAbout {
    /// A toolkit with these tools.
    pub fn new(name: &str, description: &str, schema: Value, tools: Vec<ToolDefinition>) -> Self {
        Self {
            name: name.to_owned(),
            alias: String::new(),
            description: description.to_owned(),
            category: String::new(),
            tags: Vec::new(),
            icon_svg: None,
            schema,
            tools,
            version: "1.0.0".to_owned(),
        }
    }
}
