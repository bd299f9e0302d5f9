//! The checked configuration of the host itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{ApproveRule, Limits, ListenAddr, PluginConfig, PrincipalConfig, Secret};
use crate::protocol::id::random_hex;

/// A checked configuration. The host shares it and never changes it.
///
/// ```
/// use a2e_core::config::{HostConfig, PluginConfig};
/// let config = HostConfig::new().plugin(PluginConfig::new("demo", "tools", "a2e.demo"));
/// assert!(config.problems().is_empty());
/// assert_eq!(config.enabled_plugins().count(), 1);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostConfig {
    /// The name of this host; eight random hex digits where none is given.
    pub host_id: String,
    /// The address that `transport` listens at.
    pub server: ServerConfig,
    /// The token that a client must show in its handshake.
    pub auth_token: Option<Secret>,
    /// The token that a client must show to steer the host; it also opens all that `auth_token` opens.
    pub operator_token: Option<Secret>,
    /// How messages come in, where `listen` does not say it.
    pub transport: Option<TransportConfig>,
    /// The addresses to serve at; empty where the file gives none.
    pub listen: Vec<ListenAddr>,
    /// The audit log.
    pub audit: AuditConfig,
    /// Where the state of plugins is kept.
    pub snapshot_store: Option<SnapshotStoreConfig>,
    /// When the state of plugins is saved.
    pub snapshot_mode: SnapshotMode,
    /// How often the host saves it.
    pub snapshot_interval: Duration,
    /// How long a session that left can be resumed.
    pub session_ttl: Duration,
    /// The bounds of queues and buffers.
    pub limits: Limits,
    /// Calls that a person has to approve.
    pub approve: Vec<ApproveRule>,
    /// What tenants may have, by name.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// What to load, in this order.
    pub plugins: Vec<PluginConfig>,
    /// The sections of the file that belong to fronts of the program, under their keys; the host reads none.
    pub fronts: Vec<PluginConfig>,
}

/// `server`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// A name or an address; this machine only unless the file says more (R60).
    pub host: String,
    /// The port.
    pub port: u16,
    /// What encrypts.
    pub tls: Tls,
    /// Which peers of a Unix socket may steer the host; `None`: `token` where `operator_token` is
    /// given, else `same_uid`.
    pub operators: Option<Operators>,
    /// Peers that are known by tokens of their own, and what each may do.
    pub principals: Vec<PrincipalConfig>,
    /// Names that the `Host` of an HTTP request may have beside those of this machine, with the port
    /// where it is not the usual one (R63).
    pub allowed_hosts: Vec<String>,
    /// The `Origin`s whose pages may send requests; without any, no page may.
    pub allowed_origins: Vec<String>,
    /// How long an HTTP session without a stream or a request is kept (R27).
    pub session_idle: Duration,
}

/// `server.operators`: which peers of a Unix socket may steer the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operators {
    /// Those of the host's own user.
    SameUid,
    /// Those that shake hands with the operator token.
    Token,
}

/// An entry of `tenants`: what the sessions of one tenant may have together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantConfig {
    /// Requests in flight; more wait. `None`: as many as the host may have.
    pub max_in_flight: Option<usize>,
}

/// `server.tls`: what encrypts what leaves the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Nowhere.
    #[default]
    None,
    /// A proxy in front of the host.
    External,
    /// The host.
    Cert {
        /// The certificate chain, PEM.
        cert: PathBuf,
        /// The private key, PEM.
        key: PathBuf,
    },
}

/// `transport`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportConfig {
    /// POST and server-sent events at `server.host:port`.
    Http(HttpPaths),
    /// Inside one process: nothing listens.
    Direct,
    /// Standard input and output; `subprocess` in the reference.
    Stdio,
}

/// The paths of the http transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPaths {
    /// The address that clients use; the host listens at `server.host:port`.
    pub base_url: Option<String>,
    /// Takes messages.
    pub send_path: String,
    /// Gives the stream of messages.
    pub stream_path: String,
}

