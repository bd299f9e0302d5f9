//! `POST /send`: one message, or several lines of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use super::admit::Caller;
use super::reply::Refused;
use super::{BODY_EXTRA, BODY_LIMIT, Shared};

/// How long a message waits for room in a session whose answers are not read. A client that is told to
/// come back sends the same again: what was taken already is not run twice (R40).
pub(super) const ROOM_LIMIT: Duration = Duration::from_secs(10);

/// The longest body of one message that is read to its end, and for the most part forgotten. A peer that is answered while it
/// still sends may not see the answer, and the reference's client takes three refusals for the end of the host. As long as
/// the longest line of any host.
const PASSED_OVER: usize = 64 << 20;

pub(super) async fn send(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let session = shared.sessions.find(&headers, &caller)?;
    let _turn = session.turn().await?;
    let most = shared.executor.config().limits.max_line_bytes.saturating_add(BODY_EXTRA);
    let lines = lines(body, most).await?;
    // Two of a kind are no trace: which is meant?
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap_or_default();
        Some(if values.next().is_none() { value } else { "" })
    };
    let states: Vec<&str> =
        headers.get_all("tracestate").iter().map(|it| it.to_str().unwrap_or_default()).collect();
    let state = (!states.is_empty()).then(|| states.join(","));
    let fed = session.front.feed_traced(&lines, one("traceparent"), state.as_deref());
    match timeout(ROOM_LIMIT, fed).await {
        Ok(true) => Ok(Json(json!({ "ok": true })).into_response()),
        Ok(false) => Err(Refused::no_session()),
        Err(_) => {
            let text = "the session has too much in flight or unread: read its stream, then send \
                this again";
            Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

/// The lines of a body. Of one line that is too long it is the beginning: the session refuses that on its stream, as it
/// refuses one from a pipe.
async fn lines(body: Body, most: usize) -> Result<Bytes, Refused> {
    let upper = body.size_hint().upper().and_then(|it| usize::try_from(it).ok());
    if upper.is_some_and(|upper| upper <= most) {
        return read(body, most).await;
    }
    let limit = most.max(PASSED_OVER);
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_long(most));
    }
    let begun = beginning(body.into_data_stream(), most, limit);
    let (kept, is_whole) = timeout(BODY_LIMIT, begun).await.map_err(|_| too_slow())??;
    // Of several lines those that were cut off would be lost without a word.
    if !is_whole && kept.contains(&b'\n') {
        return Err(too_long(most));
    }
    Ok(kept.into())
}

/// The first `most` bytes of a body of at most `limit`, and whether that is all of it.
async fn beginning(
    mut parts: BodyDataStream,
    most: usize,
    limit: usize,
) -> Result<(Vec<u8>, bool), Refused> {
    let (mut kept, mut size) = (Vec::new(), 0_usize);
    while let Some(part) = parts.next().await {
        // The peer broke off, and nobody reads this.
        let part = part.map_err(|_| too_long(most))?;
        size = size.saturating_add(part.len());
        if size > limit {
            return Err(too_long(most));
        }
        let room = part.len().min(most - kept.len());
        kept.extend_from_slice(part.get(..room).unwrap_or_default());
    }
    Ok((kept, size <= most))
}

fn too_long(most: usize) -> Refused {
    let text = format!("the body is longer than {most} bytes");
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}

fn too_slow() -> Refused {
    Refused::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come")
}

/// A body, bounded in size and time.
pub(super) async fn read(body: Body, most: usize) -> Result<Bytes, Refused> {
    if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(too_long(most));
    }
    // Too long, or the peer broke off, and then nobody reads this.
    let whole = timeout(BODY_LIMIT, to_bytes(body, most)).await.map_err(|_| too_slow())?;
    whole.map_err(|_| too_long(most))
}
