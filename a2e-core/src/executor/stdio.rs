//! Standard input and output on a thread of their own, and the identities that peers have by
//! themselves.

use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;

use super::kernel::Kernel;
use crate::config::{HostConfig, Operators};
use crate::sessions::serve as serve_session;
use crate::transport::{Identity, Peer, Rights, stdio};

/// The identity of a peer that no front knows more about.
pub(super) fn identity_of(config: &HostConfig, peer: &Peer) -> Identity {
    if peer.is_stdio {
        return Identity { name: peer.name.clone(), ..Identity::default() }
            .with_rights(Rights::all());
    }
    let is_same_user = peer.uid.is_some_and(|uid| uid == nix::unistd::geteuid().as_raw());
    let may_steer = match config.server.operators {
        Some(Operators::SameUid) => true,
        Some(Operators::Token) => false,
        None => config.operator_token.is_none() && config.server.principals.is_empty(),
    };
    let rights = if is_same_user && may_steer { Rights::all() } else { Rights::default() };
    Identity { name: peer.name.clone(), ..Identity::default() }.with_rights(rights)
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
        let served = Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let served = runtime.block_on(async {
                let connection = stdio::connection(stdio::source()?, sink);
                let identity = identity_of(&kernel.services.config, &connection.peer);
                serve_session(Arc::clone(&kernel.hub), connection, identity).await;
                Ok(())
            });
            runtime.shutdown_background();
            served
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
