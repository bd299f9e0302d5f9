//! Logs: to stderr, text on a terminal and JSON elsewhere, never waiting for their reader.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::Failure;

/// Lines that wait for stderr. One more is dropped and counted: agents open that pipe and may never
/// read it.
const QUEUE: usize = 1024;

/// What is logged when `A2E_LOG` does not say.
const DEFAULT_FILTER: &str = "info,rmcp=off";

/// Starts logging for the whole process. Call once.
pub(crate) fn start(default_filter: Option<&str>) -> Result<(), Failure> {
    let wanted = std::env::var("A2E_LOG").ok();
    let filter = wanted.as_deref().or(default_filter).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::usage(format_args!("A2E_LOG: {error}")))?;
    let stderr = Stderr::start()?;
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines = if io::stderr().is_terminal() {
        lines.with_target(false).compact().with_filter(filter).boxed()
    } else {
        lines.json().flatten_event(true).with_span_list(false).with_filter(filter).boxed()
    };
    let logs = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otlp")]
    let logs = logs.with(crate::spans::export()?.map(|export| {
        let is_hop = |it: &tracing::Metadata<'_>| it.target() == crate::spans::TARGET;
        export.with_filter(tracing_subscriber::filter::filter_fn(is_hop))
    }));
    let started = logs.try_init();
    started.map_err(|error| Failure::internal(format_args!("logging: {error}")))
}

/// Gives the last spans and lines a moment to leave.
pub(crate) fn finish() {
    #[cfg(feature = "otlp")]
    crate::spans::finish();
    if let Some(stderr) = STDERR.get() {
        let (done, written) = sync_channel(1);
        if stderr.lines.try_send(Line::Flush(done)).is_ok() {
            // A reader of stderr that is stuck does not hold up the end.
            let _stuck = written.recv_timeout(std::time::Duration::from_millis(100));
        }
    }
}

static STDERR: OnceLock<Stderr> = OnceLock::new();

enum Line {
    Text(Vec<u8>),
    Flush(SyncSender<()>),
}

/// One thread writes; everyone else only queues.
#[derive(Clone)]
struct Stderr {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Stderr {
    fn start() -> Result<Self, Failure> {
        let (lines, queue) = sync_channel(QUEUE);
        let stderr = Self { lines, dropped: Arc::default() };
        let dropped = Arc::clone(&stderr.dropped);
        std::thread::Builder::new()
            .name("a2e-stderr".into())
            .spawn(move || write_lines(&queue, &dropped))
            .map_err(|error| Failure::internal(format_args!("no thread for logs: {error}")))?;
        // A second start keeps the first; logging refuses it by itself.
        let _first = STDERR.set(stderr.clone());
        Ok(stderr)
    }
}

fn write_lines(queue: &Receiver<Line>, dropped: &AtomicU64) {
    let mut stderr = io::stderr();
    while let Ok(line) = queue.recv() {
        match line {
            Line::Text(text) => {
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let text = format!(
                        "{{\"level\":\"WARN\",\"message\":\"{lost} log lines dropped\"}}\n"
                    );
                    let _gone = stderr.write_all(text.as_bytes());
                }
                // A closed stderr loses logs, which is its owner's wish.
                let _gone = stderr.write_all(&text);
            }
            Line::Flush(done) => {
                let _gone_too = done.try_send(());
            }
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(text.to_vec())) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
