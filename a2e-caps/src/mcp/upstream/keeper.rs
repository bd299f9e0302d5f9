//! The life of a server: started when it is wanted, watched, stopped when it is idle, started again when it
//! has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use a2e_core::Error;
use a2e_core::children::{RestartPolicy, Restarts, Verdict};
use futures_util::FutureExt;
use tokio::time::sleep;

use super::start::Running;
use super::{Phase, Upstream, held};
use crate::mcp::config::ServerConfig;
use crate::mcp::link::gone;

/// How long a server that has failed too often is left alone, unless it is used then, too.
const QUARANTINE: Duration = Duration::from_secs(30);

/// How often approved definitions are looked at while one waits for approval.
const APPROVALS: Duration = Duration::from_secs(1);

/// How a run ended.
enum Ended {
    /// Nobody used it.
    Idle,
    Failed(Error),
}

impl ServerConfig {
    fn idle_stop(&self, usual: Duration) -> Option<Duration> {
        let own = self.idle_stop.map(|it| Duration::try_from_secs_f64(it).unwrap_or_default());
        Some(own.unwrap_or(usual)).filter(|it| !it.is_zero())
    }
}

impl Upstream {
    pub(super) async fn run(self: Arc<Self>) {
        let clock = Arc::clone(self.shared.host.clock());
        let mut restarts = Restarts::new(RestartPolicy::default());
        let mut is_due = self.config.eager || self.known().is_none();
        while !self.is_ended() {
            if !is_due && !self.wanted().await {
                return;
            }
            self.set(Phase::Starting);
            let began = clock.now();
            match self.once().await {
                Ended::Idle => {
                    tracing::info!(server = self.id, "a server of MCP is idle and stopped");
                    self.forget_wishes();
                    self.set(Phase::Idle);
                    is_due = false;
                }
                Ended::Failed(error) => {
                    let now = clock.now();
                    let verdict = restarts.ended(now.mono, now.since(began));
                    is_due = self.failed(error, verdict).await;
                    if matches!(verdict, Verdict::Quarantine) {
                        restarts.reset();
                    }
                }
            }
        }
    }

    fn is_ended(&self) -> bool {
        matches!(self.state.borrow().phase, Phase::Ended)
    }

    /// Goes on to a phase; an end stays one.
    fn set(&self, phase: Phase) {
        self.state.send_if_modified(|state| {
            let goes_on = !matches!(state.phase, Phase::Ended);
            if goes_on {
                state.phase = phase;
            }
            goes_on
        });
    }

    /// Waits until it is used; meanwhile approvals are looked at. False when it was unregistered.
    async fn wanted(self: &Arc<Self>) -> bool {
        loop {
            let waits = self.known().is_some_and(|known| !known.judged.waiting.is_empty());
            tokio::select! {
                () = self.wanted.notified() => return !self.is_ended(),
                () = sleep(APPROVALS), if waits => self.judge_again().await,
            }
        }
    }

