//! All servers, a line each.

use super::build::Programs;
use crate::talk::Talk;

/// What a server is to a reader of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends back what comes: the least that any server does.
    Raw,
    /// The real program; where `echo` runs, and the audit's mode (`off`: none).
    A2e {
        run: &'static str,
        audit: &'static str,
    },
    /// A role of the program of the peers.
    Peer,
    /// As `Peer`, driven by its own client, 64 calls in flight.
    PeerWithClient,
    Redis,
    Nats,
    McpPython,
    A2ePython,
}

/// How a server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Pipe,
    Unix,
    Tcp,
}

/// A server as it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub name: &'static str,
    pub kind: Kind,
    pub wire: Wire,
    pub talk: Talk,
    /// What it is started as; empty for programs of others.
    pub role: &'static str,
    /// Whether it can carry rows of values, besides text.
    pub has_rows: bool,
    /// Whether it is measured with many connections.
    pub has_many: bool,
}

const fn entry(
    name: &'static str,
    kind: Kind,
    wire: Wire,
    talk: Talk,
    role: &'static str,
) -> Entry {
    Entry { name, kind, wire, talk, role, has_rows: true, has_many: true }
}

const fn a2e(name: &'static str, wire: Wire, run: &'static str, audit: &'static str) -> Entry {
    let has_many = !matches!(run.as_bytes(), b"blocking");
    Entry { has_many, ..entry(name, Kind::A2e { run, audit }, wire, Talk::A2e, "") }
}

const fn text_only(entry: Entry) -> Entry {
    Entry { has_rows: false, has_many: false, ..entry }
}

const fn one_link(entry: Entry) -> Entry {
    Entry { has_many: false, ..entry }
}

use Kind::{A2ePython, McpPython, Nats, Peer, PeerWithClient, Raw, Redis};
use Wire::{Pipe, Tcp, Unix};

/// Every server. The raw ones of a wire come first.
pub const ALL: &[Entry] = &[
    entry("echo, a write per line", Raw, Pipe, Talk::A2e, "echo-lines"),
    entry("echo, batched", Raw, Pipe, Talk::A2e, "echo-batches"),
    a2e("a2e inline", Pipe, "inline", "write"),
    a2e("a2e inline, audit off", Pipe, "inline", "off"),
    a2e("a2e inline, audit buffered", Pipe, "inline", "buffered"),
    a2e("a2e inline, audit sync", Pipe, "inline", "sync"),
    a2e("a2e pool", Pipe, "pool", "write"),
    a2e("a2e blocking", Pipe, "blocking", "write"),
    a2e("a2e future", Pipe, "future", "write"),
    entry("rmcp stdio", Peer, Pipe, Talk::Mcp, "rmcp-stdio"),
    entry("lsp-server", Peer, Pipe, Talk::Lsp, "lsp-server"),
    entry("tower-lsp-server", Peer, Pipe, Talk::Lsp, "tower-lsp-server"),
    text_only(entry("MCP Python SDK", McpPython, Pipe, Talk::Mcp, "")),
    text_only(entry("A2E Python SDK", A2ePython, Pipe, Talk::A2e, "")),
    entry("echo epoll, unix", Raw, Unix, Talk::A2e, "echo-epoll-unix"),
    entry("echo tokio, unix", Raw, Unix, Talk::A2e, "echo-tokio-unix"),
    a2e("a2e inline, unix", Unix, "inline", "write"),
    a2e("a2e inline, audit off, unix", Unix, "inline", "off"),
    a2e("a2e pool, unix", Unix, "pool", "write"),
    one_link(a2e("a2e blocking, unix", Unix, "blocking", "write")),
    a2e("a2e future, unix", Unix, "future", "write"),
    entry("rmcp, unix", Peer, Unix, Talk::Mcp, "rmcp-unix"),
    text_only(entry("tarpc, unix, own client", PeerWithClient, Unix, Talk::A2e, "tarpc")),
    text_only(entry("tonic, unix, own client", PeerWithClient, Unix, Talk::A2e, "tonic")),
    Entry {
        has_many: true,
        ..text_only(entry("redis-server ECHO, unix", Redis, Unix, Talk::Redis, ""))
    },
    entry("echo epoll, tcp", Raw, Tcp, Talk::A2e, "echo-epoll-tcp"),
    entry("echo tokio, tcp", Raw, Tcp, Talk::A2e, "echo-tokio-tcp"),
    a2e("a2e inline, tcp", Tcp, "inline", "write"),
    entry("jsonrpsee WebSocket, tcp", Peer, Tcp, Talk::WebSocket, "jsonrpsee"),
    text_only(entry("nats-server request, tcp", Nats, Tcp, Talk::Nats, "nats-responder")),
];

impl Entry {
    /// Whether its requests leave the reader, and wait where there is no room.
    pub fn waits_at_a_gate(&self) -> bool {
        matches!(self.kind, Kind::A2e { run, .. } if run != "inline")
    }

    /// Why it cannot be measured here; none if it can.
    pub fn is_missing(&self, programs: &Programs) -> Option<String> {
        match self.kind {
            Kind::Raw | Kind::A2e { .. } => None,
            Kind::Peer | Kind::PeerWithClient => programs.peers.as_ref().err().cloned(),
            Kind::Redis => programs.is_missing("redis-server"),
            Kind::Nats => programs.is_missing("nats-server"),
            Kind::McpPython => programs.mcp_python.as_ref().err().cloned(),
            Kind::A2ePython => programs.a2e_python.as_ref().err().cloned(),
        }
    }
}
