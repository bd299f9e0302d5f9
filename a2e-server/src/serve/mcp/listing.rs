//! What providers offer, joined: lists, contents, prompts, completions, as MCP writes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use a2e_caps::mcp::contract::{Completing, Page, PromptProvider, ResourceProvider, Skill};
use a2e_core::plugin::{BoxFuture, Contribution};
use a2e_core::protocol::ErrorCode;
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::convert::{camel, shown};
use super::desk::Desk;

/// How long a provider may take for its part of a list: one that hangs does not keep the others.
const LIST_LIMIT: Duration = Duration::from_millis(1500);

/// Most values of a completion, as MCP says.
const MAX_VALUES: usize = 100;

/// The result of a method.
pub(super) async fn answer(
    desk: &Desk,
    method: &str,
    params: Map<String, Value>,
    call: Call,
) -> Result<Map<String, Value>> {
    let tenant = call.identity().tenant.clone();
    let resources = || desk.contributed::<dyn ResourceProvider>(tenant.as_deref());
    let prompts = || desk.contributed::<dyn PromptProvider>(tenant.as_deref());
    match method {
        "resources/list" => {
            let asked =
                |it: &Arc<dyn ResourceProvider>, cursor, call| Arc::clone(it).list(cursor, call);
            listed("resources", resources(), &params, &call, asked).await
        }
        "resources/templates/list" => {
            let asked = |it: &Arc<dyn ResourceProvider>, cursor, call| {
                Arc::clone(it).templates(cursor, call)
            };
            listed("resourceTemplates", resources(), &params, &call, asked).await
        }
        "skills/list" => listed("skills", resources(), &params, &call, skills_of).await,
        "skills/get" => skill(resources(), &text(&params, "uri")?, call).await,
        "prompts/list" => {
            let asked =
                |it: &Arc<dyn PromptProvider>, cursor, call| Arc::clone(it).list(cursor, call);
            listed("prompts", prompts(), &params, &call, asked).await
        }
        "resources/read" => read(resources(), &text(&params, "uri")?, call).await,
        "prompts/get" => get(prompts(), &params, call).await,
        "completion/complete" => complete(resources(), prompts(), &params, call).await,
        other => {
            let text = format!("no method `{other}` is offered here");
            Err(Error::new(ErrorCode::InvalidMessage, text))
        }
    }
}

fn skills_of(
    provider: &Arc<dyn ResourceProvider>,
    cursor: String,
    call: Call,
) -> BoxFuture<Result<Page<Skill>>> {
    Arc::clone(provider).skills(cursor, call)
}

/// Most parts of one provider's list that are gone through for one skill.
const MAX_PARTS: usize = 256;

async fn skill(
    providers: Vec<Contribution<dyn ResourceProvider>>,
    uri: &str,
    call: Call,
) -> Result<Map<String, Value>> {
    for provider in providers {
        let mut cursor = String::new();
        for _ in 0..MAX_PARTS {
            let part = skills_of(&provider.item, cursor, call.clone()).await?;
            if let Some(skill) = part.items.into_iter().find(|it| it.uri == uri) {
                return Ok(object(json!({ "skill": skill })));
            }
            cursor = part.next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
    }
    let error = Error::new(ErrorCode::SchemaViolation, "no skill has this URI");
    Err(error.with_detail("uri", uri))
}

/// The next parts of the lists of all providers. The cursor names those that have more.
async fn listed<P: ?Sized + Send + Sync + 'static, T: Serialize>(
    field: &str,
    providers: Vec<Contribution<P>>,
    params: &Map<String, Value>,
    call: &Call,
    ask: impl Fn(&Arc<P>, String, Call) -> BoxFuture<Result<Page<T>>>,
) -> Result<Map<String, Value>> {
    let cursors: Vec<(String, String)> = match params.get("cursor").and_then(Value::as_str) {
        None => providers.iter().map(|it| (it.name.clone(), String::new())).collect(),
        Some(cursor) => serde_json::from_str(cursor).map_err(|_| {
            Error::new(ErrorCode::SchemaViolation, "the cursor is none that this host gave")
        })?,
    };
    let asked = cursors.into_iter().filter_map(|(name, cursor)| {
        // A provider may have gone since.
        let provider = providers.iter().find(|it| it.name == name)?;
        let page = ask(&provider.item, cursor, call.clone());
        Some(async move { (name, tokio::time::timeout(LIST_LIMIT, page).await) })
    });
    let (mut items, mut next) = (Vec::new(), Vec::new());
    for (name, page) in join_all(asked).await {
        match page {
            Ok(Ok(page)) => {
                let page_items = page.items.iter().filter_map(|it| serde_json::to_value(it).ok());
                items.extend(page_items.map(camel).map(shown));
                if !page.next_cursor.is_empty() {
                    next.push((name, page.next_cursor));
                }
            }
            Ok(Err(error)) => tracing::warn!(provider = name, %error, "not listed"),
            Err(_) => tracing::warn!(provider = name, "not listed: it took too long"),
        }
    }
    let mut result = Map::from_iter([(field.to_owned(), Value::Array(items))]);
    if !next.is_empty() {
        result.insert("nextCursor".to_owned(), json!(next).to_string().into());
    }
    Ok(result)
}