    /// Tells of a failure, and waits as long as it is left alone. Whether it is to be started then.
    async fn failed(&self, error: Error, verdict: Verdict) -> bool {
        let error = self.told(error);
        let phase = match verdict {
            _ if !self.config.restart => Phase::Failed,
            Verdict::After(_) => Phase::BackingOff,
            Verdict::Quarantine => Phase::Quarantined,
        };
        tracing::warn!(server = self.id, %error, "a server of MCP has failed");
        self.forget_wishes();
        self.state.send_if_modified(|state| {
            state.failures += 1;
            state.failure = Some(error);
            state.since = Duration::ZERO;
            if !matches!(state.phase, Phase::Ended) {
                state.phase = phase.clone();
            }
            true
        });
        match (phase, verdict) {
            (Phase::BackingOff, Verdict::After(wait)) => {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = self.ended() => {}
                }
                true
            }
            (Phase::Quarantined, _) => {
                tokio::select! {
                    () = sleep(QUARANTINE) => {}
                    () = self.ended() => {}
                }
                self.set(Phase::Failed);
                false
            }
            _ => false,
        }
    }

    /// Forgets who wanted it before; called ahead of the phase in which calls say so again.
    fn forget_wishes(&self) {
        let _wish = self.wanted.notified().now_or_never();
    }

    /// Waits until it is unregistered.
    async fn ended(&self) {
        let mut state = self.state.subscribe();
        // The sender is ours.
        state.wait_for(|state| matches!(state.phase, Phase::Ended)).await.map(drop).ok();
    }

    /// One start, and the run that follows.
    async fn once(self: &Arc<Self>) -> Ended {
        let started = tokio::select! {
            started = self.start() => started,
            () = self.ended() => Err(gone("it was unregistered")),
        };
        let running = match started {
            Ok(running) => running,
            Err(error) => {
                self.let_go().await;
                return Ended::Failed(error);
            }
        };
        self.touch();
        let wall = self.shared.host.now().wall;
        self.state.send_if_modified(|state| {
            state.failure = None;
            state.since = wall;
            let goes_on = !matches!(state.phase, Phase::Ended);
            if goes_on {
                state.phase = Phase::Ready(Arc::clone(&running.link));
            }
            true
        });
        let ended = self.watch(&running).await;
        match &ended {
            Ended::Failed(error) => running.link.fate().end(error.clone()),
            Ended::Idle => running.link.fate().end(gone("it was stopped")),
        }
        drop(running);
        self.let_go().await;
        self.restarts.fetch_add(u32::from(matches!(ended, Ended::Failed(_))), Ordering::Relaxed);
        ended
    }

    async fn watch(self: &Arc<Self>, running: &Running) -> Ended {
        let fate = running.link.fate();
        let idle_stop = self.config.idle_stop(self.shared.idle_stop);
        let mut renewal = std::pin::pin!(self.subscribed.renew(self, &running.link));
        let mut is_renewed = false;
        loop {
            let waits = self.known().is_some_and(|known| !known.judged.waiting.is_empty());
            tokio::select! {
                exit = running.exit() => {
                    self.last_words().await;
                    return Ended::Failed(gone(format!("it ended with {exit}")));
                }
                () = fate.over.cancelled() => return Ended::Failed(self.broken(running).await),
                () = self.ended() => return Ended::Idle,
                () = &mut renewal, if !is_renewed => is_renewed = true,
                () = self.relist.notified() => self.list_again(running).await,
                () = sleep(APPROVALS), if waits => self.judge_again().await,
                () = self.idle(idle_stop) => return Ended::Idle,
            }
        }
    }

    /// Why a connection is over: a program that closes its output is most often about to end.
    async fn broken(&self, running: &Running) -> Error {
        let fate = running.link.fate();
        let exit = tokio::time::timeout(Duration::from_millis(300), running.exit()).await;
        self.last_words().await;
        match exit {
            Ok(exit) => {
                fate.end(gone(format!("it ended with {exit}")));
                fate.cause().await
            }
            Err(_) => fate.cause().await,
        }
    }

    /// Waits until nobody has used it for so long.
    async fn idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        loop {
            let last = Duration::from_micros(self.last_used.load(Ordering::Acquire));
            let quiet = self.shared.host.now().mono.saturating_sub(last);
            let is_used = self.uses.load(Ordering::Acquire) > 0 || self.subscribed.is_any();
            if !is_used && quiet >= limit {
                return;
            }
            let wait = if is_used { limit } else { limit.saturating_sub(quiet) };
            sleep(wait.max(Duration::from_millis(5))).await;
        }
    }

    /// Its idle time begins anew.
    fn touch(&self) {
        let now = self.shared.host.now().mono.as_micros();
        self.last_used.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Ends the program of a run that is over; its input is closed already, which tells it to end.
    async fn let_go(&self) {
        let child = held(&self.child).take();
        if let Some(child) = child {
            if tokio::time::timeout(super::start::GRACE, child.wait()).await.is_err() {
                child.stop(super::start::GRACE).await;
            }
            child.gone().await;
        }
    }
}
