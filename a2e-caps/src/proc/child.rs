//! One process of a session: its record, its end, and the task that watches it.

use std::time::Duration;

use a2e_core::children::{Child, Exit, Signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::input::Input;
use super::protocol::{KillSignal, ProcessInfo, Status};

/// Bytes of a command line that are remembered; one may have megabytes.
const MAX_SHOWN: usize = 1024;

/// The time for a process to end by itself when its session is over. With the rest of what ends a
/// session it has to fit into 0.7 s (R17).
const SESSION_GRACE: Duration = Duration::from_millis(200);

/// How long the last words of a killed process may take to be told before the kill is answered. A
/// client that does not read sees no answer either; a slow one gets all in order.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A process, from its launch until it is forgotten. Dropping it kills what still runs.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: String,
    pub(super) input: Input,
    cmd: Vec<String>,
    started_at: f64,
    child: Child,
    life: watch::Sender<Life>,
}

/// Why a process was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Kill,
    TimeOut,
    Session,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// The first cause stays.
    cause: Option<Cause>,
    is_session_over: bool,
    /// Nothing of it runs any more.
    is_gone: bool,
    /// The client was told all there is.
    is_told: bool,
}

impl Process {
    /// The record of a child that was just launched. `wall` is the time now.
    pub(super) fn new(id: String, cmd: &[String], mut child: Child, wall: Duration) -> Self {
        Self {
            id,
            input: Input::new(child.stdin.take()),
            cmd: shown(cmd),
            started_at: wall.as_secs_f64(),
            child,
            life: watch::Sender::default(),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.pid
    }

    pub(super) fn status(&self) -> Status {
        match (self.life.borrow().cause, self.child.exit()) {
            (Some(Cause::Kill | Cause::Session), _) => Status::Killed,
            (Some(Cause::TimeOut), _) => Status::TimedOut,
            (None, None) => Status::Running,
            (None, Some(exit)) if exit.is_success() => Status::Completed,
            (None, Some(_)) => Status::Failed,
        }
    }

    pub(super) fn info(&self) -> ProcessInfo {
        ProcessInfo {
            proc_id: self.id.clone(),
            cmd: self.cmd.clone(),
            state: self.status().to_string(),
            pid: self.pid(),
            exit_code: self.child.exit().map(exit_code),
            started_at: self.started_at,
        }
    }

    /// Whether the program has ended, even if not all of its output was told.
    pub(super) fn has_ended(&self) -> bool {
        self.child.exit().is_some()
    }

    /// Whether only the record is left.
    pub(super) fn is_told(&self) -> bool {
        self.life.borrow().is_told
    }

    /// Whether its end is told as that of a killed process, not as an exit.
    pub(super) fn was_killed(&self) -> bool {
        self.status() == Status::Killed
    }

    /// Notes that the client was told all there is.
    pub(super) fn note_told(&self) {
        self.life.send_modify(|life| life.is_told = true);
    }

    /// Tells it to end; false when it has ended. Told again, it gets the other signal as well.
    pub(super) fn kill(&self, signal: KillSignal) -> bool {
        self.end(
            Cause::Kill,
            match signal {
                KillSignal::Terminate => Signal::Terminate,
                KillSignal::Interrupt => Signal::Interrupt,
                KillSignal::Kill => Signal::Kill,
            },
        )
    }

    /// Its session is over: it gets a moment, then it is killed.
    pub(super) fn end_with_session(&self) {
        self.life.send_modify(|life| life.is_session_over = true);
        self.end(Cause::Session, Signal::Terminate);
    }

    /// Its end is not reported: the client was told that it was not started.
    pub(super) fn abandon(&self) {
        self.end(Cause::Session, Signal::Kill);
        self.note_told();
    }

    fn end(&self, cause: Cause, signal: Signal) -> bool {
        let mut runs = true;
        self.life.send_if_modified(|life| {
            // Asked under the lock, so that a status that was seen never changes back.
            runs = self.child.exit().is_none();
            let is_first = runs && life.cause.is_none();
            if is_first {
                life.cause = Some(cause);
            }
            is_first
        });
        if runs {
            // Refused when it has just ended, or when 16 signals wait already.
            self.child.signal(signal).ok();
        }
        runs
    }

    /// Watches it until nothing of it is left: ends it after `limit`, and kills the whole tree of
    /// what does not end within `grace` of being told to.
    pub(super) async fn live(&self, limit: Option<Duration>, grace: Duration) -> Exit {
        tokio::select! {
            _ = self.child.wait() => {}
            () = self.reach(|life| life.cause.is_some()) => {}
            () = pass(limit) => {
                self.end(Cause::TimeOut, Signal::Terminate);
            }
        }
        let session_over = async {
            self.reach(|life| life.is_session_over).await;
            sleep(SESSION_GRACE).await;
        };
        tokio::select! {
            _ = self.child.wait() => {}
            () = sleep(grace) => { self.child.kill().await; }
            () = session_over => { self.child.kill().await; }
        }
        let exit = self.child.gone().await;
        self.life.send_modify(|life| life.is_gone = true);
        exit
    }

    /// Waits until a killed process is gone, and until its end is told or [`LAST_WORDS`] are over.
    pub(super) async fn killed(&self) {
        self.reach(|life| life.is_gone).await;
        timeout(LAST_WORDS, self.told()).await.ok();
    }

    /// Waits until the client was told all there is.
    pub(super) async fn told(&self) {
        self.reach(|life| life.is_told).await;
    }

    /// Waits until it was killed and is gone: what then holds its streams open is not its own.
    pub(super) async fn is_left_behind(&self) {
        self.reach(|life| life.is_gone && (life.cause.is_some() || life.is_session_over)).await;
    }

    async fn reach(&self, is_there: impl Fn(&Life) -> bool) {
        // The sender is in `self`, so this cannot fail.
        self.life.subscribe().wait_for(is_there).await.ok();
    }
}

async fn pass(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// What the program returned; minus the number of the signal that ended it.
pub(super) fn exit_code(exit: Exit) -> i32 {
    exit.code.unwrap_or_else(|| -exit.signal.unwrap_or_default())
}

fn shown(cmd: &[String]) -> Vec<String> {
    let mut left = MAX_SHOWN;
    let mut shown = Vec::new();
    for word in cmd {
        if word.len() >= left {
            let end = (0..=left).rev().find(|at| word.is_char_boundary(*at)).unwrap_or_default();
            shown.push(format!("{}…", word.get(..end).unwrap_or_default()));
            break;
        }
        // An empty word counts too: there may be a million of them.
        left -= word.len() + 1;
        shown.push(word.clone());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_of_a_long_command_the_beginning_is_shown() {
        let shown = |words: &[&str]| -> Vec<String> {
            shown(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(shown(&["ls", "", "-l"]), ["ls", "", "-l"]);
        let cut = shown(&["sh", "-c", &"ä".repeat(5000), "x"]);
        assert_eq!(cut.len(), 3);
        assert!(cut[2].ends_with("ä…") && cut[2].len() < 1030, "{}", cut[2].len());
        assert!(shown(&vec![""; 5000]).len() < 1030);
    }

    #[test]
    fn codes_are_as_in_python() {
        for (code, signal, expected) in
            [(Some(0), None, 0), (Some(3), None, 3), (None, Some(9), -9)]
        {
            assert_eq!(exit_code(Exit { code, signal }), expected);
        }
    }
}
