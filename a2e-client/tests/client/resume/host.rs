//! A host by script: accepts connections, resumes sessions as the protocol says, dies when told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use a2e_client::{Client, ClientBuilder, ConnectionState, Reconnect};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Delays that tests can wait for.
pub(super) fn brisk() -> Reconnect {
    Reconnect::new().delays(Duration::from_millis(2), Duration::from_millis(20))
}

/// The agent of all tests here.
pub(super) fn agent() -> ClientBuilder {
    Client::builder().name("test").reconnect(brisk())
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Where the scripted host listens.
pub(super) struct Place {
    listener: Listener,
    pub(super) address: String,
    /// Goes with the place.
    _folder: Option<TempDir>,
}

impl Place {
    pub(super) fn unix() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a2e.sock");
        let address = format!("unix://{}", path.display());
        let listener = Listener::Unix(UnixListener::bind(path).unwrap());
        Self { listener, address, _folder: Some(folder) }
    }

    pub(super) async fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        Self { listener: Listener::Tcp(listener), address, _folder: None }
    }

    /// Waits for the client to connect.
    pub(super) async fn accept(&self) -> Peer {
        let accepting = async {
            match &self.listener {
                Listener::Unix(listener) => Peer::over(listener.accept().await.unwrap().0),
                Listener::Tcp(listener) => Peer::over(listener.accept().await.unwrap().0),
            }
        };
        tokio::time::timeout(PATIENCE, accepting).await.expect("the client connects")
    }

    /// Nobody connects for a while.
    pub(super) async fn is_left_alone(&self) -> bool {
        tokio::time::timeout(Duration::from_millis(150), self.accept()).await.is_err()
    }

    /// Connects a client while the host greets it; the session is `ring`'s.
    pub(super) async fn meet(&self, agent: ClientBuilder, ring: &mut Ring) -> (Client, Peer) {
        let address = self.address.clone();
        let connecting = tokio::spawn(async move { agent.connect_to(&address).await });
        let mut peer = self.accept().await;
        peer.greet(ring).await;
        (connecting.await.unwrap().unwrap(), peer)
    }
}

/// The host's end of one connection; dropping it cuts the connection.
pub(super) struct Peer {
    lines: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    sink: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Peer {
    pub(super) fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (source, sink) = tokio::io::split(stream);
        Self { lines: BufReader::new(Box::new(source)), sink: Box::new(sink) }
    }

    /// What the client sends next, as it is; `None` at the end.
    pub(super) async fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let reading = self.lines.read_line(&mut line);
        match tokio::time::timeout(PATIENCE, reading).await.expect("the client sends") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }

    /// What the client sends next.
    pub(super) async fn next(&mut self) -> Option<Value> {
        self.next_line().await.map(|line| serde_json::from_str(&line).expect("a JSON line"))
    }

    /// The next request, which must be of this type.
    pub(super) async fn expect(&mut self, wire_type: &str) -> Value {
        let request = self.next().await.expect("the client sends");
        assert_eq!(request["type"], wire_type, "{request}");
        request
    }

    /// Sends bytes as they are, if the client still reads.
    pub(super) async fn bytes(&mut self, bytes: &[u8]) {
        drop(self.sink.write_all(bytes).await);
        drop(self.sink.flush().await);
    }

    /// Sends a line that counts in the session.
    pub(super) async fn send(&mut self, ring: &mut Ring, message: Value) {
        let line = ring.push(&message);
        self.bytes(line.as_bytes()).await;
    }

    /// Answers an echo.
    pub(super) async fn answer(&mut self, ring: &mut Ring, request: &Value) {
        self.send(ring, echoed(request)).await;
    }

    /// Answers the handshake as the rules say, with what the ring has kept behind it in one write;
    /// returns the request.
    pub(super) async fn greet(&mut self, ring: &mut Ring) -> Value {
        let request = self.expect("handshake/req").await;
        let greeting = ring.greeting(&request);
        self.bytes(greeting.as_bytes()).await;
        request
    }
}

/// The reply to `test/echo/req`.
pub(super) fn echoed(request: &Value) -> Value {
    json!({ "type": "test/echo/resp", "req_id": request["id"], "text": request["text"] })
}

