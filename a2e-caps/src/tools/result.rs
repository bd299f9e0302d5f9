//! From what a tool gives back to the result on the wire: wrapped, bounded, never an over-long line.

use a2e_core::codec::{RawJson, encode_value};
use a2e_core::{Error, Result};
use serde_json::{Value, json};

use super::contract::ToolOutput;
use super::fields::Fields;
use super::protocol::{Content, ToolResult};

/// Longest text of an error or a summary on the wire, in bytes.
const MAX_TEXT: usize = 16 * 1024;

/// Most of a result that cannot be cut sensibly, in bytes.
const MAX_PREVIEW: usize = 4096;

/// The result of a tool that ran. `max_bytes` bounds `data` as it is written to the wire.
///
/// # Errors
/// `internal_error` when the output cannot be carried, for example because it is nested too deep.
pub(super) fn finish(tool: &str, output: ToolOutput, max_bytes: usize) -> Result<ToolResult> {
    let data = wrapped(output.data)?;
    let exit_code = exit_code(&data);
    let size = wire_len(data.get());
    let summary = output.summary.map(bounded_summary);
    let mut result =
        ToolResult { summary, exit_code, ..ToolResult::success(tool.to_owned(), data) };
    result.truncated = Some(output.is_truncated);
    if let Some((code, text)) = output.failure {
        result.success = false;
        result.error_code = Some(code.clone());
        result.code = Some(code);
        result.error = Some(cut_text(&text, MAX_TEXT).to_owned());
    }
    if size > max_bytes {
        cut(&mut result, size, max_bytes)?;
    }
    let data = result.data.as_ref().map_or(0, |data| wire_len(data.get()));
    add_content(&mut result, output.content, max_bytes.saturating_sub(data));
    Ok(result)
}

/// An error of a tool as agents get it: ordinary failures are `tool_error`, long texts are cut.
pub(super) fn failure(error: Error) -> Error {
    use a2e_core::protocol::ErrorCode::{RuntimeError, ToolError};
    let is_plain = *error.code() == RuntimeError;
    if !is_plain && error.message().len() <= MAX_TEXT {
        return error;
    }
    let code = if is_plain { ToolError } else { error.code().clone() };
    let cut = Error::new(code, cut_text(error.message(), MAX_TEXT));
    error.detail().iter().fold(cut, |cut, (key, value)| cut.with_detail(key, value.clone()))
}

/// Bytes of a JSON text on the wire, where every character beyond ASCII is escaped.
pub(super) fn wire_len(json: &str) -> usize {
    if json.is_ascii() { json.len() } else { json.chars().map(wire_len_of).sum() }
}

/// Bytes of a character of a JSON text on the wire.
fn wire_len_of(it: char) -> usize {
    if it.is_ascii() { 1 } else { 6 * it.len_utf16() }
}

/// Bytes of a character on the wire, as a part of a string.
fn escaped_len(it: char) -> usize {
    match it {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        it if it.is_control() => 6,
        it => wire_len_of(it),
    }
}

/// Bytes of a text on the wire, without the quotes.
pub(super) fn text_len(text: &str) -> usize {
    text.chars().map(escaped_len).sum()
}

/// The longest start of `text` that needs at most `max_bytes` on the wire.
pub(super) fn fitting(text: &str, max_bytes: usize) -> &str {
    let mut left = max_bytes;
    for (at, it) in text.char_indices() {
        match left.checked_sub(escaped_len(it)) {
            Some(rest) => left = rest,
            None => return text.get(..at).unwrap_or_default(),
        }
    }
    text
}

fn cut_text(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}

