//! The lines of `connect`: what a person types, or what stands in a script.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::value::RawValue;
use tokio::sync::mpsc::{Receiver, channel};

use super::Input;
use crate::Failure;

/// What a line says.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Nothing,
    Help,
    Quit,
    /// Seconds.
    Wait(f64),
    Message(Outgoing),
}

/// A message to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) text: String,
}

/// Reads a line: a command, `TYPE JSON`, or a whole message. Without an id it gets this number's.
pub(super) fn parse(line: &str, number: usize) -> Result<Line, String> {
    // An editor's mark of the encoding, before the first line.
    let line = line.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(line).trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word {
        "" => return Ok(Line::Nothing),
        "help" | "?" => return Ok(Line::Help),
        "quit" | "exit" => return Ok(Line::Quit),
        "wait" => {
            let seconds = crate::args::seconds(rest.trim());
            return seconds.map(Line::Wait).map_err(|why| format!("wait: {why}"));
        }
        _ if word.starts_with('#') => return Ok(Line::Nothing),
        _ => {}
    }
    // An array is no type either; it fails as what it is.
    let is_whole = line.starts_with(['{', '[']);
    let json = match (is_whole, rest.trim()) {
        (true, _) => line,
        (false, "") => "{}",
        (false, json) => json,
    };
    // Raw, so that numbers go out as they were written.
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json)
        .map_err(|error| format!("expected TYPE and a JSON object: {error}"))?;
    let quoted = |text: &str| {
        let text = serde_json::to_string(text).map_err(|error| error.to_string())?;
        RawValue::from_string(text).map_err(|error| error.to_string())
    };
    if !is_whole {
        fields.insert("type".to_owned(), quoted(word)?);
    }
    if !fields.contains_key("id") {
        fields.insert("id".to_owned(), quoted(&number.to_string())?);
    }
    let text_of = |key: &str| {
        let raw = fields.get(key).map_or("null", |raw| raw.get());
        serde_json::from_str::<String>(raw).map_err(|_| format!("`{key}` is not a text"))
    };
    let (kind, id) = (text_of("type")?, text_of("id")?);
    let text = serde_json::to_string(&fields).map_err(|error| error.to_string())?;
    Ok(Line::Message(Outgoing { kind, id, text }))
}

/// Standard input line by line, read on a thread of its own.
pub(super) fn read_stdin() -> Result<Receiver<Input>, Failure> {
    // The script waits for its answers, so it is read no faster.
    let (lines, inputs) = channel(1);
    let read = move || {
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let Ok(line) = line else { break };
            if lines.blocking_send(Input::Line(number + 1, line)).is_err() {
                break;
            }
        }
    };
    std::thread::Builder::new()
        .name("a2e-stdin".into())
        .spawn(read)
        .map_err(|error| Failure::internal(format_args!("no thread for stdin: {error}")))?;
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_and_messages() {
        let sent = |line: &str| match parse(line, 7) {
            Ok(Line::Message(it)) => format!("{} {} {}", it.kind, it.id, it.text),
            other => format!("{other:?}"),
        };
        for (line, expected) in [
            ("", "Ok(Nothing)"),
            ("  # a comment", "Ok(Nothing)"),
            ("help", "Ok(Help)"),
            ("quit", "Ok(Quit)"),
            ("wait 0.5", "Ok(Wait(0.5))"),
            ("wait", "Err(\"wait: give seconds from 0 to 3600\")"),
            ("ping", r#"ping 7 {"id":"7","type":"ping"}"#),
            (r#"x/req {"n":1e400}"#, r#"x/req 7 {"id":"7","n":1e400,"type":"x/req"}"#),
            (r#"{"type":"ping","id":"a"}"#, r#"ping a {"id":"a","type":"ping"}"#),
            (r#"{"type":"ping"}"#, r#"ping 7 {"id":"7","type":"ping"}"#),
            (r#"{"id":"a"}"#, "Err(\"`type` is not a text\")"),
            (r#"{"type":"ping","id":5}"#, "Err(\"`id` is not a text\")"),
        ] {
            assert_eq!(sent(line), expected, "{line}");
        }
        assert!(matches!(parse("\u{feff}ping", 1), Ok(Line::Message(it)) if it.kind == "ping"));
        assert!(matches!(parse("\u{feff}# a comment", 1), Ok(Line::Nothing)));
        for bad in ["x/req [1]", "x/req {", "{", "[1]", "x/req nonsense"] {
            assert!(sent(bad).contains("expected TYPE and a JSON object"), "{bad}: {}", sent(bad));
        }
    }
}
