//! What is sent instead of an answer whose audit record could not be kept.

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use crate::Time;
use crate::audit::unavailable;
use crate::codec::envelope::encode_message;

/// What of a line of ours goes on to the error that takes its place.
#[derive(Deserialize)]
struct Header {
    id: String,
    ts: f64,
    req_id: String,
}

/// The same lines with `audit_unavailable` in the place of these answers.
pub(super) fn replace(lines: &[u8], answers: &[Range<usize>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + answers.len() * 128);
    let mut done = 0;
    for answer in answers {
        out.extend_from_slice(lines.get(done..answer.start).unwrap_or_default());
        push_error(&mut out, lines.get(answer.clone()).unwrap_or_default());
        done = answer.end;
    }
    out.extend_from_slice(lines.get(done..).unwrap_or_default());
    out
}

/// The error keeps the id and the time of the line, which nobody has seen.
fn push_error(out: &mut Vec<u8>, line: &[u8]) {
    let header: Header = match serde_json::from_slice(line) {
        Ok(header) => header,
        Err(error) => {
            return tracing::error!(%error, "a line of ours cannot be read; it is not sent");
        }
    };
    let wall = Duration::try_from_secs_f64(header.ts).unwrap_or_default();
    let now = Time { wall, ..Time::default() };
    let body = unavailable(true).to_body("");
    if let Err(error) = encode_message(out, &header.id, now, "error", Some(&header.req_id), &body) {
        tracing::error!(%error, "`audit_unavailable` cannot be encoded");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn r53_answers_become_errors_and_all_else_stays() {
        let event = br#"{"type":"x/event","id":"e","version":"1.0","ts":1.5,"req_id":"a","seq":0}"#;
        let answer = br#"{"type":"x/resp","id":"m","version":"1.0","ts":1764000000.000042,"req_id":"a\"","secret":1}"#;
        let mut lines = Vec::new();
        let mut answers = Vec::new();
        for (line, is_answer) in
            [(&event[..], false), (answer, true), (answer, true), (event, false)]
        {
            let before = lines.len();
            lines.extend_from_slice(line);
            lines.push(b'\n');
            if is_answer {
                answers.push(before..lines.len());
            }
        }
        let text = String::from_utf8(replace(&lines, &answers)).unwrap();
        let found: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), 4);
        assert_eq!((&found[0], &found[3]), (&found[3], &found[0]));
        assert_eq!(found[0]["type"], "x/event");
        let error = &found[1];
        assert_eq!(error["type"], "error");
        assert_eq!(error["code"], "audit_unavailable");
        assert_eq!(error["retryable"], true);
        assert_eq!(error["detail"], json!({ "has_run": true }));
        assert_eq!((&error["id"], &error["req_id"]), (&json!("m"), &json!("a\"")));
        assert!((error["ts"].as_f64().unwrap() - 1_764_000_000.000_042).abs() < 1e-6);
        assert!(!text.contains("secret"));
    }
}
