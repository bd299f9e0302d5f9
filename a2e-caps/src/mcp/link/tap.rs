//! A transport that is listened to: requests as they leave, notifications in the order of their coming.
//! rmcp handles each notification in a task of its own, which keeps no order.

use std::sync::Arc;

use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage, ServerNotification};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::Upcalls;
use super::flights::Flights;

/// Most answers of ours that a server has not read yet. What it says beyond that waits: it asks, and does not read.
const MAX_ANSWERS: usize = 256;

pub(super) struct Tap<T> {
    inner: T,
    /// Answers of ours that wait to be sent.
    answers: watch::Sender<usize>,
    flights: Arc<Flights>,
    upcalls: Arc<dyn Upcalls>,
}

impl<T> Tap<T> {
    pub(super) fn new(inner: T, flights: Arc<Flights>, upcalls: Arc<dyn Upcalls>) -> Self {
        Self { inner, answers: watch::Sender::new(0), flights, upcalls }
    }

    fn hear(&self, notification: &ServerNotification) {
        let Ok(Value::Object(mut it)) = serde_json::to_value(notification) else { return };
        let params = match it.remove("params") {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        if let Some(Value::String(method)) = it.remove("method") {
            self.upcalls.notified(&method, params);
        }
    }
}

/// An answer that is not sent yet.
struct Unread(watch::Sender<usize>);

impl Unread {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        if let JsonRpcMessage::Request(it) = &item {
            self.flights.departs(&it.request, &it.id);
        }
        let answer = matches!(&item, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_))
            .then(|| Unread::new(&self.answers));
        let sent = self.inner.send(item);
        async move {
            let result = sent.await;
            drop(answer);
            result
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        // The sender is ours.
        self.answers.subscribe().wait_for(|count| *count < MAX_ANSWERS).await.map(drop).ok();
        loop {
            let message = self.inner.receive().await?;
            if let JsonRpcMessage::Notification(it) = &message {
                if let ServerNotification::ProgressNotification(it) = &it.notification {
                    self.flights.progressed(&it.params);
                    continue;
                }
                self.hear(&it.notification);
            }
            return Some(message);
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}
