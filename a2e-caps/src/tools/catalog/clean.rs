//! Cleans the texts of tools for agents: no invisible characters, no floods.

use a2e_core::codec::RawJson;
use serde_json::Value;

use crate::tools::protocol::{ToolDefinition, ToolParameter};

/// Longest description of a tool or a parameter, in bytes (R39).
const MAX_DESCRIPTION: usize = 4096;

/// Longest name, in bytes.
const MAX_NAME: usize = 256;

/// A definition that is fit to be shown.
///
/// # Errors
/// Why it is not: its name, or the name of a parameter, is empty or too long.
pub(super) fn definition(tool: ToolDefinition) -> Result<ToolDefinition, String> {
    let mut tool = tool.completed().map_err(|error| error.message().to_owned())?;
    tool.name = text(&tool.name);
    if tool.name.is_empty() || tool.name.len() > MAX_NAME {
        return Err(format!("its name must have 1 to {MAX_NAME} visible bytes"));
    }
    tool.description = description(&tool.description);
    tool.version = text(&tool.version);
    tool.toolkit = tool.toolkit.map(|it| text(&it));
    tool.title = tool.title.map(|it| text(&it));
    if let Some(annotations) = tool.annotations.take() {
        let mut annotations = Value::Object(annotations);
        clean_schema(&mut annotations)?;
        tool.annotations = annotations.as_object().cloned();
    }
    for tag in &mut tool.tags {
        *tag = text(tag);
    }
    for it in tool.input_parameters.iter_mut().chain(&mut tool.output_parameters) {
        parameter(it)?;
    }
    for own in [&mut tool.input_schema, &mut tool.output_schema].into_iter().flatten() {
        let mut schema: Value = own.decode().map_err(|error| error.to_string())?;
        clean_schema(&mut schema)?;
        *own = RawJson::of(&schema).map_err(|error| error.to_string())?;
    }
    Ok(tool)
}

/// Cleans what a schema says for people and models; the rest is compared, and must be clean.
/// Recursion is bounded by the depth that a schema may have.
fn clean_schema(schema: &mut Value) -> Result<(), String> {
    match schema {
        Value::Object(map) => map.iter_mut().try_for_each(|(key, value)| {
            odd(key)?;
            match value {
                Value::String(text) if matches!(key.as_str(), "description" | "title") => {
                    *text = description(text);
                    Ok(())
                }
                other => clean_schema(other),
            }
        }),
        Value::Array(list) => list.iter_mut().try_for_each(clean_schema),
        Value::String(text) => odd(text),
        _ => Ok(()),
    }
}

fn odd(raw: &str) -> Result<(), String> {
    if raw.chars().any(is_hidden) {
        return Err(format!("it has invisible characters in `{}`", text(raw)));
    }
    Ok(())
}

fn parameter(it: &mut ToolParameter) -> Result<(), String> {
    // What is compared is not changed: the tool would no longer find its argument.
    let is_odd = |text: &String| text.chars().any(is_hidden);
    let has_odd_key = it.properties.iter().flat_map(|map| map.keys()).any(is_odd);
    if is_odd(&it.name)
        || is_odd(&it.kind)
        || it.choices.iter().flatten().any(is_odd)
        || has_odd_key
    {
        return Err(format!("parameter `{}` has invisible characters", text(&it.name)));
    }
    it.description = description(&it.description);
    it.properties.iter_mut().flat_map(|map| map.values_mut()).try_for_each(parameter)
}

/// Without invisible characters; line ends and tabs are fine in a description, not elsewhere.
fn text(raw: &str) -> String {
    raw.chars().filter(|it| !is_hidden(*it)).collect()
}

fn description(raw: &str) -> String {
    let is_kept = |it: &char| matches!(it, '\n' | '\t') || !is_hidden(*it);
    let mut clean: String = raw.chars().filter(is_kept).collect();
    clean.truncate(clean.floor_char_boundary(MAX_DESCRIPTION));
    clean
}

/// Control characters, and those that take no room, turn the direction of writing or carry
/// invisible tags.
fn is_hidden(it: char) -> bool {
    it.is_control()
        || matches!(it,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r39_invisible_characters_go_and_descriptions_end() {
        for (raw, expected) in [
            ("plain", "plain"),
            ("a\u{200b}b\u{202e}c\u{feff}", "abc"),
            ("tag\u{e0041}\u{e007f}", "tag"),
            ("bell\u{7}esc\u{1b}[1m", "bellesc[1m"),
            ("größe 文字", "größe 文字"),
        ] {
            let clean = definition(ToolDefinition::new(raw, format!("1\n2\t{raw}"))).unwrap();
            assert_eq!(clean.name, expected);
            assert_eq!(clean.description, format!("1\n2\t{expected}"));
        }
        let long = definition(ToolDefinition::new("a", "é".repeat(4000))).unwrap();
        assert_eq!(long.description.len(), MAX_DESCRIPTION);
    }

    #[test]
    fn r39_what_cannot_be_shown_is_refused() {
        let hidden = ToolParameter::optional("pa\u{200b}th", "string", "");
        let choice = ToolParameter::optional("a", "string", "").one_of(&["b", "c\u{202e}"]);
        let kind = ToolParameter::optional("a", "str\u{200b}ing", "");
        let below = ToolParameter {
            properties: Some(
                [("k\u{7}".to_owned(), ToolParameter::optional("", "string", ""))].into(),
            ),
            ..ToolParameter::optional("a", "object", "")
        };
        for tool in [
            ToolDefinition::new("a", "x").input(choice),
            ToolDefinition::new("a", "x").output(kind),
            ToolDefinition::new("a", "x").input(below),
            ToolDefinition::new("", "x"),
            ToolDefinition::new("\u{200b}", "x"),
            ToolDefinition::new("a".repeat(257), "x"),
            ToolDefinition::new("a", "x").input(hidden),
        ] {
            assert!(definition(tool.clone()).is_err(), "{tool:?}");
        }
    }
}
