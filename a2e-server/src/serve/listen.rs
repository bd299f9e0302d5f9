//! Sockets that are listened at: bound safely, accepted without ever spinning.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, ListenAddr, Tls};
use a2e_core::transport::{Peer, from_tcp, from_unix};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "tls")]
use super::tls::{self, Certificate};
use crate::Failure;
#[cfg(feature = "http")]
use crate::http::{HostNames, HttpFront};
#[cfg(all(feature = "http", feature = "mcp-server"))]
use crate::serve::mcp::McpFront;

/// The pause after an accept that failed, doubled up to the second one.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often, and how far apart, the lock of a folder is tried: 5 s in all. Hosts hold it for the time
/// of a bind.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// One bound address.
pub(crate) struct Listener {
    address: String,
    kind: Kind,
    #[cfg(feature = "tls")]
    tls: Option<Certificate>,
    #[cfg(all(feature = "http", feature = "mcp-server"))]
    mcp: Option<Arc<McpFront>>,
}

enum Kind {
    Tcp(TcpListener),
    #[cfg(feature = "http")]
    Http(TcpListener, HostNames),
    /// The file goes with the listener.
    Unix(UnixListener, #[expect(dead_code, reason = "kept for its drop")] SocketFile),
}

/// A peer that has connected.
enum Accepted {
    Unix(UnixStream),
    Tcp(TcpStream, SocketAddr),
}

/// Where the peers of one address go.
#[derive(Clone)]
struct Served {
    executor: Arc<Executor>,
    /// Where the address speaks HTTP.
    #[cfg(feature = "http")]
    http: Option<Arc<HttpFront>>,
}

impl Served {
    /// Serves a peer on a stream without TLS.
    #[cfg_attr(not(feature = "http"), expect(unused_variables, reason = "lines ask the stream"))]
    fn plain(&self, stream: TcpStream, peer: SocketAddr) {
        #[cfg(feature = "http")]
        if let Some(http) = &self.http {
            return http.spawn(stream, peer);
        }
        // The session reports for itself.
        drop(self.executor.spawn(from_tcp(stream)));
    }

    /// Serves a peer once it has agreed on keys.
    #[cfg(feature = "tls")]
    async fn behind_tls(self, tls: Certificate, stream: TcpStream, peer: SocketAddr) {
        let stream = match tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, %peer, "no TLS"),
        };
        #[cfg(feature = "http")]
        if let Some(http) = &self.http {
            return http.spawn(stream, peer);
        }
        drop(self.executor.spawn(tls::lines(stream)));
    }
}

impl Listener {
    /// Binds an address.
    pub(crate) async fn bind(address: &ListenAddr, config: &HostConfig) -> Result<Self, Failure> {
        if let Some(problem) = config.check_address(address) {
            return Err(Failure::refused(problem));
        }
        let kind = match address {
            ListenAddr::Tcp { host, port } => Kind::Tcp(bind_tcp("tcp", host, *port).await?),
            ListenAddr::Unix(path) => bind_unix(path).await?,
            #[cfg(feature = "http")]
            ListenAddr::Http { host, port } => {
                let listener = bind_tcp("http", host, *port).await?;
                let port = listener.local_addr().map_or(*port, |bound| bound.port());
                Kind::Http(listener, HostNames::new(host, port, &config.server))
            }
            other => {
                let text = format!("`{other}` is not served by this build");
                return Err(Failure::refused(text));
            }
        };
        let address = match &kind {
            Kind::Tcp(listener) => bound_address("tcp", listener, address),
            #[cfg(feature = "http")]
            Kind::Http(listener, _) => bound_address("http", listener, address),
            Kind::Unix(..) => address.to_string(),
        };
        #[cfg(feature = "tls")]
        let tls = match &config.server.tls {
            Tls::Cert { cert, key } if !matches!(kind, Kind::Unix(..)) => {
                Some(Certificate::load(cert, key)?)
            }
            _ => None,
        };
        #[cfg(not(feature = "tls"))]
        if matches!(config.server.tls, Tls::Cert { .. }) && !matches!(kind, Kind::Unix(..)) {
            let text = "server.tls names a certificate, and this build has no TLS (feature `tls`)";
            return Err(Failure::refused(text));
        }
        Ok(Self {
            address,
            kind,
            #[cfg(feature = "tls")]
            tls,
            #[cfg(all(feature = "http", feature = "mcp-server"))]
            mcp: None,
        })
    }

