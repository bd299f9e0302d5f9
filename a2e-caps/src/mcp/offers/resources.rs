//! The resources of servers, for fronts.

use std::sync::Arc;

use a2e_core::plugin::BoxFuture;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::result::list;
use super::{Servers, page};
use crate::mcp::contract::{
    Completing, Page, Resource, ResourceContents, ResourceProvider, ResourceTemplate, Subscribed,
    Updates,
};
use crate::mcp::link::Asker;
use crate::mcp::protocol::McpResource;
use crate::mcp::upstream::Upstream;

/// What is not said is absent.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<McpResource> for Resource {
    fn from(it: McpResource) -> Self {
        let McpResource { uri, name, description, mime_type, annotations, size, title, .. } = it;
        Self {
            uri,
            name,
            title,
            description: given(description),
            mime_type: given(mime_type),
            size,
            annotations: Some(annotations).filter(|it| !it.is_empty()),
        }
    }
}

/// A part of a list that is held here.
fn part<T: Clone>(all: &[T], cursor: &str) -> Result<Page<T>> {
    let wrong = || Error::schema("cursor", "not one that was given");
    let (items, next_cursor) = page(all, cursor).ok_or_else(wrong)?;
    Ok(Page { items, next_cursor })
}

impl Servers {
    /// Every resource that is listed.
    pub(in crate::mcp) fn resources(&self) -> Vec<McpResource> {
        let all = self.all();
        let known = all.iter().filter_map(|it| it.known());
        known.flat_map(|it| it.listing.resources.clone()).collect()
    }
}

impl Upstream {
    /// The content of a resource.
    pub(in crate::mcp) async fn read(
        self: &Arc<Self>,
        uri: &str,
        call: &Call,
    ) -> Result<Vec<ResourceContents>> {
        let params = Map::from_iter([("uri".to_owned(), uri.into())]);
        let asker = Asker { call: call.clone(), tool: None };
        let mut result = self.request("resources/read", params, Some(asker)).await?;
        let contents = list(&mut result, "contents")?;
        let contents = contents.into_iter().filter_map(|it| serde_json::from_value(it).ok());
        Ok(contents.collect())
    }

    /// The values that fit an argument.
    pub(in crate::mcp) async fn complete(
        self: &Arc<Self>,
        reference: Value,
        wanted: Completing,
        call: &Call,
    ) -> Result<Vec<String>> {
        let Completing { argument, value, others, .. } = wanted;
        let params = json!({
            "ref": reference,
            "argument": { "name": argument, "value": value },
            "context": { "arguments": others },
        });
        let params = params.as_object().cloned().unwrap_or_default();
        let asker = Asker { call: call.clone(), tool: None };
        let result = match self.request("completion/complete", params, Some(asker)).await {
            // A server that completes nothing does not know the method.
            Err(error) if error.detail().get("rpc_code") == Some(&json!(-32601)) => Map::new(),
            other => other?,
        };
        let values = result.get("completion").and_then(|it| it.get("values"));
        let values = values.and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// The resources of all servers of a plugin.
pub(in crate::mcp) struct Resources(pub(in crate::mcp) Arc<Servers>);

impl ResourceProvider for Resources {
    fn list(self: Arc<Self>, cursor: String, _call: Call) -> BoxFuture<Result<Page<Resource>>> {
        Box::pin(async move {
            let marked = |it: McpResource| {
                let about = self.0.marked(&it.server_id, Some(it.description.clone()));
                Resource { description: about, ..it.into() }
            };
            let all: Vec<Resource> = self.0.resources().into_iter().map(marked).collect();
            part(&all, &cursor)
        })
    }

    fn templates(
        self: Arc<Self>,
        cursor: String,
        _call: Call,
    ) -> BoxFuture<Result<Page<ResourceTemplate>>> {
        Box::pin(async move {
            let all = self.0.all();
            let known = all.iter().filter_map(|it| Some((&it.id, it.known()?)));
            let all = known.flat_map(|(id, known)| {
                let marked = |it: ResourceTemplate| {
                    let description = self.0.marked(id, it.description);
                    ResourceTemplate { description, ..it }
                };
                known.listing.templates.iter().cloned().map(marked).collect::<Vec<_>>()
            });
            let all: Vec<_> = all.collect();
            part(&all, &cursor)
        })
    }

    fn read(
        self: Arc<Self>,
        uri: String,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<ResourceContents>>>> {
        Box::pin(async move {
            let Some(upstream) = self.0.may_have(&uri) else { return Ok(None) };
            match upstream.read(&uri, &call).await {
                Err(error) if *error.code() == ErrorCode::McpResourceNotFound => Ok(None),
                other => other.map(Some),
            }
        })
    }

    fn subscribe(
        self: Arc<Self>,
        uri: String,
        updates: Updates,
    ) -> BoxFuture<Result<Option<Subscribed>>> {
        Box::pin(async move {
            let Some(upstream) = self.0.may_have(&uri) else { return Ok(None) };
            match upstream.subscribe_other(&uri, updates).await {
                Err(error) if *error.code() == ErrorCode::McpCapabilityMissing => Ok(None),
                other => other.map(|it| Some(Box::new(it) as Subscribed)),
            }
        })
    }

    fn complete(
        self: Arc<Self>,
        asked: Completing,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<String>>>> {
        Box::pin(async move {
            let has = |it: &Arc<Upstream>| {
                it.known().is_some_and(|it| {
                    it.listing.templates.iter().any(|it| it.uri_template == asked.of)
                })
            };
            let Some(upstream) = self.0.all().into_iter().find(has) else { return Ok(None) };
            let reference = json!({ "type": "ref/resource", "uri": asked.of });
            upstream.complete(reference, asked, &call).await.map(Some)
        })
    }
}
