//! Writes that do not return: deadlines hold meanwhile (B5), and the session is served (B16).

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use a2e_core::config::{AuditMode, HostConfig};
use a2e_core::testing::TestSession;
use a2e_core::transport::{ByteSink, Gone, Readiness, memory_pair};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{next_of, reply_of, skipped};
use crate::plugins::script::SOON;
use crate::probe::{Probe, Switch};
use crate::support::{PATIENCE, audited, clocked, end, plugin, script, settled, with};

/// A connection that takes its time for each write.
struct Slow {
    out: Arc<dyn ByteSink>,
    probe: Arc<Probe>,
}

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slow").field("out", &self.out).finish_non_exhaustive()
    }
}

impl ByteSink for Slow {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.probe.hang();
        self.out.try_write(bytes)
    }

    fn ready(&self) -> Readiness<'_> {
        self.out.ready()
    }

    fn peer_is_gone(&self) -> Gone<'_> {
        self.out.peer_is_gone()
    }

    fn close(&self) {
        self.out.close();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b05_deadlines_hold_while_a_write_to_a_connection_takes_long() {
    let (host, clock) = clocked(with([script("s", "future", "hang")])).await;
    let (write, hang) = (Switch::new(), Switch::new());
    let (client, mut server) = memory_pair();
    let probe = Probe::of(write.key()).unwrap();
    server.sink = Arc::new(Slow { out: server.sink, probe });
    host.executor().spawn(server);
    let (mut slow, mut other) = (TestSession::over(client), host.session());
    let body = json!({ "probe": hang.key() });
    let first = slow.send("script/soon/req", body.clone()).await;
    hang.entered(1).await;
    clock.advance(SOON);
    write.entered(1).await;
    // Its answer is being written, for as long as it takes.
    let second = other.send("script/soon/req", body).await;
    hang.entered(2).await;
    clock.advance(SOON);
    assert_eq!(reply_of(&mut other, &second, "another deadline").await["code"], "timeout");
    write.open();
    assert_eq!(reply_of(&mut slow, &first, "the first one").await["code"], "timeout");
    settled(&host).await;
    slow.finish().await;
    other.finish().await;
    end(host).await;
}

/// A device that takes a few kilobytes and then blocks its writer, as a stalled disk does: a terminal
/// whose other end is not read.
struct Disk {
    terminal: Child,
    path: PathBuf,
}

impl Disk {
    /// `None`, and a word about it, where there is no program that opens a terminal.
    fn stalled() -> Option<Self> {
        let command = ["-q", "-c", "tty; exec sleep 300", "/dev/null"];
        let started = Command::new("script")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut terminal) = started else {
            skipped("no `script` here");
            return None;
        };
        let mut out = BufReader::new(terminal.stdout.take()?);
        let mut path = String::new();
        out.read_line(&mut path).unwrap();
        let disk = Self { terminal, path: PathBuf::from(path.trim()) };
        if !disk.path.starts_with("/dev/") {
            skipped("no terminal here");
            return None;
        }
        disk.signal(Signal::SIGSTOP);
        // What is read once it goes on.
        std::thread::spawn(move || io::copy(&mut out, &mut io::sink()));
        Some(disk)
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.terminal.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// From now on it takes everything.
    fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Writers that wait for it get an error.
        let _gone = self.terminal.kill();
        let _reaped = self.terminal.wait();
    }
}

