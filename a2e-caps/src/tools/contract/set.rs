//! Tools that are functions, together: as a provider, as a plugin, and as they are linked into a program.

use std::sync::Arc;

use a2e_core::plugin::{BoxFuture, Handlers, Host, Plugin, Run};
use a2e_core::{Error, Result};

use super::{Tool, ToolCall, ToolDefinition, ToolOutput, ToolProvider};

/// Tools of a program, with what their functions captured.
///
/// As a plugin it offers them to the tools plugin of its host:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use a2e_caps::tools::contract::{Tool, ToolCall, ToolSet};
/// use a2e_core::{Executor, config::{HostConfig, PluginConfig}};
/// # let runtime = tokio::runtime::Runtime::new().unwrap();
/// # runtime.block_on(async {
/// # a2e_caps::link();
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Nothing {}
///
/// let calls = Arc::new(AtomicU64::new(0));
/// let count = {
///     let calls = Arc::clone(&calls);
///     move |_: Nothing, _: &ToolCall| Ok(calls.fetch_add(1, Ordering::Relaxed))
/// };
/// let tools = ToolSet::new([Tool::inline("count", "Counts its calls.", count)]);
/// let plugin = PluginConfig::new("tools", "tools", "a2e.caps.tools.plugin.ToolPlugin");
/// let host = Executor::builder(HostConfig::new().plugin(plugin)).plugin(tools).start().await?;
/// # host.shutdown(std::time::Duration::ZERO).await;
/// # Ok::<(), a2e_core::executor::StartError>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct ToolSet(Arc<[Arc<Tool>]>);

impl ToolSet {
    /// These tools.
    pub fn new(tools: impl IntoIterator<Item = Tool>) -> Self {
        Self(tools.into_iter().map(Arc::new).collect())
    }

    /// Those of [`register_tool!`](crate::register_tool), by name: link order means nothing.
    pub(in crate::tools) fn linked() -> Self {
        let linked = a2e_core::inventory::iter::<LinkedTool>.into_iter();
        let mut tools: Vec<Tool> = linked.map(|it| (it.make)()).collect();
        tools.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        Self::new(tools)
    }

    fn find(&self, name: &str) -> Result<&Arc<Tool>> {
        let tool = self.0.iter().find(|it| it.definition.name == name);
        tool.ok_or_else(|| Error::internal(format!("no tool `{name}` here")))
    }
}

impl ToolProvider for ToolSet {
    fn tools(&self) -> Vec<ToolDefinition> {
        self.0.iter().map(|it| it.definition.clone()).collect()
    }

    fn run(&self, tool: &str) -> Run {
        self.find(tool).map_or(Run::Blocking, |it| it.run)
    }

    fn call(&self, call: ToolCall) -> Result<ToolOutput> {
        self.find(call.tool())?.call(call)
    }

    fn call_async(self: Arc<Self>, call: ToolCall) -> BoxFuture<Result<ToolOutput>> {
        match self.find(call.tool()) {
            Ok(tool) => Arc::clone(tool).call_async(call),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }
}

impl Plugin for ToolSet {
    fn handlers(_on: &mut Handlers<Self>) {}

    fn start(&self, host: &Host) -> Result<()> {
        let name = host.plugin().as_str();
        host.contribute::<dyn ToolProvider>(name, Arc::new(self.clone()))?.keep();
        Ok(())
    }
}

/// A tool that is linked into the program. Made by [`register_tool!`](crate::register_tool).
#[derive(Debug)]
pub struct LinkedTool {
    make: fn() -> Tool,
}

impl LinkedTool {
    #[doc(hidden)]
    pub const fn new(make: fn() -> Tool) -> Self {
        Self { make }
    }
}

a2e_core::inventory::collect!(LinkedTool);

/// Registers a tool at link time: the tools plugin of every host of the program offers it, beside its own.
///
/// See [`Tool`](crate::tools::contract::Tool).
#[macro_export]
macro_rules! register_tool {
    ($tool:expr) => {
        $crate::tools::contract::__inventory::submit! {
            $crate::tools::contract::LinkedTool::new(|| $tool)
        }
    };
}
