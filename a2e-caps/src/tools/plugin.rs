//! Answers `tool/list` and `tool/call`: finds the tool, checks its arguments, runs it where it
//! wants to run, bounds its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use a2e_core::plugin::{Answer, Handlers, Host, Outcome, Plugin, Run};
use a2e_core::request::Call;
use a2e_core::{Clock, Error, Result, Time, register_plugin};

use super::catalog::{Approvals, Catalog, Catalogs, Entry};
use super::config::ToolConfig;
use super::contract::{ToolCall, ToolOutput, unknown_tool};
use super::filter::ListFilter;
use super::protocol::{ToolCallRequest, ToolCallResponse, ToolListRequest, ToolListResponse};
use super::{builtin, result};

/// More tools than this are looked through on the worker pool.
const INLINE_TOOLS: usize = 64;

/// Bytes of the envelope and of the other fields of a result beside `data`, at most.
const RESULT_MARGIN: usize = 64 * 1024;

/// Serves its own tools and, when it has the highest priority, those that other plugins contribute.
#[derive(Clone)]
pub struct ToolPlugin {
    catalogs: Arc<Catalogs>,
    host: Host,
    max_result_bytes: usize,
}

impl std::fmt::Debug for ToolPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToolPlugin `{}`", self.host.plugin())
    }
}

impl ToolPlugin {
    fn new(config: ToolConfig, host: &Host) -> Result<Self> {
        let max_line = host.config().limits.max_line_bytes;
        let most = max_line.saturating_sub(RESULT_MARGIN).max(max_line / 2);
        let max_result_bytes = config.max_result_bytes.unwrap_or(max_line / 2).clamp(256, most);
        let own = builtin::providers(&config, max_result_bytes)?;
        let approvals = Approvals::new(config.pinned, config.require_pins);
        let catalogs = Arc::new(Catalogs::new(host, own, approvals));
        Ok(Self { catalogs, host: host.clone(), max_result_bytes })
    }

    #[allow(clippy::unnecessary_wraps, reason = "the shape of a handler")]
    fn list(&self, request: ToolListRequest, call: &Call) -> Answer<ToolListResponse> {
        let Some(catalog) = self.catalogs.current() else {
            let (catalogs, host) = (Arc::clone(&self.catalogs), self.host.clone());
            let call = call.clone();
            return Ok(Outcome::on_future(async move {
                Ok(listed(&*catalogs.awaited().await?, &host, &request, &call).into())
            }));
        };
        if catalog.tools.len() <= INLINE_TOOLS {
            return Ok(listed(&catalog, &self.host, &request, call).into());
        }
        let host = self.host.clone();
        Ok(Outcome::on_pool(move |call| Ok(listed(&catalog, &host, &request, call).into())))
    }

    fn call(&self, request: ToolCallRequest, call: &Call) -> Answer<ToolCallResponse> {
        let Some(catalog) = self.catalogs.current() else {
            return Ok(Outcome::on_future(self.clone().call_awaited(request, call.clone())));
        };
        let Some(entry) = catalog.find_for(&request.tool_name, &self.host, call) else {
            return self.missing(catalog, request.tool_name, call);
        };
        let job = self.job(entry, request, call);
        match job.entry.run {
            Run::Inline => job.run().map_err(result::failure).map(Into::into),
            Run::Pool => {
                Ok(Outcome::on_pool(move |_| job.run().map_err(result::failure).map(Into::into)))
            }
            Run::Blocking => Ok(Outcome::on_blocking(move |_| {
                job.run().map_err(result::failure).map(Into::into)
            })),
            Run::Future => Ok(Outcome::on_future(async move {
                job.run_async().await.map_err(result::failure).map(Into::into)
            })),
        }
    }

    /// A call that came before the catalog has followed a change: rare and short, but its reader must
    /// not wait for it.
    async fn call_awaited(self, request: ToolCallRequest, call: Call) -> Answer<ToolCallResponse> {
        let catalog = self.catalogs.awaited().await?;
        let Some(entry) = catalog.find_for(&request.tool_name, &self.host, &call) else {
            return self.missing(catalog, request.tool_name, &call);
        };
        let job = self.job(entry, request, &call);
        let ran = if job.entry.run == Run::Future {
            job.run_async().await
        } else {
            let thread = tokio::task::spawn_blocking(move || job.run()).await;
            thread.unwrap_or_else(|error| Err(Error::internal(error.to_string())))
        };
        ran.map_err(result::failure).map(Into::into)
    }