fn with_audit(mode: AuditMode, disk: &Disk, mut config: HostConfig) -> HostConfig {
    config = audited(config, disk.path());
    config.audit.mode = mode;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn b05_deadlines_hold_while_the_disk_stalls() {
    let Some(disk) = Disk::stalled() else { return };
    let config = with([script("s", "pool", "watch"), plugin("echo", "Echo")]);
    let (host, clock) = clocked(with_audit(AuditMode::Write, &disk, config)).await;
    let (mut writer, mut others) = (host.session(), [host.session(), host.session()]);
    let watched = [Switch::new(), Switch::new(), Switch::new(), Switch::new()];
    // Two in each session.
    let mut ids = Vec::new();
    for (number, switch) in watched.iter().enumerate() {
        let session = &mut others[number % 2];
        ids.push(session.send("script/soon/req", json!({ "probe": switch.key() })).await);
        switch.noted("watching").await;
    }
    let mut waiting = None;
    for _ in 0..5_000 {
        let id = writer.send("echo/inline/req", json!({})).await;
        let reply = tokio::time::timeout(Duration::from_secs(1), writer.reply_to(&id)).await;
        if reply.is_err() {
            waiting = Some(id);
            break;
        }
    }
    let waiting = waiting.expect("the disk stalls");
    clock.advance(SOON);
    for switch in &watched {
        let told = tokio::time::timeout(PATIENCE, switch.noted("cancelled")).await;
        told.expect("each handler is told that its time is over");
    }
    disk.go_on();
    for (number, id) in ids.iter().enumerate() {
        let answer = reply_of(&mut others[number % 2], id, "a deadline").await;
        assert_eq!(answer["code"], "timeout", "{answer}");
    }
    let reply = reply_of(&mut writer, &waiting, "what waited for the disk").await;
    assert_eq!(reply["type"], "echo/resp", "{reply}");
    settled(&host).await;
    for session in others.into_iter().chain([writer]) {
        session.finish().await;
    }
    end(host).await;
}

/// The most requests that the test leaves unanswered; a session and its queue take more.
const UNANSWERED: usize = 512;

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn b16_a_session_is_served_while_its_audit_records_wait_for_the_disk() {
    let Some(disk) = Disk::stalled() else { return };
    let config = with([plugin("echo", "Echo")]);
    let (host, _clock) = clocked(with_audit(AuditMode::Buffered, &disk, config)).await;
    let mut session = host.session();
    let (mut sent, mut answered) = (0_usize, 0_usize);
    // More records than the audit keeps in memory, unless answers wait for room there.
    while sent < 20_000 && sent - answered < UNANSWERED {
        for _ in 0..64 {
            session.send("echo/pool/req", json!({})).await;
        }
        sent += 64;
        let ping = session.send("ping", json!({})).await;
        loop {
            let message = next_of(&mut session, &format!("a pong, after {answered}")).await;
            if message["req_id"] == json!(ping) {
                break;
            }
            assert_eq!(message["type"], "echo/resp", "{message}");
            answered += 1;
        }
    }
    disk.go_on();
    while answered < sent {
        let message = next_of(&mut session, "an answer").await;
        assert_eq!(message["type"], "echo/resp", "{message}");
        answered += 1;
    }
    settled(&host).await;
    session.finish().await;
    end(host).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn r52_inline_calls_wait_for_a_stalled_disk_and_lose_no_record() {
    let Some(disk) = Disk::stalled() else { return };
    let config = with([plugin("echo", "Echo")]);
    let (host, _clock) = clocked(with_audit(AuditMode::Buffered, &disk, config)).await;
    let mut session = host.session();
    let mut waiting = None;
    // More records than the audit keeps in memory.
    for _ in 0..20_000 {
        let id = session.send("echo/inline/req", json!({})).await;
        let reply = tokio::time::timeout(Duration::from_secs(1), session.reply_to(&id)).await;
        if reply.is_err() {
            waiting = Some(id);
            break;
        }
    }
    assert_eq!(host.executor().status().audit_lost, 0, "the session is held back before that");
    let waiting = waiting.expect("the disk stalls");
    disk.go_on();
    let reply = reply_of(&mut session, &waiting, "what waited for the disk").await;
    assert_eq!(reply["type"], "echo/resp", "{reply}");
    settled(&host).await;
    assert_eq!(host.executor().status().audit_lost, 0);
    session.finish().await;
    end(host).await;
}
