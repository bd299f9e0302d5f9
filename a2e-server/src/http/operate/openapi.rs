//! `GET /api/openapi.json`: the routes of this host as an `OpenAPI` 3.1 document.
//!
//! Made from the table that makes the routes, and from the schemas of the messages: `OpenAPI` 3.1 takes
//! JSON Schema as it is.

use std::sync::Arc;

use a2e_core::schema::MessageClass;
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::{OPERATIONS, Operation, PREFIX};
use crate::http::Shared;
use crate::http::resource::WELL_KNOWN;

pub(super) async fn document(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let paths = shared.executor.config().http_paths();
    let mut routes = Map::new();
    for operation in &OPERATIONS {
        routes.insert(format!("{PREFIX}{}", operation.path), of_message(operation));
    }
    for (path, method, about, is_operators) in [
        ("/session", "post", "Open a session", false),
        ("/session", "delete", "End the session of X-Session-Id", false),
        (&paths.send_path, "post", "Send one message, or several lines of them", false),
        (&paths.stream_path, "get", "The messages of the session as server-sent events", false),
        ("/ws", "get", "A WebSocket whose text frames are messages", false),
        ("/health", "get", "Whether the host serves", false),
        (WELL_KNOWN, "get", "How to ask with a token (RFC 9728)", false),
        ("/metrics", "get", "The status as Prometheus reads it", true),
        ("/api/audit", "get", "Records of the audit, the newest first", true),
        ("/api/openapi.json", "get", "This document", true),
    ] {
        let entry = routes.entry(path.to_owned()).or_insert_with(|| json!({}));
        if let Some(methods) = entry.as_object_mut() {
            methods.insert(method.to_owned(), plain(about, is_operators));
        }
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "A2E host",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Messages are those of the A2E protocol; `a2e schema` describes them.",
        },
        "paths": routes,
        "components": {
            "securitySchemes": { "operator": { "type": "http", "scheme": "bearer" } },
        },
    }))
}

fn of_message(operation: &Operation) -> Value {
    let request = schema(operation.wire_type);
    let reply_type = operation.wire_type.replace("/req", "/resp");
    let mut entry = plain(operation.about, true);
    if let Some(entry) = entry.as_object_mut() {
        if operation.is_change {
            let body = json!({ "content": { "application/json": { "schema": request } } });
            entry.insert("requestBody".to_owned(), body);
        }
        let reply = json!({
            "description": reply_type,
            "content": { "application/json": { "schema": schema(&reply_type) } },
        });
        entry.insert("responses".to_owned(), json!({ "200": reply }));
    }
    let method = if operation.is_change { "post" } else { "get" };
    json!({ method: entry })
}

fn plain(about: &str, is_operators: bool) -> Value {
    let security = if is_operators { json!([{ "operator": [] }]) } else { json!([]) };
    json!({
        "summary": about,
        "security": security,
        "responses": { "200": { "description": about } },
    })
}

/// The schema of a message; of one that is not described, any object.
fn schema(wire_type: &str) -> Value {
    let classes = MessageClass::linked();
    let class = classes.iter().find(|class| class.wire_type == wire_type);
    class.and_then(|class| class.schema()).unwrap_or_else(|| json!({ "type": "object" }))
}
