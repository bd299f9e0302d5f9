//! Sockets that are listened at: bound safely, accepted without ever spinning.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::Executor;
use a2e_core::config::{HostConfig, ListenAddr};
use a2e_core::transport::{Peer, from_tcp, from_unix};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::Failure;

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
}

enum Kind {
    Tcp(TcpListener),
    /// The file goes with the listener.
    Unix(UnixListener, #[expect(dead_code, reason = "kept for its drop")] SocketFile),
}

impl Listener {
    /// Binds an address.
    pub(crate) async fn bind(address: &ListenAddr, config: &HostConfig) -> Result<Self, Failure> {
        if let Some(problem) = config.check_address(address) {
            return Err(Failure::refused(problem));
        }
        let kind = match address {
            ListenAddr::Tcp { host, port } => Kind::Tcp(bind_tcp(host, *port).await?),
            ListenAddr::Unix(path) => bind_unix(path).await?,
            other => {
                let text = format!(
                    "`{other}` is not served by this version; use tcp://, unix:// or stdio"
                );
                return Err(Failure::refused(text));
            }
        };
        let address = match &kind {
            // Port 0 was chosen by the system.
            Kind::Tcp(listener) => match listener.local_addr() {
                Ok(bound) => format!("tcp://{bound}"),
                Err(_) => address.to_string(),
            },
            Kind::Unix(..) => address.to_string(),
        };
        Ok(Self { address, kind })
    }

    /// The address in force.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Serves every peer that connects, until the task is dropped.
    pub(crate) async fn accept(self, executor: Arc<Executor>) {
        let mut pause = BACK_OFF.0;
        loop {
            let accepted = match &self.kind {
                Kind::Tcp(listener) => listener.accept().await.map(|(it, _)| from_tcp(it)),
                Kind::Unix(listener, _) => listener.accept().await.map(|(it, _)| from_unix(it)),
            };
            match accepted {
                Ok(connection) => {
                    pause = BACK_OFF.0;
                    if self.is_welcome(&connection.peer) {
                        // The session reports for itself.
                        drop(executor.spawn(connection));
                    }
                }
                Err(error) => {
                    // Out of descriptors, or a peer that left in the queue: never fatal.
                    tracing::warn!(%error, address = %self.address, "accept failed");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
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

async fn bind_tcp(host: &str, port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((host, port)).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there; choose another port".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::refused(format_args!("cannot listen at tcp://{host}:{port}: {why}"))
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
    let folder = prepare_folder(path).map_err(refused)?;
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

/// Makes the folder private if it is missing; refuses one in which anyone may replace the socket.
fn prepare_folder(path: &Path) -> Result<&Path, String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match std::fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => Err(format!("{} is not a folder", folder.display())),
        Ok(meta) if meta.permissions().mode() & 0o002 != 0 => Err(format!(
            "everyone may write in {}; use a folder of your own, which is made if it is missing",
            folder.display()
        )),
        Ok(_) => Ok(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder
                .recursive(true)
                .create(folder)
                .map_err(|error| format!("folder {}: {error}", folder.display()))?;
            Ok(folder)
        }
        Err(error) => Err(format!("folder {}: {error}", folder.display())),
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
