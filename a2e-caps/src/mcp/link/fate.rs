//! The end of a connection, and why.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use a2e_core::Error;
use a2e_core::protocol::ErrorCode;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a call that was cut off waits to be told why. A program that has ended is known by its exit
/// within some milliseconds of its last byte.
const WAIT: Duration = Duration::from_millis(500);

/// What ends a connection, from either side.
#[derive(Debug)]
pub(in crate::mcp) struct Fate {
    /// Cancelled when it is over.
    pub(in crate::mcp) over: CancellationToken,
    cause: watch::Sender<Option<Error>>,
    stray: AtomicU64,
}

impl Default for Fate {
    fn default() -> Self {
        let cause = watch::Sender::new(None);
        Self { over: CancellationToken::new(), cause, stray: AtomicU64::new(0) }
    }
}

impl Fate {
    /// Ends it. The first cause counts.
    pub(in crate::mcp) fn end(&self, cause: Error) {
        self.cause.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(cause);
            }
            is_first
        });
        self.over.cancel();
    }

    /// Why it ended, once that is known.
    pub(in crate::mcp) async fn cause(&self) -> Error {
        let mut cause = self.cause.subscribe();
        let told = tokio::time::timeout(WAIT, cause.wait_for(Option::is_some)).await;
        let told = told.ok().and_then(|told| told.ok().and_then(|it| it.clone()));
        told.unwrap_or_else(|| gone("it closed the connection"))
    }

    /// A line that was no message.
    pub(super) fn stray(&self, line: &[u8]) {
        if self.stray.fetch_add(1, Ordering::Relaxed) == 0 {
            let line = String::from_utf8_lossy(line.get(..line.len().min(200)).unwrap_or_default());
            tracing::warn!(%line, "a server of MCP writes to stdout what is no message");
        }
    }

    /// How many lines were no messages.
    pub(in crate::mcp) fn strays(&self) -> u64 {
        self.stray.load(Ordering::Relaxed)
    }
}

/// The server is gone, and may come back.
pub(in crate::mcp) fn gone(why: impl Into<String>) -> Error {
    Error::new(ErrorCode::McpServerUnavailable, why).with_retryable(true)
}