/// An object as it is, anything else as `{"value": …}`.
fn wrapped(data: RawJson) -> Result<RawJson> {
    if data.get().starts_with('{') {
        return Ok(data);
    }
    parse(format!(r#"{{"value":{}}}"#, data.get()))
}

fn parse(json: String) -> Result<RawJson> {
    RawJson::parse(json).map_err(|error| Error::internal(format!("result not carried: {error}")))
}

/// `exit_code` of the data, where it has one that is an integer.
fn exit_code(data: &RawJson) -> Option<i64> {
    if !data.get().contains("\"exit_code\"") {
        return None;
    }
    let Fields(fields) = Fields::of(data.get())?;
    let (_, value) = fields.iter().find(|(key, _)| key == "exit_code")?;
    value.get().parse().ok()
}

fn bounded_summary(summary: Value) -> Value {
    match summary {
        Value::String(text) => Value::String(cut_text(&text, MAX_TEXT).to_owned()),
        other if other.to_string().len() > MAX_TEXT => Value::Null,
        other => other,
    }
}

/// Replaces data that is too large by a part of it, and says so.
fn cut(result: &mut ToolResult, size: usize, max_bytes: usize) -> Result<()> {
    let Some(data) = result.data.take() else { return Ok(()) };
    let kept = match shorter(data.get(), size, max_bytes) {
        Some(json) => parse(json)?,
        None => preview(data.get(), max_bytes)?,
    };
    let note = format!(
        "the result has {size} bytes, of which {max_bytes} may be sent; \
         ask for a part, or raise `max_result_bytes`"
    );
    result.summary = Some(match result.summary.take() {
        Some(Value::String(text)) => Value::String(format!("{text} ({note})")),
        _ => Value::String(note),
    });
    result.truncated = Some(true);
    result.data = Some(kept);
    Ok(())
}

/// Adds the parts that there is room for, and says what is missing.
fn add_content(result: &mut ToolResult, content: Vec<Content>, mut room: usize) {
    let whole = content.len();
    for part in content {
        let size = encode_value(&part).map_or(usize::MAX, |json| json.len() + 1);
        if let Some(left) = room.checked_sub(size) {
            room = left;
            result.content.push(part);
        }
    }
    let missing = whole - result.content.len();
    if missing > 0 {
        let note = format!("{missing} of {whole} parts were too large to be sent");
        result.summary = Some(match result.summary.take() {
            Some(Value::String(text)) => Value::String(format!("{text} ({note})")),
            _ => Value::String(note),
        });
        result.truncated = Some(true);
    }
}

/// The object with its longest text cut, if that makes it fit.
fn shorter(json: &str, size: usize, max_bytes: usize) -> Option<String> {
    let Fields(fields) = Fields::of(json)?;
    let texts = fields.iter().enumerate().filter(|(_, (_, value))| value.get().starts_with('"'));
    let (longest, (_, value)) = texts.max_by_key(|(_, (_, value))| value.get().len())?;
    let rest = size.saturating_sub(wire_len(value.get())) + 2;
    let room = max_bytes.checked_sub(rest)?;
    let text: String = serde_json::from_str(value.get()).ok()?;
    let cut = Value::from(fitting(&text, room)).to_string();
    let mut out = String::with_capacity(max_bytes);
    for (place, (key, value)) in fields.iter().enumerate() {
        out.push(if place == 0 { '{' } else { ',' });
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push(':');
        out.push_str(if place == longest { &cut } else { value.get() });
    }
    out.push('}');
    Some(out)
}

/// The beginning of data that has no text to cut.
fn preview(json: &str, max_bytes: usize) -> Result<RawJson> {
    let start = fitting(json, MAX_PREVIEW.min(max_bytes.saturating_sub(16)));
    parse(json!({ "preview": start }).to_string())
}

#[cfg(test)]
mod tests {
    use a2e_core::protocol::ErrorCode;

    use super::*;

    fn raw(json: &str) -> ToolOutput {
        ToolOutput::raw(RawJson::parse(json.to_owned()).unwrap())
    }

    #[test]
    fn plain_values_are_wrapped_and_exit_codes_copied() {
        for (data, expected, exit_code) in [
            (r#"{"a":1}"#, r#"{"a":1}"#, None),
            ("[1]", r#"{"value":[1]}"#, None),
            (r#""x""#, r#"{"value":"x"}"#, None),
            ("null", r#"{"value":null}"#, None),
            (r#"{"exit_code":3}"#, r#"{"exit_code":3}"#, Some(3)),
            (r#"{"exit_code":"3"}"#, r#"{"exit_code":"3"}"#, None),
            (r#"{"a":{"exit_code":3}}"#, r#"{"a":{"exit_code":3}}"#, None),
        ] {
            let result = finish("t", raw(data), 1000).unwrap();
            assert_eq!(result.data.unwrap().get(), expected);
            assert_eq!((result.exit_code, result.truncated), (exit_code, Some(false)));
        }
    }

    #[test]
    fn r20_no_result_is_longer_on_the_wire_than_allowed() {
        let nested = "[".repeat(50) + &"]".repeat(50);
        for (data, starts) in [
            (Value::from("x".repeat(5000)).to_string(), r#"{"value":"xxx"#),
            (Value::from("é\u{1}\"🦀".repeat(900)).to_string(), r#"{"value":"é\u0001\"🦀"#),
            (json!({ "text": "y".repeat(5000), "n": 1 }).to_string(), r#"{"n":1,"text":"yyy"#),
            (json!({ "rows": vec![json!({ "a": 1 }); 900] }).to_string(), r#"{"preview":"{\""#),
            (json!({ "a": "x".repeat(3000), "b": "y".repeat(3000) }).to_string(), r#"{"preview"#),
            (format!(r#"{{"k":{nested},"t":"{}"}}"#, "z".repeat(2000)), r#"{"k":[["#),
        ] {
            let result = finish("t", raw(&data), 2000).unwrap();
            let kept = result.data.clone().unwrap();
            assert!(kept.get().starts_with(starts), "{kept:?}");
            let written = encode_value(&kept).unwrap().len();
            assert!(written <= 2000, "{written}");
            assert!(result.success && result.truncated == Some(true));
            let summary = result.summary.unwrap();
            assert!(summary.as_str().unwrap().contains("max_result_bytes"), "{summary}");
        }
        let fits = finish("t", raw(&Value::from("x".repeat(1980)).to_string()), 2000).unwrap();
        assert_eq!(fits.truncated, Some(false));
    }

    proptest::proptest! {
        #[test]
        fn r20_any_object_fits(
            fields in proptest::collection::btree_map(".{0,8}", ".{0,400}", 0..6),
            max_bytes in 256_usize..1500,
        ) {
            let result = finish("t", raw(&json!(fields).to_string()), max_bytes).unwrap();
            let data = result.data.unwrap();
            let written = encode_value(&data).unwrap().len();
            assert!(written <= max_bytes, "{written} of {max_bytes}");
            let whole = result.truncated == Some(false);
            assert_eq!(whole, data.decode::<Value>().unwrap() == json!(fields));
        }
    }

    #[test]
    fn parts_that_find_no_room_are_left_out_and_counted() {
        let parts = [(10, 2000, 3), (700, 2000, 2), (3000, 2000, 0)];
        for (bytes, max_bytes, kept) in parts {
            let part = Content::image(&vec![7; bytes], "image/png");
            let output = raw("{}").with_content(part.clone()).with_content(part.clone());
            let result = finish("t", output.with_content(part), max_bytes).unwrap();
            assert_eq!(result.content.len(), kept);
            assert_eq!(result.truncated, Some(kept < 3));
            assert!(encode_value(&result.content).unwrap().len() <= max_bytes);
        }
    }

    #[test]
    fn cut_text_uses_the_room_it_has() {
        let result = finish("t", raw(&Value::from("é".repeat(5000)).to_string()), 2000).unwrap();
        let written = encode_value(&result.data.unwrap()).unwrap().len();
        assert!((1990..=2000).contains(&written), "{written}");
    }

    #[test]
    fn failures_keep_their_code_but_plain_ones() {
        for (code, expected) in [
            (ErrorCode::RuntimeError, "tool_error"),
            (ErrorCode::ToolDenied, "tool_denied"),
            (ErrorCode::McpProtocolError, "mcp_protocol_error"),
        ] {
            let error = failure(Error::new(code, "x".repeat(100_000)).with_detail("path", "p"));
            assert_eq!(error.code().as_str(), expected);
            assert_eq!((error.message().len(), &error.detail()["path"]), (MAX_TEXT, &json!("p")));
        }
        let failed = raw("{}").failed("tool_execution_error", "no");
        let result = finish("t", failed, 100).unwrap();
        assert!(!result.success && result.error.as_deref() == Some("no"));
    }
}
