//! Typed calls for `proc/*`, and processes as handles that collect their own output.

use std::fmt;
use std::sync::Arc;

use a2e_client::{Client, ClientError, Subscription};
use a2e_core::protocol::Message;

use super::protocol::{
    KillRequest, KillSignal, ProcessInfo, ReadEvent, SpawnRequest, StatusRequest, StreamType,
    WriteRequest,
};
use super::routes::{Queue, Routes, Spawning, is_end};

/// Bytes of output that wait in a [`Process`] unless
/// [`with_buffer`](ProcClient::with_buffer) says otherwise.
const BUFFER: usize = 8 << 20;

/// Why a call about a process failed.
#[derive(Clone, Debug)]
pub enum ProcError {
    /// The host said no, with its reason: not allowed, not started, not known, input closed.
    Refused(String),
    /// The call itself failed.
    Client(ClientError),
}

impl fmt::Display for ProcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Client(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProcError {}

impl From<ClientError> for ProcError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The processes that a connection starts.
///
/// ```no_run
/// # async fn doc(client: a2e_client::Client) -> Result<(), a2e_caps::proc::ProcError> {
/// use a2e_caps::proc::ProcClient;
///
/// let procs = ProcClient::new(&client);
/// let process = procs.run(["python3", "-c", "print(6 * 7)"]).await?;
/// let output = process.output().await;
/// assert_eq!((output.stdout.as_str(), output.code), ("42\n", Some(0)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ProcClient {
    client: Client,
    routes: Arc<Routes>,
    _subscription: Subscription,
}

impl ProcClient {
    /// Listens to the output of processes that this object starts.
    pub fn new(client: &Client) -> Self {
        Self::with_buffer(client, BUFFER)
    }

    /// As [`new`](Self::new), with the bytes of output that may wait in each [`Process`].
    pub fn with_buffer(client: &Client, bytes: usize) -> Self {
        let routes = Arc::new(Routes::new(bytes));
        let deliver = Arc::clone(&routes);
        let subscription = client.on_push(ReadEvent::TYPE, move |message| deliver.take(message));
        Self { client: client.clone(), routes, _subscription: subscription }
    }

    /// Starts a program with its arguments.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub async fn run<W: Into<String>>(
        &self,
        cmd: impl IntoIterator<Item = W>,
    ) -> Result<Process, ProcError> {
        let cmd = cmd.into_iter().map(Into::into).collect();
        self.spawn(&SpawnRequest { cmd, ..SpawnRequest::default() }).await
    }

    /// Starts a process.
    ///
    /// # Errors
    /// The host's reason, or the failure of the call.
    pub async fn spawn(&self, request: &SpawnRequest) -> Result<Process, ProcError> {
        let _spawning = Spawning::begin(&self.routes);
        let reply = self.client.rpc(request).await?;
        if !reply.ok {
            return Err(ProcError::Refused(reply.error));
        }
        let queue = self.routes.claim(&reply.proc_id);
        let (client, routes) = (self.client.clone(), Arc::clone(&self.routes));
        Ok(Process { id: reply.proc_id, pid: reply.pid, client, routes, queue, has_ended: false })
    }

    /// The status of one process, also of one that this object did not start.
    ///
    /// # Errors
    /// The failure of the call.
    pub async fn status(&self, proc_id: &str) -> Result<String, ProcError> {
        let request = StatusRequest { proc_id: proc_id.to_owned() };
        Ok(self.client.rpc(&request).await?.status)
    }

    /// All processes of the session that the host remembers.
    ///
    /// # Errors
    /// The failure of the call.
    pub async fn list(&self) -> Result<Vec<ProcessInfo>, ProcError> {
        let reply = self.client.rpc(&StatusRequest::default()).await?;
        Ok(reply.procs.unwrap_or_default())
    }
}

/// One process on the host. Dropping it does not end the process; its session's end does.
#[derive(Debug)]
pub struct Process {
    id: String,
    pid: u32,
    client: Client,
    routes: Arc<Routes>,
    queue: Arc<Queue>,
    has_ended: bool,
}

/// All that a process wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// What it returned, or minus a signal's number; `None` when it was killed or the connection
    /// was lost.
    pub code: Option<i32>,
    /// Lines that were lost because they were not taken in time.
    pub dropped: u64,
}

impl Process {
    /// The id by which the session names it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host system's number of it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line (without a newline, the part of one that has come), or the end of the process; `None` after the end, and when the connection is
    /// lost. May be dropped and called again.
    ///
    /// Lines wait here up to the bound of [`ProcClient::with_buffer`]; more are dropped and
    /// counted, and the gap shows in `seq`. The end is never dropped.
    pub async fn next(&mut self) -> Option<ReadEvent> {
        if self.has_ended {
            return None;
        }
        let event = tokio::select! {
            biased;
            event = self.queue.next() => Some(event),
            _ = self.client.closed() => self.queue.take(),
        };
        self.has_ended = event.as_ref().is_none_or(is_end);
        event
    }

    /// Lines that were lost because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// Everything that it still writes, and its end.
    pub async fn output(mut self) -> Output {
        let mut output = Output::default();
        while let Some(event) = self.next().await {
            let stream = match event.stream_type {
                StreamType::Stderr => &mut output.stderr,
                StreamType::Stdout | StreamType::Killed => &mut output.stdout,
            };
            stream.push_str(event.data.text.as_deref().unwrap_or_default());
            output.code = event.data.code;
        }
        output.dropped = self.dropped();
        output
    }

    /// Writes to its standard input. Writes that run at the same time arrive in the order in which
    /// they were sent.
    ///
    /// # Errors
    /// When the process does not take it, with the reason.
    pub async fn write(&self, data: impl Into<String>) -> Result<(), ProcError> {
        self.write_with(data.into(), false).await
    }

    /// Ends its standard input.
    ///
    /// # Errors
    /// When it has none any more.
    pub async fn close_input(&self) -> Result<(), ProcError> {
        self.write_with(String::new(), true).await
    }

    async fn write_with(&self, data: String, eof: bool) -> Result<(), ProcError> {
        let request = WriteRequest { proc_id: self.id.clone(), data, eof };
        let reply = self.client.rpc(&request).await?;
        if reply.ok { Ok(()) } else { Err(ProcError::Refused(reply.error)) }
    }

    /// Ends it, and returns when it and all that it started are gone.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn kill(&self, signal: KillSignal) -> Result<(), ProcError> {
        let request = KillRequest { proc_id: self.id.clone(), signal };
        let reply = self.client.rpc(&request).await?;
        if reply.ok { Ok(()) } else { Err(ProcError::Refused(reply.error)) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.routes.forget(&self.id);
    }
}
