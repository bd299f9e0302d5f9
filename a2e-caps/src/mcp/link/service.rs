//! What a server may ask this host.

use std::sync::Arc;

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientResult, CustomResult, ErrorCode, ErrorData,
    Implementation, ProtocolVersion, ServerNotification, ServerRequest, TASKS_EXTENSION_ID,
};
use rmcp::service::{
    InboundStreamOrigin, NotificationContext, RequestContext, RoleClient, Service,
};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::flights::Flights;
use super::{Question, Upcalls};

/// Questions of one server that may wait at a time.
const MAX_QUESTIONS: usize = 32;

/// Answers the questions of one server.
pub(super) struct Handler {
    config: ClientConfig,
    flights: Arc<Flights>,
    upcalls: Arc<dyn Upcalls>,
    /// One permit per question that may wait.
    slots: Semaphore,
}

impl Handler {
    pub(super) fn new(flights: Arc<Flights>, upcalls: Arc<dyn Upcalls>) -> Self {
        let capabilities = json!({
            "roots": { "listChanged": true },
            "sampling": {},
            "elicitation": { "form": {}, "url": {} },
            "extensions": { TASKS_EXTENSION_ID: {} },
        });
        let capabilities: ClientCapabilities =
            serde_json::from_value(capabilities).unwrap_or_default();
        let us = Implementation::new("a2e-mcp-bridge", env!("CARGO_PKG_VERSION"));
        let config = ClientConfig::new(capabilities, us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE);
        Self { config, flights, upcalls, slots: Semaphore::new(MAX_QUESTIONS) }
    }
}

impl Service<RoleClient> for Handler {
    async fn handle_request(
        &self,
        request: ServerRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        if let ServerRequest::PingRequest(_) = request {
            return Ok(ClientResult::empty(()));
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            let text = format!("{MAX_QUESTIONS} questions wait already");
            return Err(ErrorData::internal_error(text, None));
        };
        let mut asked = match serde_json::to_value(&request) {
            Ok(Value::Object(asked)) => asked,
            _ => Map::new(),
        };
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let params = match asked.remove("params") {
            Some(Value::Object(params)) => params,
            _ => Map::new(),
        };
        let method = text(asked.remove("method"));
        let question = Question { id: context.id.to_string(), method, params };
        let origin = match context.extensions.get::<InboundStreamOrigin>() {
            Some(InboundStreamOrigin::OutboundRequest(id)) => Some(id),
            _ => None,
        };
        let call = self.flights.caller(origin);
        let answers = Arc::clone(&self.upcalls).ask(vec![question], call);
        tokio::select! {
            answers = answers => match answers {
                Ok(answers) => {
                    let answer = answers.into_values().next().unwrap_or_default();
                    Ok(ClientResult::CustomResult(CustomResult::new(answer)))
                }
                Err(it) => Err(ErrorData::new(ErrorCode(it.code), it.message, None)),
            },
            // Nobody reads this.
            () = context.ct.cancelled() => Err(ErrorData::internal_error("cancelled", None)),
        }
    }

    async fn handle_notification(
        &self,
        _: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        // Heard by the tap, in order.
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }
}
