//! Reads the file of another program.

use serde_json::{Map, Value};

use super::block::Block;

/// Where clients keep their servers.
const PLACES: [&str; 4] = ["/mcpServers", "/servers", "/mcp/servers", "/extensions"];

/// JSON, JSON with comments and trailing commas, or YAML.
pub(super) fn value(text: &str) -> Result<Value, String> {
    let first = match serde_json::from_str(&plain(text)) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if text.trim_start().starts_with(['{', '/']) {
        return Err(format!("no JSON: {first}"));
    }
    serde_saphyr::from_str(text).map_err(|error| format!("neither JSON nor YAML: {error}"))
}

/// The servers that stand in it.
pub(super) fn servers(file: &Value) -> Result<Vec<Block>, String> {
    let block = PLACES.iter().find_map(|place| file.pointer(place)?.as_object());
    let none = || {
        "it has no `mcpServers` (Claude, Cursor), `servers` (VS Code) or `extensions` (goose)"
            .to_owned()
    };
    let empty = Map::new();
    let block = block.ok_or_else(none)?.iter();
    Ok(block.map(|(name, it)| Block::of(name, it.as_object().unwrap_or(&empty))).collect())
}

/// JSON without comments and trailing commas; what stands in strings is kept.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(_)) if in_string => {
                out.push(c);
                out.extend(chars.next());
            }
            ('"', _) => {
                in_string = !in_string;
                out.push(c);
            }
            ('/', Some('/')) if !in_string => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push(c);
                        break;
                    }
                }
            }
            ('/', Some('*')) if !in_string => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            ('}' | ']', _) if !in_string => {
                let end = out.trim_end().len();
                if out.get(..end).is_some_and(|it| it.ends_with(',')) {
                    out.truncate(end - 1);
                }
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}
