//! `tools/list` and `tools/call`: the tools of the host, types that are offered as tools, and three of the front's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_caps::tools::contract::{
    ToolCallResponse, ToolDefinition, ToolListRequest, ToolListResponse,
};
use a2e_client::{CallOptions, ClientError, Received};
use a2e_core::protocol::ErrorCode;
use a2e_core::protocol::pattern::fits;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, JsonObject,
    ListToolsResult, Tool, ToolAnnotations,
};
use serde_json::{Map, Value, json};

use super::View;
use super::calls::{Running, Step, knows_tasks};
use super::convert;
use super::names::{Exposed, SESSION, alias};
use super::session::{Context, Session, is_modern};

/// The tools of the front's own.
const OWN: [&str; 3] = ["tool_search", "tool_call", "session_open"];

/// The key of `_meta` that names a session, for clients of ours: any tool may be called in one.
const META_SESSION: &str = "dev.a2e/session";

/// Most tools that a search gives.
const FOUND: usize = 20;

impl Session {
    /// A part of the list, in the order of the host.
    ///
    /// # Errors
    /// When the host gives no list, or the cursor is none of ours.
    pub(super) async fn list_tools(
        &self,
        cursor: Option<String>,
        context: &Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let all = self.tools(context).await?;
        let start = match cursor {
            None => 0,
            Some(cursor) => cursor.parse::<usize>().map_err(|_| {
                ErrorData::invalid_params("the cursor is none that this server gave", None)
            })?,
        };
        let page = self.front.settings.page;
        let next = start.saturating_add(page);
        let next_cursor = (next < all.len()).then(|| next.to_string());
        let tools = all.into_iter().skip(start).take(page).collect();
        let mut result = ListToolsResult::with_all_items(tools);
        result.next_cursor = next_cursor;
        Ok(result)
    }

    async fn tools(&self, context: &Context) -> Result<Vec<Tool>, ErrorData> {
        let definitions = self.definitions(true, context).await?;
        let has_deferred = definitions.iter().any(|tool| tool.defer_loading);
        let mut tools = Vec::with_capacity(definitions.len() + 8);
        if self.view != View::Search {
            let shown = definitions.iter().filter(|it| !it.defer_loading || self.names(&it.name));
            tools.extend(shown.map(|it| convert::tool(self.name_of(&it.name), it)));
            let link = self.link(context).await?;
            let may_control = link.may_control_envs;
            let exposed = self.front.exposed.values();
            let exposed = exposed.filter(|it| may_control || !it.controls_env());
            let (executor, identity) = (&self.front.executor, &link.identity);
            let exposed = exposed.filter(|it| executor.serves(identity, it.wire_type));
            tools.extend(exposed.map(|it| it.tool(is_modern(context)).clone()));
        }
        if self.view == View::Search || (self.view == View::Full && has_deferred) {
            tools.extend([search_tool(), call_tool()]);
        }
        if is_modern(context) && self.view != View::Search {
            tools.push(session_tool());
        }
        if let View::Named(patterns) = &self.view {
            tools.retain(|tool| patterns.iter().any(|pattern| fits(pattern, &tool.name)));
        }
        Ok(tools)
    }

    /// Whether the view names a tool of the host.
    fn names(&self, name: &str) -> bool {
        match &self.view {
            View::Named(patterns) => patterns.iter().any(|pattern| fits(pattern, name)),
            _ => false,
        }
    }

    /// The name for clients: names that the front uses itself are no tool's.
    fn name_of(&self, name: &str) -> String {
        if OWN.contains(&name) || self.front.exposed.contains_key(name) {
            return alias(&format!("{name}."));
        }
        alias(name)
    }

    async fn definitions(
        &self,
        include_deferred: bool,
        context: &Context,
    ) -> Result<Vec<ToolDefinition>, ErrorData> {
        let asked = ToolListRequest { include_deferred, ..ToolListRequest::default() };
        self.listed(&asked, context).await
    }

    /// A host without tools has an empty list, and one whose tools the client may not use.
    async fn listed(
        &self,
        asked: &ToolListRequest,
        context: &Context,
    ) -> Result<Vec<ToolDefinition>, ErrorData> {
        let link = self.link(context).await?;
        match link.client.rpc_with(asked, CallOptions::default()).await {
            Ok(ToolListResponse { tools, .. }) => Ok(tools),
            Err(error)
                if matches!(error.code(), Some(ErrorCode::UnknownType | ErrorCode::Forbidden)) =>
            {
                Ok(Vec::new())
            }
            Err(error) => Err(convert::error(&error, context)),
        }
    }