    /// The address in force.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether every user of the machine can connect.
    pub(crate) fn is_tcp(&self) -> bool {
        !matches!(self.kind, Kind::Unix(..))
    }

    /// Whether it speaks HTTP.
    #[cfg(feature = "mcp-server")]
    pub(crate) fn is_http(&self) -> bool {
        #[cfg(feature = "http")]
        return matches!(self.kind, Kind::Http(..));
        #[cfg(not(feature = "http"))]
        return false;
    }

    /// Serves MCP as well, where it speaks HTTP and the settings say so.
    #[cfg(all(feature = "http", feature = "mcp-server"))]
    pub(crate) fn with_mcp(mut self, front: &Arc<McpFront>) -> Self {
        self.mcp = front.settings.enabled.then(|| Arc::clone(front));
        self
    }

    /// Serves every peer that connects, until `ended`; over HTTP also until the last answer has left.
    pub(crate) async fn accept(self, executor: Arc<Executor>, ended: CancellationToken) {
        let served = Served {
            #[cfg(feature = "http")]
            http: match &self.kind {
                Kind::Http(_, names) => {
                    let executor = Arc::clone(&executor);
                    let front = HttpFront::new(
                        executor,
                        names.clone(),
                        ended.clone(),
                        #[cfg(feature = "mcp-server")]
                        self.mcp.as_ref(),
                    );
                    Some(Arc::new(front))
                }
                _ => None,
            },
            executor,
        };
        let mut pause = BACK_OFF.0;
        loop {
            let accepted = tokio::select! {
                accepted = self.next() => accepted,
                () = ended.cancelled() => break,
            };
            match accepted {
                Ok(accepted) => {
                    pause = BACK_OFF.0;
                    self.serve(accepted, &served);
                }
                Err(error) => {
                    // Out of descriptors, or a peer that left in the queue: never fatal.
                    tracing::warn!(%error, address = %self.address, "accept failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
        #[cfg(feature = "http")]
        if let Some(http) = served.http {
            http.finish().await;
        }
    }

    async fn next(&self) -> io::Result<Accepted> {
        let (stream, peer) = match &self.kind {
            Kind::Tcp(listener) => listener.accept().await?,
            #[cfg(feature = "http")]
            Kind::Http(listener, _) => listener.accept().await?,
            Kind::Unix(listener, _) => return Ok(Accepted::Unix(listener.accept().await?.0)),
        };
        Ok(Accepted::Tcp(stream, peer))
    }

    fn serve(&self, accepted: Accepted, served: &Served) {
        match accepted {
            Accepted::Unix(stream) => {
                let connection = from_unix(stream);
                if self.is_welcome(&connection.peer) {
                    // The session reports for itself.
                    drop(served.executor.spawn(connection));
                }
            }
            Accepted::Tcp(stream, peer) => {
                if let Err(error) = prepare(&stream) {
                    tracing::debug!(%error, %peer, "socket options");
                }
                #[cfg(feature = "tls")]
                if let Some(tls) = &self.tls {
                    let (served, tls) = (served.clone(), tls.clone());
                    tokio::spawn(served.behind_tls(tls, stream, peer));
                    return;
                }
                served.plain(stream, peer);
            }
        }
    }

    /// On a Unix socket, our own user and root.
    fn is_welcome(&self, peer: &Peer) -> bool {
        let Kind::Unix(..) = &self.kind else { return true };
        let own = nix::unistd::geteuid().as_raw();
        let is_welcome = peer.uid.is_some_and(|uid| uid == own || uid == 0);
        if !is_welcome {
            tracing::warn!(peer = %peer.name, "refused: another user's process");
        }
        is_welcome
    }
}

/// How long what was sent may wait for a peer that takes nothing, milliseconds: longer than the session's own limit,
/// which cuts plain lines, and the only one behind TLS, HTTP and WebSocket.
const UNTAKEN_LIMIT_MS: u32 = 30_000;

/// Small writes leave at once; a peer that vanished without a word is noticed after two minutes, also
/// where nothing is sent: most clients never say goodbye. One that is there and reads nothing is cut.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &60)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &20)?;
    setsockopt(stream, sockopt::TcpKeepCount, &3)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &UNTAKEN_LIMIT_MS)?;
    Ok(())
}

/// Port 0 was chosen by the system.
fn bound_address(scheme: &str, listener: &TcpListener, asked: &ListenAddr) -> String {
    let bound = listener.local_addr();
    bound.map_or_else(|_| asked.to_string(), |bound| format!("{scheme}://{bound}"))
}

async fn bind_tcp(scheme: &str, host: &str, port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((host, port)).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there; choose another port".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::refused(format_args!("cannot listen at {scheme}://{host}:{port}: {why}"))
    })
}

