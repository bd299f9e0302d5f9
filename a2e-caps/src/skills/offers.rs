//! Skills for MCP clients: as resources with a manifest (the Skills extension), and as prompts for older ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use a2e_core::plugin::BoxFuture;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use serde_json::Value;

use super::catalog::Skill;
use super::files;
use super::plugin::Shared;
use super::protocol::{SkillCallRequest, SkillDiscoverRequest};
use crate::mcp::contract::{
    Content, FilledPrompt, Page, Prompt, PromptArgument, PromptMessage, PromptProvider, Resource,
    ResourceContents, ResourceProvider, ResourceTemplate, Skill as Offered,
};

/// Skills of a page, and bytes of their files that are looked at for it.
const PAGE: usize = 20;
const PAGE_BYTES: u64 = 64 << 20;

/// The skills of a plugin.
pub(super) struct Offers(pub(super) Arc<Shared>);

impl Offers {
    /// Those that the session may call, by name; with those that only users call, where `for_users`.
    async fn own(&self, for_users: bool, call: &Call) -> Vec<Skill> {
        // Asked as the session would, so that what it may not discover is not offered.
        let Ok(known) = call.request(&SkillDiscoverRequest::default()).await else {
            return Vec::new();
        };
        let is_known = |name: &str| known.skills.iter().any(|it| it.name == name);
        let catalog = self.0.catalog();
        let own = catalog.all(|it| self.0.is_seen(it, call));
        own.filter(|it| {
            let manifest = &it.manifest;
            is_known(&manifest.name) || (for_users && manifest.user_only)
        })
        .cloned()
        .collect()
    }
}

/// A part of a list.
fn page<T: Clone, U>(all: &[T], cursor: &str, mut made: impl FnMut(&T) -> U) -> Result<Page<U>> {
    let wrong = || Error::schema("cursor", "not one that was given");
    let from = if cursor.is_empty() { 0 } else { cursor.parse().map_err(|_| wrong())? };
    let rest = all.get(from..).unwrap_or_default();
    let items = rest.iter().take(PAGE).map(&mut made).collect();
    let next_cursor = if rest.len() > PAGE { (from + PAGE).to_string() } else { String::new() };
    Ok(Page { items, next_cursor })
}

/// Work with files, on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::internal(error.to_string()))
}

impl ResourceProvider for Offers {
    fn list(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Resource>>> {
        Box::pin(async move {
            page(&self.own(false, &call).await, &cursor, |it| {
                let it = &it.manifest;
                let resource = Resource::new(files::uri(&it.name), it.name.clone());
                resource.about(it.description.clone()).of_type("text/markdown")
            })
        })
    }

    fn templates(self: Arc<Self>, _: String, _: Call) -> BoxFuture<Result<Page<ResourceTemplate>>> {
        let template = ResourceTemplate {
            uri_template: "skill://{skill}/{+path}".to_owned(),
            name: "skill-file".to_owned(),
            description: Some("A file of a skill, as its SKILL.md names it.".to_owned()),
            ..ResourceTemplate::default()
        };
        Box::pin(async { Ok(Page::whole(vec![template])) })
    }

    fn read(
        self: Arc<Self>,
        uri: String,
        call: Call,
    ) -> BoxFuture<Result<Option<Vec<ResourceContents>>>> {
        Box::pin(async move {
            let Some((name, path)) = files::named(&uri) else { return Ok(None) };
            let skills = self.own(false, &call).await;
            let Some(skill) = skills.into_iter().find(|it| it.manifest.name == name) else {
                return Ok(None);
            };
            let contents = blocking(move || skill.contents(&uri, &path)).await?;
            Ok(contents.map(|it| vec![it]))
        })
    }

    fn skills(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Offered>>> {
        Box::pin(async move {
            let skills = self.own(false, &call).await;
            blocking(move || {
                let mut left = PAGE_BYTES;
                page(&skills, &cursor, |it| it.offered(&mut left))
            })
            .await?
        })
    }
}

impl PromptProvider for Offers {
    fn list(self: Arc<Self>, cursor: String, call: Call) -> BoxFuture<Result<Page<Prompt>>> {
        Box::pin(async move {
            let mut skills = self.own(true, &call).await;
            // What a program does is no text.
            skills.retain(|it| it.manifest.command.is_empty());
            page(&skills, &cursor, |it| Prompt {
                name: it.manifest.name.clone(),
                title: None,
                description: Some(it.manifest.description.clone()),
                arguments: vec![PromptArgument {
                    name: "args".to_owned(),
                    description: it.manifest.argument_hint.clone(),
                    required: false,
                }],
            })
        })
    }

    fn get(
        self: Arc<Self>,
        name: String,
        arguments: BTreeMap<String, String>,
        call: Call,
    ) -> BoxFuture<Result<Option<FilledPrompt>>> {
        Box::pin(async move {
            let catalog = self.0.catalog();
            let skill = catalog.find(&name, |it| self.0.is_seen(it, &call));
            let skill = skill.filter(|it| it.manifest.command.is_empty());
            let Some(skill) = skill else { return Ok(None) };
            let arguments = arguments.into_iter().map(|(key, value)| (key, value.into()));
            let request = SkillCallRequest {
                name,
                arguments: arguments.collect(),
                streaming: false,
                ..SkillCallRequest::default()
            };
            let data = call.request(&request).await?.data;
            let text = data.as_ref().and_then(|it| it.data.get("prompt")).and_then(Value::as_str);
            let none = || Error::new(ErrorCode::SkillError, "the skill gave no text");
            let content = Content::text(text.ok_or_else(none)?);
            let messages = vec![PromptMessage { role: "user".to_owned(), content }];
            let description = Some(skill.manifest.description.clone());
            Ok(Some(FilledPrompt { description, messages }))
        })
    }
}
