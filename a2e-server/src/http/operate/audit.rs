//! `GET /api/audit`: records of the audit, the newest first, by what they say.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use a2e_core::audit::rotated_files;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::Shared;
use crate::http::reply::Refused;

/// Records of one page, at most and unless asked for fewer.
const MOST: usize = 1000;
const USUAL: usize = 100;

/// Which records are asked for; what is absent is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// The message type.
    r#type: Option<String>,
    outcome: Option<String>,
    plugin: Option<String>,
    session_id: Option<String>,
    agent_id: Option<String>,
    req_id: Option<String>,
    error_code: Option<String>,
    /// A text that stands in the subject.
    subject: Option<String>,
    /// Unix seconds.
    since: Option<f64>,
    until: Option<f64>,
    /// Records before this `seq`: the `next` of the page before.
    before: Option<u64>,
    /// How many, 1,000 at most.
    limit: Option<usize>,
}

/// A page of records.
#[derive(Debug, Default, Serialize)]
pub(super) struct Page {
    records: Vec<Value>,
    /// `before` of the next page, where there may be one.
    next: Option<u64>,
}

pub(super) async fn find(
    State(shared): State<Arc<Shared>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Refused> {
    let Some(path) = shared.executor.status().audit_path else {
        return Err(Refused::new(StatusCode::NOT_FOUND, "this host has no audit file"));
    };
    let found = tokio::task::spawn_blocking(move || page(Path::new(&path), &wanted)).await;
    let unread = |why: String| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, why);
    let page = found.map_err(|error| unread(error.to_string()))?;
    page.map(Json).map_err(|error| unread(format!("the audit cannot be read: {error}")))
}

/// The newest records that fit. The newest file is read first; of each file as many records are held
/// as a page has.
fn page(path: &Path, wanted: &Wanted) -> std::io::Result<Page> {
    let limit = wanted.limit.unwrap_or(USUAL).clamp(1, MOST);
    let mut page = Page::default();
    for file in rotated_files(path).iter().rev() {
        let mut fitting = std::collections::VecDeque::new();
        for line in BufReader::new(File::open(file)?).split(b'\n') {
            let Ok(record) = serde_json::from_slice::<Value>(&line?) else { continue };
            if wanted.fits(&record) {
                if fitting.len() == limit {
                    fitting.pop_front();
                }
                fitting.push_back(record);
            }
        }
        let room = limit - page.records.len();
        page.records.extend(fitting.into_iter().rev().take(room));
        if page.records.len() == limit {
            page.next = page.records.last().and_then(|record| record.get("seq")?.as_u64());
            break;
        }
    }
    Ok(page)
}

impl Wanted {
    fn fits(&self, record: &Value) -> bool {
        // Seals and gaps are no records.
        let Some(seq) = record.get("seq").and_then(Value::as_u64) else { return false };
        let text = |key: &str| record.get(key).and_then(Value::as_str);
        let same = |wanted: &Option<String>, key: &str| {
            wanted.as_deref().is_none_or(|wanted| text(key) == Some(wanted))
        };
        let at = record.get("ts").and_then(Value::as_f64).unwrap_or_default();
        let subject = || record.get("subject").map(Value::to_string).unwrap_or_default();
        text("type").is_some()
            && self.before.is_none_or(|before| seq < before)
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && same(&self.r#type, "type")
            && same(&self.outcome, "outcome")
            && same(&self.plugin, "plugin")
            && same(&self.session_id, "session_id")
            && same(&self.agent_id, "agent_id")
            && same(&self.req_id, "req_id")
            && same(&self.error_code, "error_code")
            && self.subject.as_deref().is_none_or(|wanted| subject().contains(wanted))
    }
}
