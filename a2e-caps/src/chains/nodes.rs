//! What a node does: a request to the capability that can, in the session of the chain.

use std::time::Duration;

use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::{Call, SessionHandle};
use a2e_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::protocol::{ChainNode, NodeKind};

/// The pause between two looks at a process, at first and at most.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// How long a node that was cancelled waits for the end of its chain. The end of a session ends its requests one
/// by one, and no further node may begin in between.
const CHAIN_END: Duration = Duration::from_secs(1);

/// Runs nodes on behalf of one call.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) call: Call,
    pub(super) host: Host,
}

impl Worker {
    /// Runs a node; dropping the future cancels what it asked for.
    ///
    /// # Errors
    /// What the other capability answered, or said in its reply.
    pub(super) async fn run(
        &self,
        node: &ChainNode,
        arguments: &Map<String, Value>,
        left: Duration,
    ) -> Result<Value> {
        let done = self.start(node, arguments, left).await;
        let ends = [ErrorCode::Cancelled, ErrorCode::ShuttingDown];
        if done.as_ref().is_err_and(|error| ends.contains(error.code()))
            && tokio::time::timeout(CHAIN_END, self.call.cancelled()).await.is_ok()
        {
            // The host drops the chain.
            std::future::pending::<()>().await;
        }
        done
    }

    async fn start(
        &self,
        node: &ChainNode,
        arguments: &Map<String, Value>,
        left: Duration,
    ) -> Result<Value> {
        let timeout = left.as_secs().saturating_add(1);
        match node.kind {
            NodeKind::Tool => {
                let tool_name = Some(node.name.as_str());
                let body = Asked { tool_name, name: None, arguments, streaming: false, timeout };
                self.result("tool/call/req", &body).await
            }
            NodeKind::Skill => {
                let name = Some(node.name.as_str());
                let body = Asked { tool_name: None, name, arguments, streaming: false, timeout };
                self.result("skill/call/req", &body).await
            }
            NodeKind::Proc => self.process(arguments, timeout).await,
            NodeKind::Branch | NodeKind::Map => {
                Err(Error::internal("a router does nothing itself"))
            }
        }
    }

    /// Asks for a tool or skill, and takes the output out of the reply.
    async fn result(&self, wire_type: &str, body: &Asked<'_>) -> Result<Value> {
        let Reply { data, error } = self.ask(wire_type, body).await?;
        let failed = |code: Option<String>, text: Option<String>| {
            let code = code.filter(|it| !it.is_empty()).map(|it| ErrorCode::parse(&it));
            let text = text.unwrap_or_else(|| "it failed and did not say why".to_owned());
            Error::new(code.unwrap_or(ErrorCode::RuntimeError), text)
        };
        match (data, error) {
            (Some(it), None) if it.success => Ok(it.data),
            (_, Some(error)) => Err(failed(error.code, error.message)),
            (Some(it), None) => Err(failed(it.error_code, it.error)),
            (None, None) => Err(failed(None, None)),
        }
    }

    /// Runs a program to its end, whatever that is.
    async fn process(&self, arguments: &Map<String, Value>, timeout: u64) -> Result<Value> {
        let mut body = Map::new();
        body.insert("cmd".to_owned(), command(arguments)?);
        body.insert("stdin_mode".to_owned(), "null".into());
        body.insert("timeout".to_owned(), timeout.into());
        for key in ["cwd", "env"] {
            body.extend(arguments.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        let spawned: Spawned = self.ask("proc/spawn/req", &Value::Object(body)).await?;
        if !spawned.ok {
            let code = spawned.code.map_or(ErrorCode::RuntimeError, |it| ErrorCode::parse(&it));
            return Err(Error::new(code, spawned.error));
        }
        let mut running = Running::new(self, spawned.proc_id);
        let mut pause = FIRST_LOOK;
        let asked = json!({ "proc_id": running.proc_id });
        loop {
            tokio::time::sleep(pause).await;
            let Seen { status } = self.ask("proc/status/req", &asked).await?;
            if status != "running" {
                running.has_ended = true;
                return Ok(json!({ "proc_id": running.proc_id, "status": status }));
            }
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        wire_type: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let reply = self.call.to_route().request_raw(wire_type, body).await?;
        reply.decode().map_err(|error| {
            Error::internal(format!("the reply to `{wire_type}` is not understood: {error}"))
        })
    }
}

/// Of `tool/call/req` and `skill/call/req`: what is said in them, not copied for it.
#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a Map<String, Value>,
    streaming: bool,
    timeout: u64,
}

/// Of `tool/call/resp` and `skill/call/resp`: what is needed of them.
#[derive(Deserialize)]
struct Reply {
    data: Option<Ran>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Ran {
    success: bool,
    #[serde(default)]
    data: Value,
    error: Option<String>,
    error_code: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Spawned {
    ok: bool,
    #[serde(default)]
    proc_id: String,
    #[serde(default)]
    error: String,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Seen {
    status: String,
}

/// A process that is ended when the chain waits for it no longer.
struct Running {
    host: Host,
    session: SessionHandle,
    proc_id: String,
    has_ended: bool,
}

impl Running {
    fn new(worker: &Worker, proc_id: String) -> Self {
        let (host, session) = (worker.host.clone(), worker.call.session());
        Self { host, session, proc_id, has_ended: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let (host, session) = (self.host.clone(), self.session.clone());
        let body = json!({ "proc_id": self.proc_id });
        self.host.spawn(async move {
            // A session that has ended has ended its processes.
            let Ok(asked) = host.ask_in(&session) else { return };
            if let Err(error) = asked.request_raw("proc/kill/req", &body).await {
                tracing::warn!(%error, "a process of a chain was not ended");
            }
        });
    }
}

/// `command`, or else `cmd`: a list, or a text that is split at spaces.
fn command(arguments: &Map<String, Value>) -> Result<Value> {
    let given = ["command", "cmd"].iter().find_map(|key| Some((*key, arguments.get(*key)?)));
    match given {
        Some((_, Value::String(text))) => Ok(text.split_whitespace().collect()),
        Some((_, list @ Value::Array(parts))) if parts.iter().all(Value::is_string) => {
            Ok(list.clone())
        }
        Some((key, _)) => Err(Error::schema(key, "expected a text or a list of texts")),
        None => Err(Error::schema("command", "is missing")),
    }
}
