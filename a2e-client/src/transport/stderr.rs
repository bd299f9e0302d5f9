//! Standard error of a host process: always read, so that the host never blocks; its end is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::sync::watch;

/// How much of the end is kept.
const TAIL: usize = 8 * 1024;

/// After the process has ended, what it wrote last may take this long to be read. Its own children
/// may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// Where standard error of a host process goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stderr {
    /// It is read; the last 8 KiB are told when the process dies.
    #[default]
    Tail,
    /// To our own standard error.
    Inherit,
    /// Nowhere.
    Null,
}

/// The end of a stream that a task reads.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    /// Changes to true at the end of the stream.
    ended: watch::Receiver<bool>,
}

impl Tail {
    /// Reads the stream in a task of its own until it ends.
    pub(crate) fn of(mut stream: ChildStderr) -> Self {
        let (end, ended) = watch::channel(false);
        let tail = Self { bytes: Arc::default(), ended };
        let bytes = Arc::clone(&tail.bytes);
        tokio::spawn(async move {
            let mut block = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut block).await {
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                bytes.extend(block.get(..read).unwrap_or_default());
                let surplus = bytes.len().saturating_sub(TAIL);
                bytes.drain(..surplus);
            }
            end.send_replace(true);
        });
        tail
    }

    /// The text, once the process has ended.
    pub(crate) async fn last_words(&self) -> Arc<str> {
        let mut ended = self.ended.clone();
        // Late words are left out.
        let _ended = tokio::time::timeout(LAST_WORDS, ended.wait_for(|it| *it)).await;
        let bytes: Vec<u8> = {
            let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
            bytes.iter().copied().collect()
        };
        String::from_utf8_lossy(&bytes).into()
    }
}
