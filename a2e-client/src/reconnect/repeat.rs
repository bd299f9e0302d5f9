//! Sends repeatable calls again once the connection is back.

use std::time::Duration;

use a2e_core::protocol::{Message, MessageId, Ping};

use crate::link::Link;
use crate::link::pending::Candidate;

/// How long the host may take to send what it has kept for us.
const REPLAY_LIMIT: Duration = Duration::from_secs(30);

/// Sends again the calls that were kept over the loss. What the host still has for them comes first:
/// answers that were on their way end calls that need not be made again. So a `ping` goes ahead, whose
/// answer stands behind all that.
pub(crate) async fn repeat_calls(link: &Link, is_resumed: bool) {
    let number = link.outbox().number;
    if link.pending.to_repeat(number).is_empty() {
        return;
    }
    if is_resumed {
        replayed(link).await;
    }
    for id in link.pending.to_repeat(number) {
        let Ok(outbox) = link.room(false).await else { return };
        if outbox.number != number {
            // Lost again; the next connection sees to them.
            return;
        }
        // The call that waits for the answer may have claimed it, or ended.
        if let Some(line) = link.pending.claim(id.as_str(), number) {
            if !outbox.append(&line) {
                return;
            }
            link.counters.repeated.add();
            tracing::debug!(id = id.as_str(), "call sent again");
        }
    }
}

/// Waits until the host has sent what it kept, or does not answer.
async fn replayed(link: &Link) {
    let id = link.ids.next_id();
    let Ok(ping) = link.encode(id.as_str(), Ping::TYPE, None, &Ping {}) else { return };
    let outbox = link.outbox();
    let call = Candidate {
        id: id.clone(),
        events: None,
        sent_bytes: ping.len(),
        sent_on: outbox.number,
        line: None,
    };
    let answer = link.pending.register(call, 0);
    let _entry = Forgotten { link, id };
    if outbox.append(&ping) && tokio::time::timeout(REPLAY_LIMIT, answer).await.is_err() {
        tracing::warn!("the host does not answer `ping` after the session was resumed");
    }
}

/// Takes a call out of the table when it is dropped.
struct Forgotten<'a> {
    link: &'a Link,
    id: MessageId,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.link.pending.forget(self.id.as_str());
    }
}