    /// Calls a tool, or goes on with a call that has waited for answers.
    ///
    /// # Errors
    /// Those of the protocol; what a tool fails with is a result.
    pub(super) async fn call_tool(
        self: &Arc<Self>,
        params: CallToolRequestParams,
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut arguments = params.arguments.unwrap_or_default();
        let mut name = params.name.into_owned();
        if name == "tool_call" {
            (name, arguments) = inner_call(arguments)?;
        }
        let of = self.seal_for("tools/call", &name, &json!(arguments), context);
        if let Some(state) = params.request_state {
            let mut running = self.front.resume(&state, &of)?;
            running.take_answers(params.input_responses.unwrap_or_default());
            return self.go_on(running, &name, &of, context).await;
        }
        match name.as_str() {
            "tool_search" => return self.search(&arguments, context).await.map(Into::into),
            "session_open" if is_modern(context) => {
                let session = self.front.named.open(self, context)?;
                let idle = self.front.settings.session_ttl.as_secs_f64();
                let told = json!({ "session": session, "idle_s": idle });
                return Ok(CallToolResult::structured(told).into());
            }
            _ => {}
        }
        let exposed = self.front.exposed.get(&name).cloned();
        let session = self.session_of(&mut arguments, exposed.is_some(), context)?;
        let answers = params.input_responses.unwrap_or_default();
        let running = if let Some(exposed) = exposed {
            session.start_exposed(&exposed, arguments, answers, context).await?
        } else {
            let tool = session.real_name(&name, context).await?;
            session.start_tool(tool, arguments, answers, context).await?
        };
        match running {
            Ok(running) => self.go_on(running, &name, &of, context).await,
            Err(failed) => Ok(failed.into()),
        }
    }

    /// What a token of this request is bound to.
    pub(super) fn seal_for(
        &self,
        method: &str,
        name: &str,
        arguments: &Value,
        context: &Context,
    ) -> Vec<u8> {
        let principal = self.identity(context).principal;
        json!([principal, method, name, arguments]).to_string().into_bytes()
    }

    async fn go_on(
        &self,
        mut running: Running,
        name: &str,
        of: &[u8],
        context: &Context,
    ) -> Result<CallToolResponse, ErrorData> {
        running.wait_at_most(knows_tasks(context).then_some(self.front.settings.task_after_s));
        loop {
            match running.step(context).await {
                Step::Done(reply) => {
                    return running.session.ended(name, reply, context).await.map(Into::into);
                }
                Step::Asks(asks) => return Ok(self.front.suspend(running, asks, of)?.into()),
                Step::Cancelled => return Err(ErrorData::internal_error("cancelled", None)),
                Step::Long => {
                    let principal = self.identity(context).principal;
                    match self.front.make_task(running, name, principal, context) {
                        Ok(task) => return Ok(task.into()),
                        Err(same) => running = *same,
                    }
                }
            }
        }
    }

    /// The result of a call that has ended.
    ///
    /// # Errors
    /// Those of the protocol.
    pub(super) async fn ended(
        &self,
        name: &str,
        reply: Result<Received, ClientError>,
        context: &Context,
    ) -> Result<CallToolResult, ErrorData> {
        match reply {
            Ok(reply) => Ok(self.shortened(tool_result(&reply)?)),
            Err(error) => {
                if error.code() == Some(&ErrorCode::MemoryNotFound) {
                    self.forget_handles().await;
                }
                tracing::debug!(tool = name, %error, "a call of an MCP client failed");
                convert::failed(&error, context)
            }
        }
    }

    /// The session that a call names, or else this one.
    fn session_of(
        self: &Arc<Self>,
        arguments: &mut JsonObject,
        takes_argument: bool,
        context: &Context,
    ) -> Result<Arc<Self>, ErrorData> {
        let by_meta = context.meta.get(META_SESSION).and_then(Value::as_str).map(str::to_owned);
        let by_argument =
            if takes_argument && is_modern(context) { arguments.remove(SESSION) } else { None };
        let by_argument = by_argument.and_then(|it| it.as_str().map(str::to_owned));
        match by_argument.or(by_meta) {
            Some(name) => self.front.named.find(&name, &self.identity(context).principal),
            None => Ok(Arc::clone(self)),
        }
    }

    async fn start_tool(
        self: &Arc<Self>,
        tool: String,
        arguments: JsonObject,
        answers: BTreeMap<String, Value>,
        context: &Context,
    ) -> Result<Result<Running, CallToolResult>, ErrorData> {
        let limit = self.front.settings.limit(knows_tasks(context)).as_secs().max(1);
        let body = json!({
            "tool_name": tool, "arguments": arguments, "streaming": true, "timeout": limit,
        });
        let Value::Object(body) = body else { return Err(no_object()) };
        let session = Arc::clone(self);
        Running::start(session, context, "tool/call/req", body, answers).await.map(Ok)
    }

