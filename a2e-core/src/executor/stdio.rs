//! Standard input and output on a thread of their own, and the identities that peers have by
//! themselves.

use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::kernel::Kernel;
use crate::config::{HostConfig, Operators};
use crate::sessions::serve as serve_session;
use crate::transport::{Identity, Peer, Rights, stdio};

/// The identity of a peer that no front knows more about.
pub(super) fn identity_of(config: &HostConfig, peer: &Peer) -> Identity {
    if peer.is_stdio {
        return Identity { name: peer.name.clone(), ..Identity::default() }.with_rights(all());
    }
    let is_same_user = peer.uid.is_some_and(|uid| uid == nix::unistd::geteuid().as_raw());
    let may_steer = match config.server.operators {
        Some(Operators::SameUid) => true,
        Some(Operators::Token) => false,
        None => config.operator_token.is_none(),
    };
    let rights = if is_same_user && may_steer { all() } else { Rights::default() };
    Identity { name: peer.name.clone(), ..Identity::default() }.with_rights(rights)
}

/// The rights of the person that runs the host.
fn all() -> Rights {
    Rights { operator: true, env_control: true, approve: true }
}

/// Serves standard input and output; the future resolves when that session has ended.
pub(super) fn serve(kernel: &Arc<Kernel>) -> io::Result<impl Future<Output = ()> + use<>> {
    let sink = {
        // While the session's thread is busy, the host's threads see when the peer has read.
        let _host = kernel.services.runtime.enter();
        stdio::sink()?
    };
    let kernel = Arc::clone(kernel);
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    std::thread::Builder::new().name("a2e-stdio".into()).spawn(move || {
        let served = OwnThread::new().and_then(|own| {
            own.block_on(async {
                let connection = stdio::connection(stdio::source()?, sink);
                let identity = identity_of(&kernel.services.config, &connection.peer);
                serve_session(Arc::clone(&kernel.hub), connection, identity).await;
                Ok(())
            })
        });
        if let Err(error) = served {
            tracing::error!(%error, "standard input cannot be read");
        }
        drop(ended);
    })?;
    Ok(async move {
        // Dropped in either case: at the end, and by a panic.
        let _ended = end.await;
    })
}

/// What the thread waits with.
struct OwnThread(Option<Runtime>);

impl OwnThread {
    fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    fn block_on(&self, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |runtime| runtime.block_on(work))
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
