//! Resources and prompts over the wire.

use std::sync::Arc;

use a2e_core::Error;
use a2e_core::plugin::{Answer, Outcome};
use a2e_core::request::Call;
use serde_json::Value;

use super::MCPPlugin;
use super::several::Not;
use crate::mcp::contract::ResourceContents;
use crate::mcp::offers::{PAGE, page, start};
use crate::mcp::protocol::{
    McpContent, McpPromptMessage, PromptGetRequest, PromptGetResponse, PromptListRequest,
    PromptListResponse, ResourceListRequest, ResourceListResponse, ResourceReadRequest,
    ResourceReadResponse, ResourceSubscribeRequest, ResourceSubscribeResponse,
};

fn cursor() -> Error {
    Error::schema("cursor", "not one that was given")
}

pub(super) fn resources(
    plugin: &MCPPlugin,
    request: ResourceListRequest,
    call: &Call,
) -> Answer<ResourceListResponse> {
    plugin.known(&request.server_id)?;
    let mut all = plugin.servers.resources();
    all.retain(|it| request.server_id.is_empty() || it.server_id == request.server_id);
    let (resources, next_cursor) = page(&all, &request.cursor).ok_or_else(cursor)?;
    let reply = ResourceListResponse { resources, next_cursor };
    if !reply.next_cursor.is_empty() || plugin.servers.is_alone() {
        return Ok(reply.into());
    }
    let (servers, call) = (Arc::clone(&plugin.servers), call.clone());
    Ok(Outcome::on_future(async move {
        let (id, from) = (&request.server_id, next(&request.cursor));
        let goes_on = servers.others_go_on(id, from, |it| it.resources_count, &call).await;
        let next_cursor = if goes_on { from.to_string() } else { String::new() };
        Ok(ResourceListResponse { next_cursor, ..reply }.into())
    }))
}

pub(super) fn prompts(
    plugin: &MCPPlugin,
    request: PromptListRequest,
    call: &Call,
) -> Answer<PromptListResponse> {
    plugin.known(&request.server_id)?;
    let mut all = plugin.servers.prompts();
    all.retain(|it| request.server_id.is_empty() || it.server_id == request.server_id);
    let (prompts, next_cursor) = page(&all, &request.cursor).ok_or_else(cursor)?;
    let reply = PromptListResponse { prompts, next_cursor };
    if !reply.next_cursor.is_empty() || plugin.servers.is_alone() {
        return Ok(reply.into());
    }
    let (servers, call) = (Arc::clone(&plugin.servers), call.clone());
    Ok(Outcome::on_future(async move {
        let (id, from) = (&request.server_id, next(&request.cursor));
        let goes_on = servers.others_go_on(id, from, |it| it.prompts_count, &call).await;
        let next_cursor = if goes_on { from.to_string() } else { String::new() };
        Ok(PromptListResponse { next_cursor, ..reply }.into())
    }))
}

/// Where the next page begins, of every plugin.
fn next(cursor: &str) -> usize {
    start(cursor).unwrap_or_default() + PAGE
}

pub(super) async fn read(
    plugin: Arc<MCPPlugin>,
    request: ResourceReadRequest,
    call: Call,
) -> Answer<ResourceReadResponse> {
    let read = match plugin.of_resource(&request.server_id, &request.uri, &call).await {
        Ok(upstream) => {
            let read = upstream.read(&request.uri, &call).await;
            read.map(|contents| (upstream.id.clone(), contents))
        }
        Err(Not::Mine(error)) => return Ok(Outcome::Pass(error)),
        Err(Not::Anyones(error)) => Err(error),
    };
    Ok(match read {
        Ok((server_id, contents)) => {
            let contents = contents.into_iter().map(content).collect();
            ResourceReadResponse { contents, server_id, ..ResourceReadResponse::default() }.into()
        }
        Err(error) => refused_read(request, &error).into(),
    })
}

fn refused_read(request: ResourceReadRequest, error: &Error) -> ResourceReadResponse {
    ResourceReadResponse {
        contents: Vec::new(),
        server_id: request.server_id,
        error: error.message().to_owned(),
        code: Some(error.code().clone()),
    }
}

fn content(it: ResourceContents) -> McpContent {
    let ResourceContents { uri, mime_type, text, blob } = it;
    let kind = if blob.is_some() { "blob" } else { "text" };
    let mime_type = mime_type.unwrap_or_else(|| "text/plain".to_owned());
    McpContent { uri, mime_type, text, blob, kind: kind.to_owned() }
}

pub(super) async fn subscribe(
    plugin: Arc<MCPPlugin>,
    request: ResourceSubscribeRequest,
    call: Call,
) -> Answer<ResourceSubscribeResponse> {
    let subscribed = match plugin.of_resource(&request.server_id, &request.uri, &call).await {
        Ok(upstream) => upstream.subscribe(&request.uri, &call).await,
        Err(Not::Mine(error)) => return Ok(Outcome::Pass(error)),
        Err(Not::Anyones(error)) => Err(error),
    };
    Ok(match subscribed {
        Ok(()) => ResourceSubscribeResponse { ok: true, ..Default::default() },
        Err(error) => ResourceSubscribeResponse {
            ok: false,
            error: error.message().to_owned(),
            code: Some(error.code().clone()),
        },
    }
    .into())
}

pub(super) async fn prompt(
    plugin: Arc<MCPPlugin>,
    request: PromptGetRequest,
    call: Call,
) -> Answer<PromptGetResponse> {
    let PromptGetRequest { name, arguments, server_id } = request;
    let filled = match plugin.of_prompt(&server_id, &name, &call).await {
        Ok(upstream) => {
            let filled = upstream.fill(&name, arguments, &call).await;
            filled.map(|filled| (upstream.id.clone(), filled))
        }
        Err(Not::Mine(error)) => return Ok(Outcome::Pass(error)),
        Err(Not::Anyones(error)) => Err(error),
    };
    Ok(match filled {
        Ok((server_id, (description, messages))) => PromptGetResponse {
            description,
            messages: messages.into_iter().map(message).collect(),
            server_id,
            ..PromptGetResponse::default()
        },
        Err(error) => PromptGetResponse {
            server_id: server_id.clone(),
            error: error.message().to_owned(),
            code: Some(error.code().clone()),
            ..PromptGetResponse::default()
        },
    }
    .into())
}

fn message(it: Value) -> McpPromptMessage {
    let role = it.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    let content = it.get("content").and_then(Value::as_object).cloned().unwrap_or_default();
    McpPromptMessage { role, content }
}