/// A push.
pub(super) fn notice(number: u64) -> Value {
    json!({ "type": "test/notice/push", "number": number })
}

/// What a host keeps of a session.
pub(super) struct Ring {
    pub(super) id: String,
    lines: VecDeque<String>,
    sent: u64,
    capacity: usize,
    /// The host was restarted: it has the session's state, and nothing else.
    pub(super) is_restarted: bool,
    /// Nobody asked for the session to be kept.
    is_resumable: bool,
}

impl Ring {
    pub(super) fn new(id: &str) -> Self {
        Self::of(id, usize::MAX)
    }

    /// Keeps the last `capacity` lines.
    pub(super) fn of(id: &str, capacity: usize) -> Self {
        let lines = VecDeque::new();
        Self { id: id.into(), lines, sent: 0, capacity, is_restarted: false, is_resumable: false }
    }

    /// Sends a line, into the ring only.
    pub(super) fn push(&mut self, message: &Value) -> String {
        let line = format!("{message}\n");
        self.sent += 1;
        self.lines.push_back(line.clone());
        if self.lines.len() > self.capacity {
            self.lines.pop_front();
        }
        line
    }

    /// The answer to a handshake, and what comes right behind it.
    pub(super) fn greeting(&mut self, request: &Value) -> String {
        let mut answer = json!({ "type": "handshake/resp", "req_id": request["id"], "ok": true });
        let mut kept = String::new();
        if let Some(resume) = request.get("resume") {
            let last = resume["last_seq"].as_u64().expect("a count");
            let is_ours = resume["session_id"] == self.id.as_str() && self.is_resumable;
            let (resumed, gap) = if !is_ours || (last > self.sent && !self.is_restarted) {
                (false, -1)
            } else if std::mem::take(&mut self.is_restarted) {
                (true, -1)
            } else {
                let missed = usize::try_from(self.sent - last).unwrap();
                let skipped = self.lines.len().saturating_sub(missed);
                kept = self.lines.iter().skip(skipped).map(String::as_str).collect();
                (true, i64::try_from(missed.saturating_sub(self.lines.len())).unwrap())
            };
            if !resumed || gap < 0 {
                self.sent = 0;
                self.lines.clear();
            }
            self.is_resumable = true;
            answer["resumed"] = json!(resumed);
            answer["gap"] = json!(gap);
        }
        answer["session_id"] = json!(self.id);
        format!("{answer}\n{kept}")
    }
}

/// Everything that a client saw, in order.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) states: Arc<Mutex<Vec<String>>>,
    pub(super) notices: Arc<Mutex<Vec<u64>>>,
}

impl Seen {
    /// Listens from the first line on.
    pub(super) fn by(&self, agent: ClientBuilder) -> ClientBuilder {
        let (states, notices) = (Arc::clone(&self.states), Arc::clone(&self.notices));
        agent.on_state(move |state| states.lock().unwrap().push(short(state))).on_push(
            "test/notice/push",
            move |message| {
                let number = message.decode::<crate::probe::Notice>().unwrap().number;
                notices.lock().unwrap().push(number);
            },
        )
    }

    pub(super) fn states(&self) -> Vec<String> {
        self.states.lock().unwrap().clone()
    }

    pub(super) fn notices(&self) -> Vec<u64> {
        self.notices.lock().unwrap().clone()
    }

    /// Waits for exactly this many pushes.
    pub(super) async fn heard(&self, count: usize) {
        crate::support::until("pushes", || self.notices.lock().unwrap().len() >= count).await;
    }
}

/// A state without its reasons.
fn short(state: &ConnectionState) -> String {
    match state {
        ConnectionState::Reconnecting { attempt, .. } => format!("attempt {attempt}"),
        ConnectionState::Closed(_) => "closed".into(),
        other => other.to_string(),
    }
}

/// Waits until the client says that it is connected again after `count` losses.
pub(super) async fn back(client: &Client, count: u64) {
    crate::support::until("the return", || client.stats().reconnects == count).await;
}

/// Waits until the client has noticed the loss.
pub(super) async fn away(client: &Client) {
    let is_away = || matches!(client.state(), ConnectionState::Reconnecting { .. });
    crate::support::until("the loss", is_away).await;
}
