//! From what the host answers to what a client of MCP gets.

use a2e_caps::tools::contract::{Content, ToolDefinition, ToolResult};
use a2e_client::{ClientError, Received};
use a2e_core::protocol::{ErrorBody, ErrorCode};
use rmcp::model::{
    CallToolResult, ContentBlock, ErrorData, JsonObject, ProtocolVersion, Tool, ToolAnnotations,
};
use serde_json::{Map, Value, json};

use super::calls::REQUIRED;
use super::session::{Context, is_modern};

/// Longest description in a list; a model reads all of them.
const MAX_DESCRIPTION: usize = 1024;

/// Fields of the envelope, which are no part of a result.
const ENVELOPE: [&str; 5] = ["type", "id", "req_id", "version", "ts"];

/// Keys as MCP writes them; what a provider annotated stays as it is.
pub(super) fn camel(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.into_iter().map(|(key, value)| match key.as_str() {
                "annotations" | "frontmatter" => (key, value),
                "mime_type" => ("mimeType".to_owned(), value),
                "uri_template" => ("uriTemplate".to_owned(), value),
                _ => (key, camel(value)),
            });
            Value::Object(entries.collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(camel).collect()),
        other => other,
    }
}

/// The entry of a list without invisible characters in what a person or a model reads of it (R39).
pub(super) fn shown(mut entry: Value) -> Value {
    let is_kept = |it: &char| matches!(it, '\n' | '\t') || !is_hidden(*it);
    for key in ["title", "description"] {
        if let Some(Value::String(text)) = entry.get_mut(key) {
            *text = cut(&text.chars().filter(is_kept).collect::<String>(), MAX_DESCRIPTION);
        }
    }
    entry
}

