//! The environment behind an episode: how it is begun, and had again after a sleep, a crash or a restart.

use a2e_core::codec::RawJson;
use a2e_core::{Error, Result};

use crate::env::contract::{Environment, EnvironmentClass, JsonObject, Link, Observed};
use crate::env::outside::{Outside, OutsideEpisode};

/// The environment behind an episode.
#[derive(Default)]
pub(in crate::env) struct Body {
    /// `None`: it sleeps, and is had again when it is needed.
    pub(super) live: Option<Live>,
    pub(super) link: Option<Link>,
    /// What it said of itself before it slept.
    pub(super) saved: Option<RawJson>,
}

pub(in crate::env) enum Live {
    Local(Box<dyn Environment>),
    Outside(OutsideEpisode),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("sleeps", &self.live.is_none()).finish_non_exhaustive()
    }
}

/// A run so far: all that is needed to have it again.
#[derive(Clone, Debug)]
pub(in crate::env) struct Run {
    pub(super) seed: i64,
    pub(super) options: JsonObject,
    pub(super) actions: Vec<JsonObject>,
    /// The state that it led to; `None` for one that begins.
    pub(super) state: Option<JsonObject>,
}

impl Run {
    /// Whether the agent had it before, with all its pushes.
    fn is_again(&self) -> bool {
        self.state.is_some()
    }

    /// Whether it led where it led before.
    fn check(&self, seen: &Observed) -> Result<()> {
        let value = |it: &JsonObject| it.decode::<serde_json::Value>("state").ok();
        // What came by way of an agent may be written otherwise.
        let is_same =
            |state: &JsonObject| *state == seen.state || value(state) == value(&seen.state);
        if self.state.as_ref().is_none_or(is_same) {
            return Ok(());
        }
        Err(Error::runtime(
            "the episode is lost: with the same seed, options and actions the environment comes to another \
             state. Call reset().",
        ))
    }
}

impl Body {
    /// The environment in this process. What takes it puts it back, unless it panics.
    ///
    /// # Errors
    /// Those of the environment; and when its run leads elsewhere than before.
    pub(super) fn local(
        &mut self,
        class: &dyn EnvironmentClass,
        link: impl FnOnce() -> Link,
        run: impl FnOnce() -> Result<Run>,
    ) -> Result<(Box<dyn Environment>, Option<Observed>)> {
        if let Some(Live::Local(live)) = self.live.take() {
            return Ok((live, None));
        }
        let link = link();
        let mut live = class.make(link.clone())?;
        self.link = Some(link.clone());
        if let Some(saved) = &self.saved {
            live.restore(saved)?;
            self.saved = None;
            return Ok((live, None));
        }
        let run = run()?;
        link.set_quiet(run.is_again());
        let mut seen = live.reset(run.seed.cast_unsigned(), &run.options)?;
        for action in &run.actions {
            seen = live.step(action)?;
        }
        run.check(&seen)?;
        link.set_quiet(false);
        Ok((live, Some(seen)))
    }

    /// The episode outside. What takes it puts it back, unless it is broken or nobody waits any more.
    ///
    /// # Errors
    /// As [`local`](Self::local).
    pub(super) async fn outside(
        &mut self,
        outside: &Outside,
        link: impl FnOnce() -> Link,
        run: impl FnOnce() -> Result<Run>,
    ) -> Result<(OutsideEpisode, Option<Observed>)> {
        if let Some(Live::Outside(episode)) = self.live.take()
            && !episode.has_ended()
        {
            return Ok((episode, None));
        }
        let run = run()?;
        let link = link();
        let mut episode = outside.open(&link).await?;
        self.link = Some(link.clone());
        link.set_quiet(run.is_again());
        let mut seen = episode.reset(run.seed, &run.options).await?;
        for action in &run.actions {
            seen = episode.step(action).await?;
        }
        run.check(&seen)?;
        link.set_quiet(false);
        Ok((episode, Some(seen)))
    }
}