async fn read(
    providers: Vec<Contribution<dyn ResourceProvider>>,
    uri: &str,
    call: Call,
) -> Result<Map<String, Value>> {
    for provider in providers {
        if let Some(contents) = provider.item.read(uri.to_owned(), call.clone()).await? {
            return Ok(object(json!({ "contents": camel(json!(contents)) })));
        }
    }
    let error = Error::new(ErrorCode::McpResourceNotFound, "Resource not found");
    Err(error.with_detail("uri", uri))
}

async fn get(
    providers: Vec<Contribution<dyn PromptProvider>>,
    params: &Map<String, Value>,
    call: Call,
) -> Result<Map<String, Value>> {
    let name = text(params, "name")?;
    let arguments = texts(params.get("arguments"));
    for provider in providers {
        let filled = provider.item.get(name.clone(), arguments.clone(), call.clone()).await?;
        if let Some(filled) = filled {
            return Ok(object(camel(json!(filled))));
        }
    }
    let error = Error::new(ErrorCode::McpPromptNotFound, format!("no prompt is named `{name}`"));
    Err(error.with_detail("name", name))
}

async fn complete(
    resources: Vec<Contribution<dyn ResourceProvider>>,
    prompts: Vec<Contribution<dyn PromptProvider>>,
    params: &Map<String, Value>,
    call: Call,
) -> Result<Map<String, Value>> {
    let empty = Map::new();
    let part = |name: &str| params.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let (of, argument) = (part("ref"), part("argument"));
    let is_prompt = of.get("type").is_some_and(|it| it == "ref/prompt");
    let asked = Completing {
        of: text(of, if is_prompt { "name" } else { "uri" })?,
        argument: text(argument, "name")?,
        value: text(argument, "value")?,
        others: texts(part("context").get("arguments")),
    };
    let asks = |asked: Completing| -> Vec<BoxFuture<Result<Option<Vec<String>>>>> {
        if is_prompt {
            let all = prompts.iter().map(|it| Arc::clone(&it.item));
            all.map(|it| it.complete(asked.clone(), call.clone())).collect()
        } else {
            let all = resources.iter().map(|it| Arc::clone(&it.item));
            all.map(|it| it.complete(asked.clone(), call.clone())).collect()
        }
    };
    let mut values = Vec::new();
    for ask in asks(asked) {
        if let Some(found) = ask.await? {
            values = found;
            break;
        }
    }
    let total = values.len();
    values.truncate(MAX_VALUES);
    let has_more = total > values.len();
    Ok(object(json!({ "completion": { "values": values, "total": total, "hasMore": has_more } })))
}

fn text(params: &Map<String, Value>, key: &str) -> Result<String> {
    let text = params.get(key).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| Error::new(ErrorCode::SchemaViolation, format!("`{key}` must be a text")))
}

/// An object's values as texts.
fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    let texts = entries.map(|(key, value)| match value {
        Value::String(text) => (key.clone(), text.clone()),
        other => (key.clone(), other.to_string()),
    });
    texts.collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