/// Control characters, and those that no screen shows or that turn the direction of the text.
fn is_hidden(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(it, '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A tool under a name that clients take.
pub(super) fn tool(name: String, definition: &ToolDefinition) -> Tool {
    let schema = definition.input_schema.as_ref().and_then(|it| it.decode().ok());
    let mut schema: JsonObject = schema.unwrap_or_default();
    schema.entry("type").or_insert_with(|| "object".into());
    let about = cut(&definition.description, MAX_DESCRIPTION);
    let mut tool = Tool::new(name, about, schema);
    tool.title.clone_from(&definition.title);
    let output = definition.output_schema.as_ref().and_then(|it| it.decode::<JsonObject>().ok());
    let is_object = |it: &JsonObject| it.get("type").is_some_and(|kind| kind == "object");
    tool.output_schema = output.filter(is_object).map(Into::into);
    tool.annotations = annotations(definition);
    tool
}

/// What the provider says, else what the tags let us say.
fn annotations(definition: &ToolDefinition) -> Option<ToolAnnotations> {
    let given = definition.annotations.clone().map(Value::Object);
    if let Some(given) = given.and_then(|it| serde_json::from_value(it).ok()) {
        return Some(given);
    }
    let has = |words: &[&str]| definition.tags.iter().any(|tag| words.contains(&tag.as_str()));
    let mut hints = ToolAnnotations::new();
    if has(&["write", "delete", "exec", "run"]) {
        hints = hints.read_only(false).destructive(true);
    } else if has(&["read", "search", "list"]) {
        hints = hints.read_only(true);
    }
    if definition.idempotent {
        hints = hints.idempotent(true);
    }
    if has(&["http", "network", "web"]) {
        hints = hints.open_world(true);
    } else if has(&["files", "memory"]) {
        hints = hints.open_world(false);
    }
    (hints != ToolAnnotations::new()).then_some(hints)
}

/// The longest start of a text.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(3));
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// What a tool gave back.
pub(super) fn result(result: ToolResult) -> CallToolResult {
    let data = result.data.as_ref();
    let mut structured: Option<Map<String, Value>> = data.and_then(|it| it.decode().ok());
    let mut content = Vec::with_capacity(1 + result.content.len());
    if let Some(summary) = result.summary.as_ref().and_then(Value::as_str) {
        content.push(ContentBlock::text(summary));
    }
    let has_parts = !result.content.is_empty();
    let texts: Vec<&str> = result.content.iter().filter_map(text_of).collect();
    // Parts say it all where the data is their texts, with what a server of MCP gave; what fits a schema of a tool
    // is another thing, though its fields may have the same names.
    let is_told = has_parts
        && structured.as_ref().is_some_and(|it| {
            it.get("text").is_some_and(|text| *text == texts.join("\n"))
                && it.get("content").is_none_or(Value::is_array)
                && it.keys().all(|key| matches!(key.as_str(), "text" | "content" | "images"))
        });
    for part in result.content {
        content.extend(block(part, structured.as_mut()));
    }
    if !has_parts && let Some(data) = data {
        content.push(ContentBlock::text(readable(structured.as_ref(), data.get())));
    }
    if !result.success {
        let code = result.error_code.as_deref().unwrap_or("tool_error");
        let why = result.error.as_deref().unwrap_or_default();
        content.insert(0, ContentBlock::text(format!("{code}: {why}")));
        let mut failed = CallToolResult::error(content);
        failed.structured_content = structured.map(Value::Object);
        return failed;
    }
    let mut done = CallToolResult::success(content);
    done.structured_content = structured.filter(|_| !is_told).map(Value::Object);
    done
}

fn text_of(part: &Content) -> Option<&str> {
    match part {
        Content::Text(it) => Some(it.text.as_str()),
        _ => None,
    }
}

/// A value that was wrapped is shown without its wrapping.
fn readable(data: Option<&Map<String, Value>>, json: &str) -> String {
    match data.filter(|it| it.len() == 1).and_then(|it| it.get("value")) {
        Some(Value::String(text)) => text.clone(),
        _ => json.to_owned(),
    }
}

/// A part as MCP has it. Base64 that stands in the data moves out of it, so that it is sent once.
fn block(part: Content, data: Option<&mut Map<String, Value>>) -> Option<ContentBlock> {
    let mut part = part;
    if let Content::Image(it) | Content::Audio(it) = &mut part
        && !it.field.is_empty()
    {
        if let Some(Value::String(text)) = data.and_then(|data| data.get_mut(&it.field)) {
            it.data = std::mem::take(text);
        }
        it.field.clear();
    }
    serde_json::from_value(camel(serde_json::to_value(part).ok()?)).ok()
}

/// The fields of a reply as a result.
pub(super) fn fields(reply: &Received) -> Result<CallToolResult, ErrorData> {
    let mut fields: Map<String, Value> =
        reply.decode().map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    for key in ENVELOPE {
        fields.remove(key);
    }
    let failed = ["success", "ok"].iter().any(|key| fields.get(*key) == Some(&Value::Bool(false)));
    let fields = Value::Object(fields);
    Ok(if failed {
        CallToolResult::structured_error(fields)
    } else {
        CallToolResult::structured(fields)
    })
}

/// A tool call that failed: a result that a model can read, but for what is wrong with the request itself.
///
/// # Errors
/// Those of the protocol.
pub(super) fn failed(error: &ClientError, context: &Context) -> Result<CallToolResult, ErrorData> {
    let Some(body) = error.remote() else {
        return Ok(CallToolResult::error(vec![ContentBlock::text(error.to_string())]));
    };
    match &body.code {
        ErrorCode::UnknownTool | ErrorCode::UnknownType => Err(ErrorData::invalid_params(
            format!("Unknown tool: {}", body.message),
            Some(json!({ "code": body.code })),
        )),
        ErrorCode::McpCapabilityMissing if is_modern(context) => Err(missing(body)),
        // Models mend what they can read (SEP-1303); older clients expect an error of the protocol.
        ErrorCode::SchemaViolation if !tells_models(context) => {
            Err(ErrorData::invalid_params(body.message.clone(), data_of(body)))
        }
        _ => Ok(CallToolResult::error(vec![ContentBlock::text(readable_error(body))])),
    }
}

/// The newest revision has an error of its own for what a client does not declare.
fn missing(body: &ErrorBody) -> ErrorData {
    let required = body.detail.get(REQUIRED).cloned().unwrap_or_else(|| json!({}));
    let mut error = ErrorData::missing_required_client_capability(
        serde_json::from_value(required).unwrap_or_default(),
    );
    error.message = body.message.clone().into();
    error
}

fn tells_models(context: &Context) -> bool {
    context.protocol_version().is_some_and(|it| it >= ProtocolVersion::V_2025_11_25)
}

fn readable_error(body: &ErrorBody) -> String {
    let again = if body.retryable { " (worth another try)" } else { "" };
    let mut text = format!("{}: {}{again}", body.code, body.message);
    if !body.detail.is_empty() {
        text = format!("{text}\n{}", Value::Object(body.detail.clone()));
    }
    text
}

fn data_of(body: &ErrorBody) -> Option<Value> {
    let mut data = body.detail.clone();
    data.insert("code".to_owned(), json!(body.code));
    Some(Value::Object(data))
}

/// The error of the protocol for a request that is no tool call.
pub(super) fn error(error: &ClientError, context: &Context) -> ErrorData {
    let Some(body) = error.remote() else {
        return ErrorData::internal_error(error.to_string(), None);
    };
    let (text, data) = (body.message.clone(), data_of(body));
    match body.code {
        ErrorCode::McpCapabilityMissing if is_modern(context) => missing(body),
        // The code of its own went with the revision of 2026.
        ErrorCode::McpResourceNotFound if !is_modern(context) => {
            ErrorData::resource_not_found(text, data)
        }
        ErrorCode::McpResourceNotFound
        | ErrorCode::McpPromptNotFound
        | ErrorCode::SchemaViolation
        | ErrorCode::InvalidMessage
        | ErrorCode::McpCapabilityMissing => ErrorData::invalid_params(text, data),
        _ => ErrorData::internal_error(text, data),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use a2e_caps::tools::contract::ToolResult;

    use super::{camel, result, shown};

    #[test]
    fn data_that_fits_a_schema_is_kept_beside_its_parts() {
        let part = |text: &str| json!({ "type": "text", "text": text });
        for (data, is_kept) in [
            (json!({ "text": "a\nb" }), false),
            (json!({ "text": "a\nb", "content": [part("a"), part("b")] }), false),
            (json!({ "text": "a" }), true),
            (json!({ "content": "a\nb" }), true),
            (json!({ "text": "a\nb", "sum": 1 }), true),
        ] {
            let parts = [part("a"), part("b")];
            let mut told = json!({ "tool_name": "t", "success": true, "duration_ms": 1 });
            (told["data"], told["content"]) = (data.clone(), json!(parts));
            let told: ToolResult = serde_json::from_str(&told.to_string()).unwrap();
            assert_eq!(result(told).structured_content.is_some(), is_kept, "{data}");
        }
    }

    #[test]
    fn entries_are_spelled_as_mcp_does_and_hide_nothing() {
        let entry = json!({
            "uri_template": "a://{b}",
            "mime_type": "text/plain",
            "description": "a\u{202e}b\u{200b}c\n\u{7}d",
            "annotations": { "mime_type": 1 },
        });
        let expected = json!({
            "uriTemplate": "a://{b}",
            "mimeType": "text/plain",
            "description": "abc\nd",
            "annotations": { "mime_type": 1 },
        });
        assert_eq!(shown(camel(entry)), expected);
        let long = shown(json!({ "description": "\u{e4}".repeat(2000) }));
        assert!(long["description"].as_str().unwrap().len() <= 1024);
    }
}
