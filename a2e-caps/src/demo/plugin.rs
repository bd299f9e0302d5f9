//! Answers `tool/list` and `tool/call` with tools that have no side effects.

use std::sync::Arc;

use a2e_core::codec::RawJson;
use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Run};
use a2e_core::request::Call;
use a2e_core::{Clock, Error, Result, Time, register_plugin};
use schemars::JsonSchema;
use serde::Deserialize;

use super::request::{DemoCall, Name};
use super::tools::{self, Tool};
use crate::tools::contract::{
    ListFilter, ToolCallResponse, ToolDefinition, ToolListRequest, ToolListResponse, ToolResult,
    unknown_tool,
};

/// The settings of the demo.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct DemoConfig {
    /// Where `echo` runs.
    #[serde(default)]
    pub run: EchoRun,
}

/// Where `echo` runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EchoRun {
    /// On the reader.
    #[default]
    Inline,
    /// On the worker pool.
    Pool,
    /// On a thread that may block.
    Blocking,
    /// As a future.
    Future,
}

/// The demo.
#[derive(Debug)]
pub struct DemoToolPlugin {
    run: Run,
    clock: Arc<dyn Clock>,
    definitions: Vec<ToolDefinition>,
}

impl DemoToolPlugin {
    fn new(config: &DemoConfig, host: &Host) -> Result<Self> {
        let run = match config.run {
            EchoRun::Inline => Run::Inline,
            EchoRun::Pool => Run::Pool,
            EchoRun::Blocking => Run::Blocking,
            EchoRun::Future => Run::Future,
        };
        Ok(Self { run, clock: Arc::clone(host.clock()), definitions: tools::definitions()? })
    }

    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn list(&self, request: ToolListRequest, _call: &Call) -> Answer<ToolListResponse> {
        let filter = ListFilter::of(&request);
        let tools = self.definitions.iter().filter(|tool| filter.selects(tool)).cloned().collect();
        Ok(ToolListResponse { tools, ..ToolListResponse::default() }.into())
    }

    fn call(&self, request: DemoCall, call: &Call) -> Answer<ToolCallResponse> {
        let tool = match request.tool_name {
            Name::Known(tool) => tool,
            Name::Unknown(name) => return Ok(Outcome::Pass(self.unknown(&name, call))),
        };
        let arguments = request.arguments;
        let started = call.accepted_at();
        match tool {
            Tool::Echo => Ok(self.echo(arguments, started)),
            Tool::Sleep => {
                let clock = Arc::clone(&self.clock);
                Ok(Outcome::on_future(async move {
                    let data = tools::sleep(arguments).await?;
                    Ok(reply(tool, data, started, clock.now()).into())
                }))
            }
            Tool::Fail => Err(tools::fail(&arguments)),
            Tool::Stream => {
                if !request.streaming {
                    call.mute();
                }
                let (call, clock) = (call.clone(), Arc::clone(&self.clock));
                Ok(Outcome::on_future(async move {
                    let data = tools::stream(arguments, &call).await?;
                    Ok(reply(tool, data, started, clock.now()).into())
                }))
            }
            Tool::Hidden => Ok(reply(tool, tools::hidden(&arguments)?, started, started).into()),
        }
    }

    fn unknown(&self, name: &str, call: &Call) -> Error {
        let allowed = call.identity().allowed.as_deref();
        let names = self.definitions.iter().map(|it| it.name.as_str());
        unknown_tool(name, names.filter(|it| allowed.is_none_or(|a| a.has_name("tools", it))))
    }

    fn echo(&self, arguments: RawJson, started: Time) -> Outcome<ToolCallResponse> {
        let answer = move || reply(Tool::Echo, arguments, started, started);
        match self.run {
            Run::Inline => answer().into(),
            Run::Pool => Outcome::on_pool(move |_| Ok(answer().into())),
            Run::Blocking => Outcome::on_blocking(move |_| Ok(answer().into())),
            Run::Future => Outcome::on_future(async move { Ok(answer().into()) }),
        }
    }
}

impl Plugin for DemoToolPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::list);
        on.inline(Self::call);
    }
}

fn reply(tool: Tool, data: RawJson, started: Time, now: Time) -> ToolCallResponse {
    let duration_ms = u64::try_from(now.since(started).as_millis()).unwrap_or(u64::MAX);
    let data = ToolResult { duration_ms, ..ToolResult::success(tool.name(), data) };
    ToolCallResponse { data, created_at: now.wall.as_secs_f64() }
}

register_plugin!(
    DemoToolPlugin,
    cls = "a2e.caps.demo.plugin.DemoToolPlugin",
    capability = "tools",
    config = DemoConfig,
    build = |config: DemoConfig, host: &Host| DemoToolPlugin::new(&config, host),
    default_settings = Some("{}"),
    about = "tools that need nothing: echo, sleep, fail, stream"
);
