//! The standard input of a process: text in the order in which it was asked for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use a2e_core::protocol::ErrorCode;
use a2e_core::{Error, Result};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// How long a process may take to read one text.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// One end of the stdin pipe of a process.
#[derive(Debug)]
pub(super) struct Input {
    /// Held by the write that is under way.
    pipe: tokio::sync::Mutex<Pipe>,
    /// Ends when the last write that was asked for has ended. Held for a swap.
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

#[derive(Debug)]
enum Pipe {
    Open(Sender),
    /// Why nothing can be written.
    Closed(&'static str),
}

/// A place in the queue of writers. Dropping it lets the next one write.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _end: oneshot::Sender<()>,
}

impl Input {
    /// `None`: the process was started without one.
    pub(super) fn new(pipe: Option<Sender>) -> Self {
        let none = Pipe::Closed("the process has no input: it was started with stdin_mode null");
        let pipe = pipe.map_or(none, Pipe::Open);
        Self { pipe: tokio::sync::Mutex::new(pipe), last: Mutex::new(None) }
    }

    /// Queues up. Asked for on the reader, so the order is that of the requests.
    pub(super) fn turn(&self) -> Turn {
        let (end, ended) = oneshot::channel();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { before: last.replace(ended), _end: end }
    }

    /// Writes all of `data`, then ends the input if `eof`.
    ///
    /// # Errors
    /// `timeout` when the process does not read, `proc_dead` when it has no input any more.
    pub(super) async fn write(
        &self,
        mut turn: Turn,
        data: &str,
        eof: bool,
        limit: Duration,
    ) -> Result<()> {
        let until = Instant::now() + limit;
        let late = |written: usize| {
            let all = data.len();
            let text = format!(
                "the process does not read: {written} of {all} bytes written in {limit:.0?}"
            );
            Error::new(ErrorCode::Timeout, text)
        };
        let closed = |why: &str| Error::new(ErrorCode::ProcDead, why);
        if let Some(before) = turn.before.take() {
            // An error is how the end of the one before shows.
            timeout_at(until, before).await.map_err(|_| late(0))?.ok();
        }
        let mut pipe = timeout_at(until, self.pipe.lock()).await.map_err(|_| late(0))?;
        let sender = match &mut *pipe {
            Pipe::Open(sender) => sender,
            Pipe::Closed(why) => return Err(closed(why)),
        };
        let mut rest = data.as_bytes();
        while !rest.is_empty() {
            match timeout_at(until, sender.write(rest)).await {
                Ok(Ok(written @ 1..)) => rest = rest.get(written..).unwrap_or_default(),
                Ok(_) => {
                    let why = "the process has closed its input";
                    *pipe = Pipe::Closed(why);
                    return Err(closed(why));
                }
                Err(_) => return Err(late(data.len() - rest.len())),
            }
        }
        if eof {
            *pipe = Pipe::Closed("the input was ended before, by `eof`");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::unix::pipe::pipe;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn what_is_not_read_in_time_says_how_much_was_taken() {
        let (sender, reader) = pipe().unwrap();
        let input = Input::new(Some(sender));
        let data = "x".repeat(100_000);
        let error = input.write(input.turn(), &data, false, SOON).await.unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Timeout);
        assert_eq!(
            error.message(),
            "the process does not read: 65536 of 100000 bytes written in 50ms"
        );
        // A write that queues behind another one has a limit of its own.
        let (first, second) = (input.turn(), input.turn());
        let (first, second) = tokio::join!(
            input.write(first, "y", true, 4 * SOON),
            input.write(second, "z", false, SOON)
        );
        assert!(first.unwrap_err().message().contains("0 of 1 bytes written in 200ms"));
        assert!(second.unwrap_err().message().contains("0 of 1 bytes written in 50ms"));
        // Nothing was closed by any of that.
        drop(reader);
        let error = input.write(input.turn(), "x", false, SOON).await.unwrap_err();
        assert_eq!(error.message(), "the process has closed its input");
        assert_eq!(error.code(), &ErrorCode::ProcDead);
    }

    #[tokio::test]
    async fn a_turn_that_is_dropped_makes_way() {
        let (sender, reader) = pipe().unwrap();
        let input = Input::new(Some(sender));
        let (first, second) = (input.turn(), input.turn());
        drop(first);
        input.write(second, "second", true, SOON).await.unwrap();
        let mut text = [0; 16];
        reader.readable().await.unwrap();
        assert_eq!(reader.try_read(&mut text).unwrap(), 6);
    }
}
