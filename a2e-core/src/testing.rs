//! The test kit (feature `test-util`): a manual clock, and a host that a test talks to line by line.
//!
//! ```
//! # use a2e_core::{Result, message, register_plugin};
//! # use a2e_core::request::Call;
//! # use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
//! # use serde::{Deserialize, Serialize};
//! # #[derive(Deserialize)] struct EchoRequest { text: String }
//! # #[derive(Serialize)] struct EchoResponse { text: String }
//! # message!(EchoResponse, "echo/resp");
//! # message!(EchoRequest, "echo/req" => EchoResponse, First);
//! # #[derive(Deserialize)] struct NoConfig {}
//! # struct Echo;
//! # impl Echo {
//! #     fn echo(&self, request: EchoRequest, _: &Call) -> Answer<EchoResponse> {
//! #         Ok(EchoResponse { text: request.text }.into())
//! #     }
//! # }
//! # impl Plugin for Echo { fn handlers(on: &mut Handlers<Self>) { on.inline(Echo::echo); } }
//! # register_plugin!(Echo, cls = "doc.Echo", capability = "test", config = NoConfig,
//! #     build = |_: NoConfig, _: &Host| Ok(Echo));
//! use a2e_core::config::{HostConfig, PluginConfig};
//! use a2e_core::testing::TestHost;
//! use serde_json::json;
//!
//! # let runtime = tokio::runtime::Runtime::new().unwrap();
//! # runtime.block_on(async {
//! let config = HostConfig::new().plugin(PluginConfig::new("echo", "test", "doc.Echo"));
//! let host = TestHost::start(config).await;
//! let mut session = host.session();
//! let reply = session.call("echo/req", json!({ "text": "hi" })).await;
//! assert_eq!(reply["text"], "hi");
//! host.stop().await;
//! # });
//! ```
//!
//! Everything here panics when a test's expectation does not hold; it is for tests only.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test kit fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::clock::{Clock, Time};
use crate::codec::{LineBuffer, LineItem};
use crate::config::HostConfig;
use crate::executor::{Builder, Executor, StartError};
use crate::sync::Mutex;
use crate::transport::{Connection, Identity};

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Time>);

impl ManualClock {
    /// A clock at zero on both scales.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Moves both scales forward.
    pub fn advance(&self, by: Duration) {
        let mut time = self.0.lock();
        time.mono += by;
        time.wall += by;
    }

    /// Moves the wall clock alone, as an operator or a time server would.
    pub fn set_wall(&self, wall: Duration) {
        self.0.lock().wall = wall;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.lock()
    }
}

/// A host inside the test.
#[derive(Debug)]
pub struct TestHost {
    executor: Executor,
}

impl TestHost {
    /// Starts a host with this configuration and every plugin class that is linked.
    pub async fn start(config: HostConfig) -> Self {
        Self::build(Executor::builder(config)).await.expect("the host starts")
    }

    /// As [`start`](Self::start), with what there is: also without any plugin, and with settings that do
    /// not hold.
    pub async fn lenient(config: HostConfig) -> Self {
        Self::build(Executor::builder(config).lenient()).await.expect("the host starts")
    }

