//! The methods of MCP, as rmcp hands them over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use a2e_caps::mcp::contract::Updates;
use a2e_client::Received;
use a2e_core::protocol::ErrorCode;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, DiscoverResult, ErrorData, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult,
    Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListSkillsResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ReadResourceResult, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::SubscriptionContext;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::calls::{Running, Step};
use super::convert;
use super::resources::{self, subscribe};
use super::session::{Context, Kind, Session};

/// The methods of one session, or of one request that stands alone.
pub(crate) struct Handler(Arc<Session>);

impl Drop for Handler {
    fn drop(&mut self) {
        // A task of a request that stands alone goes on: its session is for it.
        if self.0.kind == Kind::Session {
            self.0.ended.cancel();
        }
    }
}

/// What an offer has come to.
enum Offered<T> {
    Done(T),
    Asks(rmcp::model::InputRequiredResult),
}

impl Handler {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(session)
    }

    /// Asks the host's plugins what they offer, or goes on with a call that has waited for answers.
    async fn offered<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Map<String, Value>,
        again: (Option<String>, Option<BTreeMap<String, Value>>),
        context: &Context,
    ) -> Result<Offered<T>, ErrorData> {
        let (state, answers) = (again.0, again.1.unwrap_or_default());
        let of = self.0.seal_for(method, "", &json!(params), context);
        let mut running = if let Some(state) = state {
            let mut running = self.0.front.resume(&state, &of)?;
            running.take_answers(answers);
            running
        } else {
            let body = [("method", json!(method)), ("params", Value::Object(params))];
            let body = Map::from_iter(body.map(|(key, value)| (key.to_owned(), value)));
            let session = Arc::clone(&self.0);
            Running::start(session, context, "mcp/offer/req", body, answers).await?
        };
        match running.step(context).await {
            Step::Done(Ok(reply)) => offer(&reply).map(Offered::Done),
            Step::Done(Err(error)) => match empty(method) {
                Some(result) if error.code() == Some(&ErrorCode::Forbidden) => {
                    completed(result).map(Offered::Done)
                }
                _ => Err(convert::error(&error, context)),
            },
            Step::Asks(asks) => Ok(Offered::Asks(self.0.front.suspend(running, asks, &of)?)),
            Step::Cancelled => Err(ErrorData::internal_error("cancelled", None)),
            Step::Long => Err(ErrorData::internal_error("only calls of tools are tasks", None)),
        }
    }

    /// As [`offered`](Self::offered), for methods that may not ask.
    async fn plain<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Map<String, Value>,
        context: &Context,
    ) -> Result<T, ErrorData> {
        match self.offered(method, params, (None, None), context).await? {
            Offered::Done(result) => Ok(result),
            Offered::Asks(_) => {
                let text = "a plugin asked the client where the protocol has no room for it";
                Err(ErrorData::internal_error(text, None))
            }
        }
    }

    fn capabilities(&self, is_legacy: bool) -> ServerCapabilities {
        let base = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_completions()
            .enable_tasks()
            .enable_skills();
        // Deprecated in 2026: told to clients that may still look for it.
        if is_legacy { base.enable_logging().build() } else { base.build() }
    }

    fn config(&self, is_legacy: bool) -> ServerConfig {
        let name = Implementation::new("a2e", env!("CARGO_PKG_VERSION"));
        let config = ServerConfig::new(self.capabilities(is_legacy)).with_server_info(name);
        match &self.0.front.settings.instructions {
            Some(text) => config.with_instructions(text.clone()),
            None => config,
        }
    }
}

fn offer<T: DeserializeOwned>(reply: &Received) -> Result<T, ErrorData> {
    let reply: super::desk::OfferResponse =
        reply.decode().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    completed(reply.result)
}

