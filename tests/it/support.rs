//! What the kernel's tests share: hosts, a client that sees raw lines, audit records, the end of a scenario.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{AuditMode, HostConfig, PluginConfig};
use a2e_core::executor::{HostStatus, PluginStatus};
use a2e_core::testing::{ManualClock, TestHost, TestSession};
use a2e_core::transport::{Connection, Peer, from_pipes, from_tcp, from_unix};
use serde_json::{Value, json};
use tokio::net::unix::pipe;

/// No wait in these tests is longer, so that a lost answer fails its test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A plugin of class `test.<class>` under this name.
pub(crate) fn plugin(name: &str, class: &str) -> PluginConfig {
    PluginConfig::new(name, "test", format!("test.{class}"))
}

/// A `test.Script` that runs where `run` says and does `act` unless the request says otherwise.
pub(crate) fn script(name: &str, run: &str, act: &str) -> PluginConfig {
    plugin(name, "Script").with_setting("run", run).with_setting("act", act)
}

/// Changes what the host reads of a plugin.
pub(crate) fn tuned(
    mut plugin: PluginConfig,
    tune: impl FnOnce(&mut a2e_core::config::PluginMeta),
) -> PluginConfig {
    tune(&mut plugin.metadata);
    plugin
}

/// A configuration with these plugins.
pub(crate) fn with(plugins: impl IntoIterator<Item = PluginConfig>) -> HostConfig {
    plugins.into_iter().fold(HostConfig::new(), HostConfig::plugin)
}

/// The same, with an audit file in mode `write`.
pub(crate) fn audited(mut config: HostConfig, path: &Path) -> HostConfig {
    config.audit.mode = AuditMode::Write;
    config.audit.path = Some(path.to_owned());
    config
}

/// A host whose time stands still until the test moves it.
pub(crate) async fn clocked(config: HostConfig) -> (TestHost, Arc<ManualClock>) {
    let clock = ManualClock::new();
    let builder = Executor::builder(config).clock(clock.clone());
    (TestHost::build(builder).await.unwrap(), clock)
}

/// The records of an audit file, without the lines between them.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // What stands behind the last newline is being written at this moment.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line.get("outcome").is_some()).collect()
}

/// The records of one request.
pub(crate) fn records_of(path: &Path, req_id: &str) -> Vec<Value> {
    let mut found = records(path);
    found.retain(|record| record["req_id"] == req_id);
    found
}

/// One plugin's status.
pub(crate) fn of(status: &HostStatus, name: &str) -> PluginStatus {
    status.plugins.iter().find(|it| it.name == name).cloned().unwrap()
}

/// A counter of the host.
pub(crate) fn counter(host: &TestHost, name: &str) -> u64 {
    host.executor().status().counters[name]
}

/// Nothing of any request is left.
pub(crate) fn is_idle(status: &HostStatus) -> bool {
    let runs = |plugin: &PluginStatus| plugin.running + plugin.queued + plugin.stuck;
    status.in_flight == 0
        && status.waiting == 0
        && status.unsent_bytes == 0
        && status.children == 0
        && status.plugins.iter().map(runs).sum::<usize>() == 0
}

/// Waits until nothing of any request is left; the sessions may stay.
pub(crate) async fn settled(host: &TestHost) {
    host.until("a settled host", is_idle).await;
}

/// Ends a scenario: the sessions are closed by now, and nothing of them may be left.
pub(crate) async fn end(host: TestHost) {
    host.until("a host with nothing left", |it| it.sessions == 0 && is_idle(it)).await;
    stop(host).await;
}

/// Ends the host and checks that it does not take long.
pub(crate) async fn stop(host: TestHost) {
    tokio::time::timeout(PATIENCE, host.stop()).await.expect("the host ends in time");
}

/// A session over a Unix socket.
pub(crate) fn socket(host: &TestHost) -> TestSession {
    TestSession::over(socket_end(host))
}

/// The client's end of a session over a Unix socket.
pub(crate) fn socket_end(host: &TestHost) -> Connection {
    let (client, server) = tokio::net::UnixStream::pair().unwrap();
    host.executor().spawn(from_unix(server));
    from_unix(client)
}

/// The client's end of a session over TCP.
async fn tcp_end(host: &TestHost) -> Connection {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    host.executor().spawn(from_tcp(server));
    from_tcp(client)
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Memory,
    Socket,
    Tcp,
    Stdio,
}

impl Carrier {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Socket, Self::Tcp, Self::Stdio];

    /// The client's end of a session over it.
    pub(crate) async fn connect(self, host: &TestHost) -> Connection {
        match self {
            Self::Memory => host.executor().connect(),
            Self::Socket => socket_end(host),
            Self::Tcp => tcp_end(host).await,
            Self::Stdio => stdio_end(host),
        }
    }

    /// A session over it.
    pub(crate) async fn open(self, host: &TestHost) -> TestSession {
        TestSession::over(self.connect(host).await)
    }
}

/// The client's end of a session over pipes that the host takes for its standard streams.
pub(crate) fn stdio_end(host: &TestHost) -> Connection {
    let (to_host, from_client) = pipe::pipe().unwrap();
    let (to_client, from_host) = pipe::pipe().unwrap();
    let peer = Peer { is_stdio: true, ..Peer::named("stdio") };
    host.executor().spawn(from_pipes(from_client, to_client, peer));
    from_pipes(from_host, to_host, Peer::named("host"))
}

/// The next message; the stream must stand.
pub(crate) async fn next(session: &mut TestSession) -> Value {
    session.next().await.expect("a message")
}

/// Checks that the session still serves.
pub(crate) async fn serves(session: &mut TestSession) {
    assert_eq!(session.call("ping", json!({})).await["type"], "pong");
}

/// Checks that nothing but the pong of a ping that follows comes.
pub(crate) async fn silent(session: &mut TestSession) {
    let id = session.send("ping", json!({})).await;
    let message = next(session).await;
    assert_eq!((&message["type"], &message["req_id"]), (&json!("pong"), &json!(id)), "{message}");
}

/// A monotonic time; tests may measure how long something takes.
pub(crate) fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
