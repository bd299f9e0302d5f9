//! The result of a tool of a server as a result of the host.

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use serde_json::{Map, Value, json};

use crate::tools::contract::{Content, ToolOutput};

/// The output. Its data is `{content, text}`, where `content` has no bytes, which are sent once, with the
/// parts; of a tool with an output schema it is what that describes.
pub(super) fn output(mut result: Map<String, Value>, has_schema: bool) -> Result<ToolOutput> {
    let content = match result.remove("content") {
        Some(Value::Array(content)) => content,
        _ => Vec::new(),
    };
    let structured = result.remove("structuredContent");
    let is_error = result.get("isError").and_then(Value::as_bool) == Some(true);
    let text = |part: &Value| {
        let is_text = part.get("type").and_then(Value::as_str) == Some("text");
        part.get("text").and_then(Value::as_str).filter(|_| is_text).map(str::to_owned)
    };
    let text: Vec<String> = content.iter().filter_map(text).collect();
    let text = text.join("\n");
    let parts: Vec<Content> =
        content.iter().filter_map(|it| serde_json::from_value(it.clone()).ok()).collect();
    let data = match structured {
        Some(Value::Object(structured)) if has_schema && !is_error => Value::Object(structured),
        structured => {
            let mut data = json!({
                "content": content.into_iter().map(without_bytes).collect::<Vec<_>>(),
                "text": text,
            });
            if let (Some(structured), Some(data)) = (structured, data.as_object_mut()) {
                data.insert("structured_content".to_owned(), structured);
            }
            data
        }
    };
    let mut output = ToolOutput::of(&data)?;
    output.content = parts;
    if is_error {
        let text =
            if text.is_empty() { "the tool failed and did not say why".to_owned() } else { text };
        return Ok(output.failed(ErrorCode::ToolError.as_str(), text));
    }
    Ok(output)
}

/// A part whose base64 is left out.
fn without_bytes(mut part: Value) -> Value {
    if let Some(part) = part.as_object_mut() {
        part.remove("data");
        if let Some(Value::Object(resource)) = part.get_mut("resource") {
            resource.remove("blob");
        }
    }
    part
}

/// A field of a result that must be a list.
pub(super) fn list(result: &mut Map<String, Value>, key: &str) -> Result<Vec<Value>> {
    if let Some(Value::Array(list)) = result.remove(key) {
        return Ok(list);
    }
    Err(Error::new(ErrorCode::McpProtocolError, format!("the result has no `{key}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(result: Value, has_schema: bool) -> (Value, usize, Option<(String, String)>) {
        let output = output(result.as_object().unwrap().clone(), has_schema).unwrap();
        (output.data.decode().unwrap(), output.content.len(), output.failure)
    }

    #[test]
    fn bytes_are_sent_once_and_texts_are_joined() {
        let image = json!({ "type": "image", "data": "Zm9v", "mimeType": "image/png" });
        let content =
            json!([{ "type": "text", "text": "a" }, image, { "type": "text", "text": "b" }]);
        let (data, parts, failure) = of(json!({ "content": content }), false);
        assert_eq!(data["text"], "a\nb");
        assert_eq!(data["content"][1], json!({ "type": "image", "mimeType": "image/png" }));
        assert_eq!((parts, failure), (3, None));
        let (data, ..) = of(json!({ "content": [], "structuredContent": { "a": 1 } }), true);
        assert_eq!(data, json!({ "a": 1 }));
        let (data, ..) = of(json!({ "content": [], "structuredContent": [1] }), false);
        assert_eq!(data["structured_content"], json!([1]));
    }

    #[test]
    fn a_failure_has_a_text() {
        for (content, expected) in [
            (json!([{ "type": "text", "text": "no luck" }]), "no luck"),
            (json!([]), "the tool failed and did not say why"),
        ] {
            let (.., failure) = of(json!({ "content": content, "isError": true }), true);
            assert_eq!(failure, Some(("tool_error".to_owned(), expected.to_owned())));
        }
        let odd = json!({ "content": [{ "type": "video" }, 5] });
        assert_eq!(of(odd, false).1, 0);
    }
}
