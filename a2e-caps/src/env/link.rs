//! The way from an environment to its agent, for what it has to say unasked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use a2e_core::plugin::Host;
use a2e_core::protocol::ErrorCode;
use a2e_core::request::SessionHandle;
use a2e_core::{Error, Result};

use super::protocol::EnvStatePush;
use crate::json::JsonObject;

/// Pushes of one episode that wait for their time.
const MOST_LATER: usize = 64;

/// Sends `env/state/push` of one episode. Cheap to clone; does nothing once the episode is closed, and while
/// its run is had again: what it says then was said before.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    session: SessionHandle,
    episode_id: String,
    steps: AtomicU64,
    later: AtomicUsize,
    is_closed: AtomicBool,
    /// Whether a run is had again, whose pushes the agent has.
    is_quiet: AtomicBool,
}

/// What is pushed.
#[derive(Clone, Debug)]
pub struct Push {
    /// `observation`, `tool_result`, `status` or `error`.
    pub event_type: String,
    /// The action that led to it.
    pub action_id: Option<String>,
    /// For people.
    pub reason: String,
    /// The fields of the state that changed.
    pub delta: JsonObject,
    /// A reward, where there is one; finite.
    pub reward: Option<f64>,
    /// What the reward is for.
    pub reward_info: Option<JsonObject>,
    /// Whether the episode is over.
    pub terminal: bool,
}

impl Push {
    /// A change of the state.
    pub fn observation(delta: JsonObject) -> Self {
        Self {
            event_type: "observation".to_owned(),
            action_id: None,
            reason: String::new(),
            delta,
            reward: None,
            reward_info: Some(JsonObject::default()),
            terminal: false,
        }
    }
}

impl Link {
    pub(super) fn new(host: Host, session: SessionHandle, episode_id: &str, steps: u64) -> Self {
        Self(Arc::new(Inner {
            host,
            session,
            episode_id: episode_id.to_owned(),
            steps: AtomicU64::new(steps),
            later: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_quiet: AtomicBool::new(false),
        }))
    }

    /// The episode.
    pub fn episode_id(&self) -> &str {
        &self.0.episode_id
    }

    pub(super) fn set_steps(&self, steps: u64) {
        self.0.steps.store(steps, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
    }

    /// Sends nothing from now on, or sends again.
    pub(super) fn set_quiet(&self, is_quiet: bool) {
        self.0.is_quiet.store(is_quiet, Ordering::Release);
    }

    fn message(&self, push: Push) -> EnvStatePush {
        EnvStatePush {
            episode_id: self.0.episode_id.clone(),
            step_id: self.0.steps.load(Ordering::Relaxed),
            action_id: push.action_id,
            event_type: push.event_type,
            reason: push.reason,
            delta: push.delta,
            reward: push.reward.filter(|reward| reward.is_finite()),
            reward_info: push.reward_info,
            terminal: push.terminal,
        }
    }

    fn is_silent(&self) -> bool {
        self.0.is_closed.load(Ordering::Acquire) || self.0.is_quiet.load(Ordering::Acquire)
    }

    /// Pushes now; never waits.
    ///
    /// # Errors
    /// When the agent reads too slowly, or is gone.
    pub fn push(&self, push: Push) -> Result<()> {
        if self.is_silent() {
            return Ok(());
        }
        Ok(self.0.session.push(&self.message(push), None)?)
    }

    /// As [`push`](Self::push), but waits for room.
    ///
    /// # Errors
    /// When the agent is gone.
    pub async fn push_wait(&self, push: Push) -> Result<()> {
        if self.is_silent() {
            return Ok(());
        }
        Ok(self.0.session.push_wait(&self.message(push), None).await?)
    }

    /// Pushes when this time is over, unless the episode is closed by then.
    ///
    /// # Errors
    /// `overloaded` when 64 of the episode wait already.
    pub fn push_later(&self, after: Duration, push: Push) -> Result<()> {
        if self.is_silent() {
            return Ok(());
        }
        if self.0.later.fetch_add(1, Ordering::AcqRel) >= MOST_LATER {
            self.0.later.fetch_sub(1, Ordering::AcqRel);
            let text = format!("{MOST_LATER} pushes of this episode wait for their time");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        let link = self.clone();
        self.0.host.spawn(async move {
            tokio::time::sleep(after).await;
            // An agent that is gone needs no push.
            link.push_wait(push).await.ok();
            link.0.later.fetch_sub(1, Ordering::AcqRel);
        });
        Ok(())
    }
}
