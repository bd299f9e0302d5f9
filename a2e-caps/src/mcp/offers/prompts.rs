//! The prompts of servers, for fronts, as `<server>__<prompt>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::plugin::BoxFuture;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};

use super::result::list;
use super::{Servers, page};
use crate::mcp::contract::{
    Completing, FilledPrompt, Page, Prompt, PromptArgument, PromptProvider,
};
use crate::mcp::link::Asker;
use crate::mcp::protocol::McpPrompt;
use crate::mcp::upstream::Upstream;

impl Servers {
    /// Every prompt that is listed.
    pub(in crate::mcp) fn prompts(&self) -> Vec<McpPrompt> {
        let all = self.all();
        let known = all.iter().filter_map(|it| it.known());
        known.flat_map(|it| it.listing.prompts.clone()).collect()
    }

    /// Every prompt with the name that no other has: `<server>__<prompt>`, as for tools.
    fn named(&self) -> Vec<(String, McpPrompt)> {
        let named = |it: McpPrompt| (format!("{}__{}", it.server_id, it.name), it);
        self.prompts().into_iter().map(named).collect()
    }

    fn of_named(&self, name: &str) -> Option<(Arc<Upstream>, McpPrompt)> {
        let (_, prompt) = self.named().into_iter().find(|(it, _)| it == name)?;
        Some((self.find(&prompt.server_id)?, prompt))
    }
}

impl Upstream {
    /// A prompt, filled in.
    pub(in crate::mcp) async fn fill(
        self: &Arc<Self>,
        name: &str,
        arguments: Map<String, Value>,
        call: &Call,
    ) -> Result<(String, Vec<Value>)> {
        let mut params = Map::from_iter([("name".to_owned(), Value::from(name))]);
        if !arguments.is_empty() {
            params.insert("arguments".to_owned(), arguments.into());
        }
        let asker = Asker { call: call.clone(), tool: None };
        let mut result = self.request("prompts/get", params, Some(asker)).await?;
        let messages = list(&mut result, "messages")?;
        let about = result.get("description").and_then(Value::as_str).unwrap_or_default();
        Ok((about.to_owned(), messages))
    }
}

/// The prompts of all servers of a plugin.
pub(in crate::mcp) struct Prompts(pub(in crate::mcp) Arc<Servers>);

impl PromptProvider for Prompts {
    fn list(self: Arc<Self>, cursor: String, _call: Call) -> BoxFuture<Result<Page<Prompt>>> {
        Box::pin(async move {
            let named = self.0.named().into_iter().map(|(name, it)| {
                let about = self.0.marked(&it.server_id, Some(it.description.clone()));
                prompt(name, it, about)
            });
            let all: Vec<Prompt> = named.collect();
            let wrong = || Error::schema("cursor", "not one that was given");
            let (items, next_cursor) = page(&all, &cursor).ok_or_else(wrong)?;
            Ok(Page { items, next_cursor })
        })
    }

    fn get(
        self: Arc<Self>,
        name: String,
        arguments: BTreeMap<String, String>,
        call: Call,
    ) -> BoxFuture<Result<Option<FilledPrompt>>> {
        Box::pin(async move {
            let Some((upstream, prompt)) = self.0.of_named(&name) else { return Ok(None) };
            let arguments = arguments.into_iter().map(|(key, value)| (key, value.into()));
            let filled = upstream.fill(&prompt.name, arguments.collect(), &call).await;
            let (about, messages) = filled.map_err(|error| match error.code() {
                // The server is asked for what it lists, so the arguments are wrong.
                ErrorCode::McpPromptNotFound => Error::schema("arguments", error.message()),
                _ => error,
            })?;
            let messages = messages.into_iter().filter_map(|it| serde_json::from_value(it).ok());
            let description = Some(about).filter(|about| !about.is_empty());
            Ok(Some(FilledPrompt { description, messages: messages.collect() }))
        })
    }

    fn complete(
        self: Arc<Self>,
        asked: Completing,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<String>>>> {
        Box::pin(async move {
            let Some((upstream, prompt)) = self.0.of_named(&asked.of) else { return Ok(None) };
            let reference = json!({ "type": "ref/prompt", "name": prompt.name });
            upstream.complete(reference, asked, &call).await.map(Some)
        })
    }
}

fn prompt(name: String, it: McpPrompt, description: Option<String>) -> Prompt {
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let arguments = it.arguments.into_iter().map(|it| PromptArgument {
        name: it.name,
        description: given(it.description),
        required: it.required,
    });
    Prompt { name, title: it.title, description, arguments: arguments.collect() }
}