/// A socket file that is removed when its listener goes, if it is still the same file.
struct SocketFile {
    path: PathBuf,
    inode: Option<u64>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let inode = std::fs::symlink_metadata(&self.path).ok().map(|meta| meta.ino());
        if inode.is_some() && inode == self.inode {
            // It may be gone by now, which is what we want.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

async fn bind_unix(path: &Path) -> Result<Kind, Failure> {
    let refused = |why: String| {
        Failure::refused(format_args!("cannot listen at unix://{}: {why}", path.display()))
    };
    let folder = folder_of(path).map_err(refused)?;
    let _locked = lock_folder(folder).await.map_err(refused)?;
    clear_stale(path).await.map_err(refused)?;
    // The file is private from its first moment.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(|error| refused(error.to_string()))?;
    let inode = std::fs::symlink_metadata(path).ok().map(|meta| meta.ino());
    Ok(Kind::Unix(listener, SocketFile { path: path.to_owned(), inode }))
}

/// The folder of a socket; one that is missing is not made in silence, one in which anyone may replace
/// the socket is refused.
fn folder_of(path: &Path) -> Result<&Path, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => Err(format!("{shown} is not a folder")),
        Ok(meta) if meta.permissions().mode() & 0o002 != 0 => {
            Err(format!("everyone may write in {shown}; use a folder of your own"))
        }
        Ok(_) => Ok(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "the folder {shown} is missing; `mkdir -m 700 {shown}` makes one of your own"
        )),
        Err(error) => Err(format!("folder {shown}: {error}")),
    }
}

/// Holds the lock of the folder until dropped: of two hosts that find the same stale socket, the
/// slower one would remove the other's new one. `None` where there is no lock to be had.
async fn lock_folder(folder: &Path) -> Result<Option<File>, String> {
    // A folder may be one to write in and not to read.
    let Ok(file) = File::open(folder) else { return Ok(None) };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, folder = %folder.display(), "folder cannot be locked");
                return Ok(None);
            }
        }
    }
    Err(format!("another program holds the lock of folder {}", folder.display()))
}

/// Removes a socket without a listener; anything else at its path is left alone.
async fn clear_stale(path: &Path) -> Result<(), String> {
    let meta = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(meta) => meta,
    };
    if !meta.file_type().is_socket() {
        return Err("a file that is no socket is in its place".to_owned());
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err("another program listens there".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "removing a stale socket");
            std::fs::remove_file(path).map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("a socket is there that cannot be asked: {error}")),
    }
}