    async fn start_exposed(
        self: &Arc<Self>,
        exposed: &Exposed,
        mut arguments: JsonObject,
        answers: BTreeMap<String, Value>,
        context: &Context,
    ) -> Result<Result<Running, CallToolResult>, ErrorData> {
        let link = self.link(context).await?;
        if exposed.controls_env() && !link.may_control_envs {
            let text = "tool_denied: controlling environments needs the right `env-control`";
            return Ok(Err(CallToolResult::error(vec![ContentBlock::text(text)])));
        }
        if let Some(handle) = &exposed.handle
            && !arguments.contains_key(&handle.field)
        {
            match self.handle(&link.client, handle.init, &handle.field).await {
                Ok(value) => drop(arguments.insert(handle.field.clone(), value.into())),
                Err(error) => return convert::failed(&error, context).map(Err),
            }
        }
        let session = Arc::clone(self);
        Running::start(session, context, exposed.wire_type, arguments, answers).await.map(Ok)
    }

    /// The host's name of a tool: another than the client's only where that is an alias.
    async fn real_name(&self, name: &str, context: &Context) -> Result<String, ErrorData> {
        let hash = name.rsplit_once('_').map_or("", |(_, hash)| hash);
        if hash.len() != 6 || !hash.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Ok(name.to_owned());
        }
        let all = self.definitions(true, context).await?;
        let found = all.into_iter().find(|tool| self.name_of(&tool.name) == name);
        Ok(found.map_or_else(|| name.to_owned(), |tool| tool.name))
    }

    /// The tools that fit all words, those that lists leave out among them.
    async fn search(
        &self,
        arguments: &JsonObject,
        context: &Context,
    ) -> Result<CallToolResult, ErrorData> {
        let query = arguments.get("query").and_then(Value::as_str).unwrap_or_default();
        let words: Vec<String> = query.split_whitespace().map(str::to_lowercase).collect();
        let all = self.definitions(true, context).await?;
        let score = |tool: &ToolDefinition| {
            let text = format!("{} {} {}", tool.name, tool.description, tool.tags.join(" "));
            let (text, name) = (text.to_lowercase(), tool.name.to_lowercase());
            let hits = words.iter().filter(|word| text.contains(*word)).count();
            let in_name = words.iter().filter(|word| name.contains(*word)).count();
            (hits, in_name)
        };
        let mut found: Vec<_> = all.iter().map(|tool| (score(tool), tool)).collect();
        found.retain(|((hits, _), _)| *hits > 0 || words.is_empty());
        found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        let tools = found.iter().take(FOUND).map(|(_, tool)| {
            let shown = convert::tool(self.name_of(&tool.name), tool);
            json!({ "name": shown.name, "description": shown.description, "inputSchema": shown.input_schema })
        });
        let tools: Vec<Value> = tools.collect();
        let more = found.len().saturating_sub(FOUND);
        Ok(CallToolResult::structured(json!({ "tools": tools, "more": more })))
    }
}

fn tool_result(reply: &Received) -> Result<CallToolResult, ErrorData> {
    if reply.wire_type() != "tool/call/resp" {
        return convert::fields(reply);
    }
    let reply: ToolCallResponse =
        reply.decode().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    Ok(convert::result(reply.data))
}

/// The tool that `tool_call` is to call.
fn inner_call(mut arguments: JsonObject) -> Result<(String, JsonObject), ErrorData> {
    let name = arguments.get("name").and_then(Value::as_str).map(str::to_owned);
    let name = name.ok_or_else(|| {
        ErrorData::invalid_params(
            "`name` must be the name of a tool, as tool_search gives it",
            None,
        )
    })?;
    match arguments.remove("arguments") {
        None | Some(Value::Null) => Ok((name, Map::new())),
        Some(Value::Object(inner)) => Ok((name, inner)),
        Some(_) => Err(ErrorData::invalid_params("`arguments` must be an object", None)),
    }
}

fn no_object() -> ErrorData {
    ErrorData::internal_error("a request that is no object", None)
}

fn own_tool(name: &'static str, about: &'static str, schema: Value) -> Tool {
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    Tool::new(name, about, schema)
}

fn search_tool() -> Tool {
    let about = "Finds tools of this server by words of their names, descriptions and tags, with the schema \
        of their arguments. Call what it finds with tool_call.";
    let query = json!({ "type": "string", "description": "Words; without any, all tools." });
    let schema = json!({ "type": "object", "properties": { "query": query } });
    own_tool("tool_search", about, schema)
        .with_annotations(ToolAnnotations::new().read_only(true).idempotent(true).open_world(false))
}

fn call_tool() -> Tool {
    let about = "Calls a tool that tool_search has found.";
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "description": "The tool, as tool_search gives it." },
            "arguments": { "type": "object", "description": "What its inputSchema asks for." },
        },
        "required": ["name"],
    });
    own_tool("tool_call", about, schema)
}

fn session_tool() -> Tool {
    let about = "Opens a session that later calls can name, so that they share its memory and processes. It \
        ends when nothing has named it for a while.";
    own_tool("session_open", about, json!({ "type": "object", "properties": {} }))
}
