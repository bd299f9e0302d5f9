//! A transport that is listened to: requests as they leave, notifications in the order of their coming.
//! rmcp handles each notification in a task of its own, which keeps no order.

use std::sync::Arc;

use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage, ServerNotification};
use rmcp::service::RoleClient;
use rmcp::transport::Transport;
use serde_json::{Map, Value};

use super::Upcalls;
use super::flights::Flights;

pub(super) struct Tap<T> {
    inner: T,
    flights: Arc<Flights>,
    upcalls: Arc<dyn Upcalls>,
}

impl<T> Tap<T> {
    pub(super) fn new(inner: T, flights: Arc<Flights>, upcalls: Arc<dyn Upcalls>) -> Self {
        Self { inner, flights, upcalls }
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

impl<T: Transport<RoleClient>> Transport<RoleClient> for Tap<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        if let JsonRpcMessage::Request(it) = &item {
            self.flights.departs(&it.request, &it.id);
        }
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
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