fn completed<T: DeserializeOwned>(mut result: Map<String, Value>) -> Result<T, ErrorData> {
    // The newest revision wants it; rmcp leaves it out for older clients.
    result.insert("resultType".to_owned(), "complete".into());
    serde_json::from_value(Value::Object(result))
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// The list of a client that may use nothing of it; `None` for what is no list.
fn empty(method: &str) -> Option<Map<String, Value>> {
    let key = match method {
        "resources/list" => "resources",
        "resources/templates/list" => "resourceTemplates",
        "prompts/list" => "prompts",
        _ => return None,
    };
    Some(named(key, json!([])))
}

fn paged(request: Option<PaginatedRequestParams>) -> Map<String, Value> {
    let cursor = request.and_then(|it| it.cursor);
    cursor.into_iter().map(|cursor| ("cursor".to_owned(), cursor.into())).collect()
}

fn named(key: &str, value: impl Into<Value>) -> Map<String, Value> {
    Map::from_iter([(key.to_owned(), value.into())])
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        self.config(true)
    }

    async fn discover(&self, _: Context) -> Result<DiscoverResult, ErrorData> {
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.config(false)))
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        self.0.list_tools(request.and_then(|it| it.cursor), &context).await
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.0.front.headers.tool(name, &self.0.front.desk)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        self.0.call_tool(request, &context).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.plain("resources/list", paged(request), &context).await
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let is_first = request.as_ref().is_none_or(|it| it.cursor.is_none());
        let mut listed: ListResourceTemplatesResult =
            self.plain("resources/templates/list", paged(request), &context).await?;
        if is_first {
            let client = &self.0.link(&context).await?.client;
            listed.resource_templates.extend(resources::file_template(client).await);
        }
        Ok(listed)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if let Some(own) = self.0.own_resource(&request.uri) {
            return Ok(own.into());
        }
        let (uri, again) = (request.uri, (request.request_state, request.input_responses));
        let params = named("uri", uri.clone());
        match self.offered::<ReadResourceResult>("resources/read", params, again, &context).await {
            Ok(Offered::Done(result)) => Ok(result.into()),
            Ok(Offered::Asks(asks)) => Ok(asks.into()),
            Err(error) => {
                let client = &self.0.link(&context).await?.client;
                match resources::read_file(client, &uri, &context).await {
                    Some(read) => read.map(Into::into),
                    None => Err(error),
                }
            }
        }
    }

    async fn list_skills(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListSkillsResult, ErrorData> {
        let mut listed: ListSkillsResult =
            self.plain("skills/list", paged(request), &context).await?;
        // A name that the extension does not take would cost the whole list.
        let mut seen = HashSet::new();
        listed.skills.retain(|skill| match skill.validate() {
            Ok(()) => seen.insert(skill.uri.clone()),
            Err(error) => {
                tracing::warn!(uri = skill.uri, %error, "a skill is not listed for MCP clients");
                false
            }
        });
        Ok(listed)
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        context: Context,
    ) -> Result<GetSkillResult, ErrorData> {
        self.plain("skills/get", named("uri", request.uri), &context).await
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.plain("prompts/list", paged(request), &context).await
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let mut params = named("name", request.name);
        params.extend(request.arguments.map(|it| ("arguments".to_owned(), Value::Object(it))));
        let again = (request.request_state, request.input_responses);
        match self.offered::<GetPromptResult>("prompts/get", params, again, &context).await? {
            Offered::Done(result) => Ok(result.into()),
            Offered::Asks(asks) => Ok(asks.into()),
        }
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let params = serde_json::to_value(request)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let mut params = params.as_object().cloned().unwrap_or_default();
        params.remove("_meta");
        self.plain("completion/complete", params, &context).await
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        self.0.front.task(&request.task_id, &self.0.identity(&context).principal)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let principal = self.0.identity(&context).principal;
        self.0.front.update_task(&request.task_id, &principal, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        self.0.front.cancel_task(&request.task_id, &self.0.identity(&context).principal)
    }

    async fn set_level(&self, request: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        self.0.set_level(request.level);
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        // The list of a session that only subscribes is watched as well.
        self.0.link(&context).await?;
        let (peer, uri) = (context.peer.clone(), request.uri.clone());
        let updates: Updates = Arc::new(move || {
            let (peer, uri) = (peer.clone(), uri.clone());
            tokio::spawn(async move {
                let told = rmcp::model::ResourceUpdatedNotificationParam::new(uri);
                let _gone = peer.notify_resource_updated(told).await;
            });
        });
        let tenant = self.0.identity(&context).tenant;
        let desk = &self.0.front.desk;
        let kept = subscribe(desk, tenant.as_deref(), &request.uri, updates).await;
        self.0.subscriptions.add(request.uri, kept)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.0.subscriptions.remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let client = &self.0.link(context.request_context()).await?.client;
        let mut tools = client.pushes("tool/changed/push");
        let mut others = self.0.front.desk.changes();
        others.mark_unchanged();
        let sink = context.sink();
        let tenant = self.0.identity(context.request_context()).tenant;
        // As many as the client named, which its request bounds.
        let (sender, mut changed_uris) = tokio::sync::mpsc::channel::<String>(64);
        let mut kept = Vec::new();
        for uri in context.accepted().resource_subscriptions.iter().flatten() {
            let (sender, told) = (sender.clone(), uri.clone());
            // A full queue has an update of some resource on its way already.
            let updates: Updates = Arc::new(move || drop(sender.try_send(told.clone())));
            let desk = &self.0.front.desk;
            kept.push(subscribe(desk, tenant.as_deref(), uri, updates).await);
        }
        loop {
            // What the client did not ask for is refused by the sink.
            let told = tokio::select! {
                () = context.cancelled() => return Ok(()),
                Some(_) = tools.next() => vec![sink.notify_tool_list_changed().await],
                Ok(()) = others.changed() => vec![
                    sink.notify_resource_list_changed().await,
                    sink.notify_prompt_list_changed().await,
                ],
                Some(uri) = changed_uris.recv() => vec![sink.notify_resource_updated(uri).await],
            };
            for error in told.into_iter().filter_map(Result::err) {
                tracing::trace!(%error, "a change was not told");
            }
        }
    }
}