    /// Starts a host that was configured further.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub async fn build(builder: Builder) -> Result<Self, StartError> {
        Ok(Self { executor: builder.start().await? })
    }

    /// The host itself.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Opens a session.
    pub fn session(&self) -> TestSession {
        TestSession::over(self.executor.connect())
    }

    /// Opens a session of an operator.
    pub fn operator(&self) -> TestSession {
        TestSession::over(self.executor.connect_as(Identity::operator()))
    }

    /// Waits until `done` holds for the host's status.
    pub async fn until(&self, what: &str, done: impl Fn(&crate::executor::HostStatus) -> bool) {
        let wait = async {
            while !done(&self.executor.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(reached, "{what} was not reached: {:#?}", self.executor.status());
    }

    /// Ends the host at once.
    pub async fn stop(self) {
        self.executor.shutdown(Duration::ZERO).await;
    }
}

/// A client that knows nothing but lines.
pub struct TestSession {
    connection: Connection,
    lines: LineBuffer,
    next_id: u64,
    /// Messages that came while a reply was awaited.
    others: Vec<Value>,
}

show!(TestSession, others: |it| it.others);

impl TestSession {
    /// Speaks over any connection.
    pub fn over(connection: Connection) -> Self {
        Self { connection, lines: LineBuffer::new(64 << 20), next_id: 1, others: Vec::new() }
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.connection.sink.try_write(bytes) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.connection.sink.ready().await.expect("the host reads");
                }
                Err(error) => panic!("the host does not read: {error}"),
            }
        }
    }

    /// Sends one line.
    pub async fn send_line(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes()).await;
    }

    /// Sends a request and returns its id.
    pub async fn send(&mut self, wire_type: &str, body: Value) -> String {
        let id = format!("t{}", self.next_id);
        self.next_id += 1;
        let mut message = body;
        message["type"] = json!(wire_type);
        message["id"] = json!(id);
        self.send_line(&message.to_string()).await;
        id
    }

    /// The next message, in the order of arrival; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        if !self.others.is_empty() {
            return Some(self.others.remove(0));
        }
        self.next_from_wire().await
    }

    async fn next_from_wire(&mut self) -> Option<Value> {
        let wait = async {
            loop {
                match self.lines.next_item() {
                    Some(LineItem::Line(length)) => {
                        let line = self.lines.front(length).to_vec();
                        self.lines.consume(length);
                        let mut json = serde_json::Deserializer::from_slice(&line);
                        // A reply may wrap what was accepted, beyond the limit of `serde_json`.
                        json.disable_recursion_limit();
                        let message = Value::deserialize(&mut json).expect("a JSON line");
                        assert!(message["type"].is_string(), "a message has a type: {message}");
                        assert!(line.is_ascii(), "only ASCII is written");
                        return Some(message);
                    }
                    Some(LineItem::TooLong) => panic!("a line of more than 64 MiB"),
                    None => {}
                }
                self.lines.prepare(64 * 1024);
                let read = self.connection.source.read_buf(self.lines.buffer()).await;
                if read.expect("the stream is readable") == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a message comes in time")
    }

    /// Waits for the one answer to `id`; other messages are kept for [`next`](Self::next).
    pub async fn reply_to(&mut self, id: &str) -> Value {
        if let Some(at) = self.others.iter().position(|it| is_answer(it, id)) {
            return self.others.remove(at);
        }
        loop {
            let message = self.next_from_wire().await.expect("the stream stands until the reply");
            if is_answer(&message, id) {
                return message;
            }
            self.others.push(message);
        }
    }

    /// Sends a request and waits for its answer, an `error` included.
    pub async fn call(&mut self, wire_type: &str, body: Value) -> Value {
        let id = self.send(wire_type, body).await;
        self.reply_to(&id).await
    }

    /// As [`call`](Self::call), for calls that must fail: the error's code.
    pub async fn call_error(&mut self, wire_type: &str, body: Value) -> String {
        let reply = self.call(wire_type, body).await;
        assert_eq!(reply["type"], "error", "{reply}");
        reply["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Shakes hands and returns the response.
    pub async fn handshake(&mut self, capabilities: &[&str]) -> Value {
        self.call("handshake/req", json!({ "agent_id": "test", "agent_caps": capabilities })).await
    }

    /// Ends the input of the host and gives back everything that still comes.
    pub async fn finish(mut self) -> Vec<Value> {
        self.connection.sink.close();
        let mut rest = Vec::new();
        while let Some(message) = self.next().await {
            rest.push(message);
        }
        rest
    }

    /// What came and was not asked for yet, without waiting.
    pub fn others(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.others)
    }
}

/// Events carry the id of a request too; its answer is what ends it.
fn is_answer(message: &Value, id: &str) -> bool {
    let kind = message["type"].as_str().unwrap_or_default();
    message["req_id"] == id && !kind.ends_with("/event") && !kind.ends_with("/push")
}
