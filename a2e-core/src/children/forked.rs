//! A process that the host forked: its reports, and the orders to it.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Child as Process;

use super::child::Exit;
use super::sweep::KNOWN;
use super::tree;
use super::wire::{MAX_LINE, Report};

/// A process that was forked: the guard, or the program itself at level `group`.
#[derive(Debug)]
pub(super) struct Forked {
    pub(super) process: Process,
    pub(super) pid: i32,
    /// `None` at level `group`.
    pub(super) guard: Option<GuardLine>,
}

/// The host's end of the line to a guard.
#[derive(Debug)]
pub(super) struct GuardLine {
    pub(super) socket: UnixStream,
    pub(super) lines: Lines,
    /// Still to be written.
    pub(super) block: Vec<u8>,
    /// As `/proc` showed the guard when it was forked.
    pub(super) seen: Option<tree::Process>,
}

impl GuardLine {
    /// A guard that does not take the byte is dead, which the reading side sees, or stuck, which
    /// the deadline ends: so this never waits.
    pub(super) fn order(&self, byte: u8) {
        self.socket.try_write(&[byte]).ok();
    }
}

impl Forked {
    /// What the process tells next; `None` when it is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Report> {
        let Some(guard) = &mut self.guard else { return self.next_of_group().await };
        loop {
            match guard.lines.take() {
                ReportLine::Report(report) => return Some(report),
                ReportLine::Foreign => return None,
                ReportLine::Incomplete => {}
            }
            // An error is the reset that a guard leaves which ended with orders unread.
            if !matches!(guard.socket.read_buf(&mut guard.lines.buffer).await, Ok(1..)) {
                return None;
            }
        }
    }

    async fn next_of_group(&mut self) -> Option<Report> {
        // No id: it was waited for already.
        self.process.id()?;
        let Ok(status) = self.process.wait().await else { return None };
        // The rest of the group. The id of the group is free for others only when none is left,
        // and then comes back only after all other ids were used.
        killpg(Pid::from_raw(self.pid), Signal::SIGKILL).ok();
        Some(Report::Ended(Exit { code: status.code(), signal: status.signal() }))
    }

    /// Does nothing when the process was waited for: its id may be another's.
    pub(super) fn signal_group(&self, signal: Signal) {
        if self.process.id().is_some() {
            killpg(Pid::from_raw(self.pid), signal).ok();
        }
    }
}

impl Drop for Forked {
    /// When a runtime is torn down, tasks are dropped where they stand. A guard sees its socket
    /// close; a process group has to be killed here.
    fn drop(&mut self) {
        if self.guard.is_none() {
            self.signal_group(Signal::SIGKILL);
        }
        KNOWN.lock().remove(&self.pid);
    }
}

/// Bytes from a guard that are not a whole line yet; at most [`MAX_LINE`] and one read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
}

enum ReportLine {
    Report(Report),
    Incomplete,
    /// This is not what a guard writes.
    Foreign,
}

impl Lines {
    fn take(&mut self) -> ReportLine {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.buffer.len() > MAX_LINE {
                ReportLine::Foreign
            } else {
                ReportLine::Incomplete
            };
        };
        let line: Vec<u8> = self.buffer.drain(..=end).collect();
        let report = line.strip_suffix(b"\n").and_then(Report::parse);
        report.map_or(ReportLine::Foreign, ReportLine::Report)
    }
}