/// `audit`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditConfig {
    /// How records reach the disk; `Off` unless `enabled` is true.
    pub mode: AuditMode,
    /// The file; without one, records go to the log only.
    pub path: Option<PathBuf>,
    /// Bytes after which the file is rotated; 0 is never.
    pub max_bytes: u64,
    /// Rotated files that are kept.
    pub backup_count: u32,
    /// The source of `session_id`.
    pub session_id_source: SessionIdSource,
    /// The treatment of a request whose record cannot be kept; none: refuse in mode `sync`, else continue.
    pub on_error: Option<AuditOnError>,
    /// How much a record says of its request.
    pub detail: AuditDetail,
}

/// `audit.detail`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditDetail {
    /// Its type and outcome alone.
    None,
    /// Also what it was about: the fields that its type declares as its subject.
    #[default]
    Subject,
    /// Also the other fields of its message.
    Payload,
}

/// `audit.mode`: when a record is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// Nothing is recorded and no file is touched.
    Off,
    /// Written by a timer; kill -9 may lose the last 50 ms.
    Buffered,
    /// In the kernel before the replies of the batch: survives kill -9, not a power cut.
    Write,
    /// On the disk before that: survives a power cut.
    Sync,
}

impl AuditMode {
    /// The mode as configuration and `handshake/resp` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Buffered => "buffered",
            Self::Write => "write",
            Self::Sync => "sync",
        }
    }
}

/// `audit.on_error`: the treatment of a request whose record cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditOnError {
    /// It is answered as ever; the loss is counted, shown, and named in the file by a gap record.
    Continue,
    /// It is answered `audit_unavailable`.
    Refuse,
}

/// `audit.session_id_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionIdSource {
    /// One id for each session.
    Uuid,
    /// The id of the host.
    HostId,
}

/// `snapshot_store`.
#[derive(Clone, PartialEq, Eq)]
pub enum SnapshotStoreConfig {
    /// In memory, until the host ends.
    Memory,
    /// One file for each key below this folder.
    File {
        /// The folder.
        root: PathBuf,
    },
    /// One database.
    Sqlite {
        /// Its file.
        db_path: PathBuf,
    },
    /// A store that the embedder brings.
    Custom(Map<String, Value>),
}

impl fmt::Debug for SnapshotStoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::File { root } => f.debug_struct("File").field("root", root).finish(),
            Self::Sqlite { db_path } => f.debug_struct("Sqlite").field("db_path", db_path).finish(),
            // The values may hold secrets.
            Self::Custom(map) => f.debug_tuple("Custom").field(&map.keys()).finish(),
        }
    }
}

/// `snapshot_mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// The host saves.
    Host,
    /// Plugins save, the host never does.
    Plugin,
    /// Both.
    #[default]
    Hybrid,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8765,
            tls: Tls::None,
            operators: None,
            principals: Vec::new(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            session_idle: Duration::from_mins(30),
        }
    }
}

impl Default for HttpPaths {
    fn default() -> Self {
        Self { base_url: None, send_path: "/send".to_owned(), stream_path: "/stream".to_owned() }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            mode: AuditMode::Off,
            path: None,
            max_bytes: 10_485_760,
            backup_count: 5,
            session_id_source: SessionIdSource::Uuid,
            on_error: None,
            detail: AuditDetail::default(),
        }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            host_id: random_host_id(),
            server: ServerConfig::default(),
            auth_token: None,
            operator_token: None,
            transport: None,
            listen: Vec::new(),
            audit: AuditConfig::default(),
            snapshot_store: None,
            snapshot_mode: SnapshotMode::default(),
            snapshot_interval: Duration::from_secs(30),
            session_ttl: Duration::from_hours(1),
            limits: Limits::default(),
            approve: Vec::new(),
            tenants: BTreeMap::new(),
            plugins: Vec::new(),
            fronts: Vec::new(),
        }
    }
}

/// The id only tells hosts apart, so the process id is good enough where randomness fails.
fn random_host_id() -> String {
    match random_hex() {
        Ok(hex) => hex.chars().take(8).collect(),
        Err(_) => format!("{:08x}", std::process::id()),
    }
}
