//! Chains of the settings, each a tool of its own: its arguments are the chain's initial input.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::plan::Plan;
use super::plugin::Runner;
use super::protocol::{ChainNode, ChainRequest};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// A chain that is offered as a tool. Its nodes may call tools that lists leave out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ChainTool {
    /// What it does, for the model that chooses it.
    pub description: String,
    /// The schema of its arguments, an object; any arguments unless said.
    #[serde(default)]
    pub input_schema: Option<Map<String, Value>>,
    /// The nodes, in any order.
    pub nodes: Vec<ChainNode>,
    /// The node that runs first; the first of `nodes` unless said.
    #[serde(default)]
    pub entry_node: Option<String>,
    /// Seconds that it may take; 300 unless said, 600 at most, and never longer than its call.
    #[serde(default)]
    pub timeout: i64,
}

impl ChainTool {
    fn request(&self, input: Map<String, Value>) -> ChainRequest {
        let mut request = ChainRequest::new(self.nodes.iter().cloned());
        if let Some(entry) = &self.entry_node {
            request.entry_node.clone_from(entry);
        }
        ChainRequest { initial_input: input, timeout: self.timeout, ..request }
    }
}

/// The tools of a plugin.
pub(super) struct ChainTools {
    runner: Runner,
    tools: BTreeMap<String, ChainTool>,
}

impl ChainTools {
    /// Looks at each chain as a whole.
    ///
    /// # Errors
    /// What no run could carry out.
    pub(super) fn new(runner: Runner, tools: BTreeMap<String, ChainTool>) -> Result<Self> {
        for (name, tool) in &tools {
            let wrong = |text: &str| Error::runtime(format!("tools.{name}: {text}"));
            if name.is_empty() || tool.description.trim().is_empty() {
                return Err(wrong("needs a name and a description"));
            }
            let request = tool.request(Map::new());
            Plan::of(&request, runner.limits.nodes).map_err(|error| wrong(&error.message))?;
        }
        Ok(Self { runner, tools })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }
}

impl ToolProvider for ChainTools {
    fn tools(&self) -> Vec<ToolDefinition> {
        let any = Map::from_iter([("type".to_owned(), json!("object"))]);
        let definition = |(name, tool): (&String, &ChainTool)| {
            let schema = RawJson::of(tool.input_schema.as_ref().unwrap_or(&any)).ok();
            let definition = ToolDefinition::new(name.as_str(), tool.description.as_str());
            ToolDefinition { input_schema: schema, ..definition.tagged(&["chain"]) }
        };
        self.tools.iter().map(definition).collect()
    }

    fn run(&self, _tool: &str) -> Run {
        Run::Future
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move {
            let unknown = || Error::internal(format!("no chain is named `{}`", call.tool()));
            let tool = self.tools.get(call.tool()).ok_or_else(unknown)?;
            let request = tool.request(call.decode()?);
            let reply = self.runner.run(request, call.request().clone()).await?;
            match reply.error {
                None => ToolOutput::of(&reply.final_output),
                Some(error) => {
                    let text = match error.node_id.as_str() {
                        "" => error.message,
                        node => format!("{} (node `{node}`)", error.message),
                    };
                    let output = ToolOutput::of(&json!({ "outputs": reply.outputs }))?;
                    Ok(output.failed(error.code.as_str(), text))
                }
            }
        })
    }
}
