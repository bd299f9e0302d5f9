//! Handlers of unasked messages, by wire type.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use dashmap::DashMap;
use futures_util::Stream;

use crate::link::mailbox::Mailbox;
use crate::link::stats::Counters;
use crate::message::Received;

pub(crate) type Handler = Arc<dyn Fn(&Received) + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Target {
    Handler(Handler),
    Stream(Arc<Mailbox>),
}

#[derive(Clone)]
struct Subscriber {
    number: u64,
    target: Target,
}

/// The subscribers of each type; one entry for each subscription that the program holds.
#[derive(Default)]
pub(crate) struct PushTable {
    /// Lists are replaced whole, so that none is locked while a handler runs.
    by_type: DashMap<Box<str>, Arc<[Subscriber]>>,
    next: AtomicU64,
}

impl std::fmt::Debug for PushTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushTable").field("types", &self.by_type.len()).finish_non_exhaustive()
    }
}

impl PushTable {
    pub(crate) fn subscribe(self: &Arc<Self>, wire_type: &str, target: Target) -> Subscription {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let added = Subscriber { number, target };
        self.by_type
            .entry(wire_type.into())
            .and_modify(|list| *list = list.iter().cloned().chain([added.clone()]).collect())
            .or_insert_with(|| Arc::from([added.clone()]));
        Subscription { table: Arc::downgrade(self), wire_type: wire_type.into(), number }
    }

    fn unsubscribe(&self, wire_type: &str, number: u64) {
        let Some(mut list) = self.by_type.get_mut(wire_type) else { return };
        let rest = list.iter().filter(|it| it.number != number).cloned().collect();
        let before = std::mem::replace(&mut *list, rest);
        drop(list);
        self.by_type.remove_if(wire_type, |_, list| list.is_empty());
        // With the map unlocked: a handler may own things whose drop unsubscribes others.
        drop(before);
    }

    /// Gives a message to all subscribers of its type; false when there are none.
    pub(crate) fn deliver(
        &self,
        wire_type: &str,
        message: impl FnOnce() -> Received,
        counters: &Counters,
    ) -> bool {
        let Some(list) = self.by_type.get(wire_type).map(|list| Arc::clone(&list)) else {
            return false;
        };
        let message = message();
        for subscriber in list.iter() {
            match &subscriber.target {
                Target::Stream(mailbox) => {
                    counters.pushes_dropped.add_many(mailbox.put_newest(message.clone()));
                }
                Target::Handler(handler) => {
                    if catch_unwind(AssertUnwindSafe(|| handler(&message))).is_err() {
                        counters.handler_panics.add();
                        tracing::error!(wire_type, "a push handler panicked");
                    }
                }
            }
        }
        true
    }

    /// Ends every stream and lets go of every handler: no message will come.
    pub(crate) fn close(&self) {
        let lists: Vec<_> = self.by_type.iter().map(|entry| Arc::clone(entry.value())).collect();
        self.by_type.clear();
        for subscriber in lists.iter().flat_map(|list| list.iter()) {
            if let Target::Stream(mailbox) = &subscriber.target {
                mailbox.close();
            }
        }
    }
}

/// Keeps a push handler in place; dropping it unsubscribes. It does not keep the connection open.
#[derive(Debug)]
#[must_use = "dropping it unsubscribes the handler"]
pub struct Subscription {
    table: Weak<PushTable>,
    wire_type: Box<str>,
    number: u64,
}

impl Subscription {
    /// The type that is listened to.
    pub fn wire_type(&self) -> &str {
        &self.wire_type
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.unsubscribe(&self.wire_type, self.number);
        }
    }
}

/// The messages of one type that come unasked, in order.
///
/// It holds as many as [`Options::push_bound`](crate::Options::push_bound) says; when more come, the
/// oldest are dropped and counted. It ends with the connection. Where nothing may be lost, use
/// [`Client::on_push`](crate::Client::on_push).
#[derive(Debug)]
pub struct PushStream {
    mailbox: Arc<Mailbox>,
    _subscription: Subscription,
}

impl PushStream {
    pub(crate) fn new(mailbox: Arc<Mailbox>, subscription: Subscription) -> Self {
        Self { mailbox, _subscription: subscription }
    }

    /// The next message; `None` when the connection has ended and all were taken.
    pub async fn next(&mut self) -> Option<Received> {
        self.mailbox.next().await
    }

    /// How many were dropped because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.mailbox.dropped()
    }
}

impl Stream for PushStream {
    type Item = Received;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Received>> {
        self.mailbox.poll_next(context)
    }
}
