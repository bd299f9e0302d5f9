//! The tools of servers as tools of the host, `<server>__<tool>`.

use std::sync::Arc;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{BoxFuture, Run};
use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde_json::{Map, Value};

use super::Servers;
use super::result::output;
use crate::mcp::config::ServerConfig;
use crate::mcp::link::Asker;
use crate::mcp::upstream::{RemoteTool, Upstream};
use crate::tools::contract::{ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// Between the id of a server and the name of its tool.
const BETWEEN: &str = "__";

/// The name under which a tool is offered; `None` when its server's settings leave it out.
pub(in crate::mcp) fn offered_name(config: &ServerConfig, id: &str, tool: &str) -> Option<String> {
    config.wants_tool(tool).then(|| {
        let name = config.rename.get(tool).map_or(tool, String::as_str);
        let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
        let name: String = name.chars().map(|c| if is_fit(c) { c } else { '_' }).collect();
        format!("{id}{BETWEEN}{name}")
    })
}

/// The tools of a server that are offered now, with their definitions.
pub(in crate::mcp) fn offered(upstream: &Upstream) -> Vec<(RemoteTool, ToolDefinition)> {
    let Some(known) = upstream.known() else { return Vec::new() };
    let all = known.judged.offered.iter();
    let all = all.filter_map(|tool| {
        let name = offered_name(&upstream.config, &upstream.id, &tool.name)?;
        Some((tool.clone(), definition(upstream, tool, name)))
    });
    all.collect()
}

fn definition(upstream: &Upstream, tool: &RemoteTool, name: String) -> ToolDefinition {
    let about = tool.description.as_deref().or(tool.title.as_deref()).unwrap_or(&tool.name);
    let text = format!("[MCP:{}] {about}", upstream.name());
    let hint = |key: &str| {
        tool.annotations.as_ref().and_then(|it| it.get(key)).and_then(Value::as_bool) == Some(true)
    };
    let mut tags = vec!["mcp", upstream.id.as_str()];
    if upstream.name() != upstream.id {
        tags.push(upstream.name());
    }
    let hints = [
        ("readOnlyHint", "read-only"),
        ("destructiveHint", "destructive"),
        ("openWorldHint", "open-world"),
    ];
    tags.extend(hints.into_iter().filter(|(key, _)| hint(key)).map(|(_, tag)| tag));
    let fixed = upstream.config.fixed.get(&tool.name);
    let schema = without(tool.input_schema.clone(), fixed);
    ToolDefinition {
        input_schema: RawJson::of(&schema).ok(),
        output_schema: tool.output_schema.as_ref().and_then(|it| RawJson::of(it).ok()),
        idempotent: hint("idempotentHint") || hint("readOnlyHint"),
        title: tool.title.clone(),
        annotations: tool.annotations.clone(),
        ..ToolDefinition::new(name, text).tagged(&tags)
    }
}

/// A schema without the arguments that are always sent.
fn without(
    mut schema: Map<String, Value>,
    fixed: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    for name in fixed.into_iter().flat_map(Map::keys) {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.remove(name);
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.retain(|it| it != name.as_str());
        }
    }
    schema
}

impl Servers {
    /// The server of a tool, the name that it knows the tool by, and whether the result has a schema.
    fn of_tool(&self, name: &str) -> Option<(Arc<Upstream>, String, bool)> {
        let (id, _) = name.split_once(BETWEEN)?;
        let upstream = self.find(id)?;
        let known = upstream.known()?;
        let is_it = |tool: &&RemoteTool| {
            offered_name(&upstream.config, id, &tool.name).is_some_and(|it| it == name)
        };
        let tool = known.judged.offered.iter().find(is_it)?;
        let (own, has_schema) = (tool.name.clone(), tool.output_schema.is_some());
        Some((upstream, own, has_schema))
    }
}

impl ToolProvider for Servers {
    fn tools(&self) -> Vec<ToolDefinition> {
        self.all().iter().flat_map(|it| offered(it)).map(|(_, definition)| definition).collect()
    }

    fn withheld(&self) -> Vec<(String, Error)> {
        let mut withheld = Vec::new();
        for upstream in self.all() {
            let Some(known) = upstream.known() else { continue };
            for waiting in &known.judged.waiting {
                let name = offered_name(&upstream.config, &upstream.id, &waiting.tool);
                let Some(name) = name else { continue };
                let why = match &waiting.approved {
                    Some(_) => "its definition has changed since it was approved",
                    None => "it is not approved",
                };
                let text = format!(
                    "tool `{name}` of MCP server `{0}` is in quarantine: {why}. Its operator can look \
                     at it and approve it with `a2e mcp approve {0}`",
                    upstream.id
                );
                let error = Error::new(ErrorCode::ToolDenied, text)
                    .with_detail("tool_name", name.as_str())
                    .with_detail("reason", "quarantined")
                    .with_detail("found", waiting.found.as_str());
                withheld.push((name, error));
            }
        }
        withheld
    }

    fn approves(&self) -> bool {
        true
    }

    fn run(&self, _tool: &str) -> Run {
        Run::Future
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        Box::pin(async move {
            let unknown = || {
                let text = format!("no server offers `{}` any more", call.tool());
                Error::new(ErrorCode::McpToolNotFound, text)
            };
            let (upstream, tool, has_schema) = self.of_tool(call.tool()).ok_or_else(unknown)?;
            let mut arguments: Map<String, Value> = call.decode()?;
            if let Some(fixed) = upstream.config.fixed.get(&tool) {
                arguments.extend(fixed.clone());
            }
            let params = [
                ("name".to_owned(), Value::from(tool)),
                ("arguments".to_owned(), arguments.into()),
            ];
            let asker = Asker { call: call.request().clone(), tool: Some(call.clone()) };
            let params = Map::from_iter(params);
            let result = upstream.request("tools/call", params, Some(asker)).await?;
            output(result, has_schema)
        })
    }
}