    /// The answer for a name that is not in the catalog. A tool that is withheld may be offered by a
    /// plugin that is asked later; the last one says why it is not.
    fn missing(
        &self,
        catalog: Arc<Catalog>,
        name: String,
        call: &Call,
    ) -> Answer<ToolCallResponse> {
        match catalog.withheld_for(&name, &self.host, call) {
            Some(error) if catalog.is_last => Err(error.clone()),
            Some(error) => Ok(Outcome::Pass(error.clone())),
            None if catalog.tools.len() <= INLINE_TOOLS => {
                Ok(Outcome::Pass(unknown_tool(&name, catalog.names_for(&self.host, call))))
            }
            None => {
                let host = self.host.clone();
                Ok(Outcome::on_pool(move |call| {
                    Ok(Outcome::Pass(unknown_tool(&name, catalog.names_for(&host, call))))
                }))
            }
        }
    }

    fn job(&self, entry: &Arc<Entry>, request: ToolCallRequest, call: &Call) -> Job {
        if !request.streaming {
            call.mute();
        }
        Job {
            entry: Arc::clone(entry),
            context: ToolCall::new(Arc::clone(&entry.name), request.arguments, call.clone()),
            clock: Arc::clone(self.host.clock()),
            max_result_bytes: self.max_result_bytes,
        }
    }
}

impl Plugin for ToolPlugin {
    fn handlers(on: &mut Handlers<Self>) {
        on.inline(Self::list);
        on.inline(Self::call);
    }

    fn start(&self, _: &Host) -> Result<()> {
        self.catalogs.start()
    }

    fn notes(&self) -> Vec<String> {
        self.catalogs.notes()
    }
}

fn listed(
    catalog: &Catalog,
    host: &Host,
    request: &ToolListRequest,
    call: &Call,
) -> ToolListResponse {
    let filter = ListFilter::of(request);
    let all = catalog.tools_for(host, call);
    let all = all.filter(|it| filter.selects(&it.definition) && it.is_offered(call));
    let tools = all.map(|entry| entry.definition.clone()).collect();
    ToolListResponse { tools, quarantined: catalog.quarantined }
}

/// A call that is about to run.
struct Job {
    entry: Arc<Entry>,
    context: ToolCall,
    clock: Arc<dyn Clock>,
    max_result_bytes: usize,
}

impl Job {
    fn run(self) -> Result<ToolCallResponse> {
        let Self { entry, context, clock, max_result_bytes } = self;
        let started = clock.now();
        entry.checker.check(context.arguments())?;
        let provider = &entry.provider;
        let output = catch_unwind(AssertUnwindSafe(|| provider.call(context)))
            .unwrap_or_else(|panic| Err(panicked(&entry, panic.as_ref())))?;
        finish(&entry, output, started, &*clock, max_result_bytes)
    }

    async fn run_async(self) -> Result<ToolCallResponse> {
        let Self { entry, context, clock, max_result_bytes } = self;
        let started = clock.now();
        entry.checker.check(context.arguments())?;
        let provider = Arc::clone(&entry.provider);
        let mut future = catch_unwind(AssertUnwindSafe(|| provider.call_async(context)))
            .map_err(|panic| panicked(&entry, panic.as_ref()))?;
        let output = std::future::poll_fn(|cx| {
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
                .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&entry, panic.as_ref()))))
        });
        finish(&entry, output.await?, started, &*clock, max_result_bytes)
    }
}

fn finish(
    entry: &Entry,
    output: ToolOutput,
    started: Time,
    clock: &dyn Clock,
    max_bytes: usize,
) -> Result<ToolCallResponse> {
    let mut data = result::finish(&entry.definition.name, output, max_bytes)?;
    let now = clock.now();
    data.duration_ms = u64::try_from(now.since(started).as_millis()).unwrap_or(u64::MAX);
    Ok(ToolCallResponse { data, created_at: now.wall.as_secs_f64() })
}

/// The text of a panic is for the log, not for the agent (R30).
fn panicked(entry: &Entry, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let Entry { definition, owner, .. } = entry;
    tracing::error!(tool = definition.name, %owner, panic = text, "tool panicked");
    Error::internal(format!("tool `{}` of plugin `{owner}` panicked", definition.name))
}

register_plugin!(
    ToolPlugin,
    cls = "a2e.caps.tools.plugin.ToolPlugin",
    capability = "tools",
    config = ToolConfig,
    build = ToolPlugin::new,
    default_settings = Some(r#"{"roots":["."]}"#),
    about = "tools by name: files below given folders, and those of other plugins"
);
