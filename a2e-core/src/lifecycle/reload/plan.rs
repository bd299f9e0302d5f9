//! Which plugins stay, move, are built anew, come and go; and the one step that puts them in force.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::report::of_plugin;
use super::{Rebuild, ReloadError};
use crate::config::{PluginConfig, did_you_mean};
use crate::counters::Count;
use crate::lifecycle::load::{caught, on_thread};
use crate::lifecycle::set::NewViews;
use crate::lifecycle::{PluginSlot, Plugins};
use crate::plugin::{Interception, Scope};
use crate::protocol::host::{ReloadProblem, ReloadReport};
use crate::protocol::{Changed, PluginName};
use crate::{Error, Result};

/// How long a hand-over waits for calls that run in the old instance. What they change after that
/// is not in the new one.
const HANDOVER: Duration = Duration::from_secs(2);

/// What becomes of one plugin that is wanted.
enum Step {
    /// The instance and its place stay.
    Keep(Arc<PluginSlot>),
    /// The instance stays in another place.
    Adjust {
        old: Arc<PluginSlot>,
        new: Arc<PluginSlot>,
    },
    /// Another instance.
    Replace {
        old: Arc<PluginSlot>,
        new: Arc<PluginSlot>,
    },
    Add(Arc<PluginSlot>),
    /// It failed before, with the same configuration, and fails still.
    Fail {
        config: Box<PluginConfig>,
        old: Option<Arc<PluginSlot>>,
        reason: String,
    },
}

impl Step {
    /// The plugin that stands in the table after it.
    fn slot(&self) -> Option<&Arc<PluginSlot>> {
        match self {
            Self::Keep(slot) | Self::Add(slot) => Some(slot),
            Self::Adjust { new, .. } | Self::Replace { new, .. } => Some(new),
            Self::Fail { old, .. } => old.as_ref(),
        }
    }

    /// An instance that was built for this reload.
    fn built(&self) -> Option<&Arc<PluginSlot>> {
        match self {
            Self::Replace { new, .. } | Self::Add(new) => Some(new),
            _ => None,
        }
    }
}

impl Plugins {
    /// Builds what is new, hands state over, and swaps the table. On an error everything is as before.
    pub(super) async fn put_in_force(
        self: &Arc<Self>,
        wanted: Vec<PluginConfig>,
        rebuild: &Rebuild,
    ) -> Result<ReloadReport, ReloadError> {
        let mut problems = unknown_names(&wanted, rebuild);
        let mut steps = Vec::new();
        for config in wanted.iter().filter(|it| it.metadata.enabled) {
            match self.step(config, rebuild).await {
                Ok(step) => steps.push(step),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() {
            problems = self.hand_over(&mut steps, rebuild).await;
        }
        let leaving = self.leaving(&steps);
        let mut views = NewViews::of(&[], &[], &[]).0;
        if problems.is_empty() {
            match self.views_of(&steps, &leaving) {
                Ok(built) => views = built,
                Err(contradictions) => problems = contradictions,
            }
        }
        if !problems.is_empty() {
            self.undo(steps).await;
            return Err(ReloadError::Plugins(problems));
        }
        let report = self.swap(views, &steps, &leaving);
        self.reloads.set_wanted(wanted);
        Ok(report)
    }

    /// Compares one plugin with what is in force, and builds it where it has to be.
    async fn step(
        self: &Arc<Self>,
        config: &PluginConfig,
        rebuild: &Rebuild,
    ) -> Result<Step, ReloadProblem> {
        let old = self.set.find(&config.name);
        let before = self.reloads.wanted().into_iter().find(|it| it.name == config.name);
        let is_same = before.is_some_and(|it| it.metadata.enabled && it.is_same(config));
        let is_forced = rebuild.names.contains(&config.name);
        if let Some(old) = old.as_ref().filter(|it| it.is_serving() && !is_forced) {
            if is_same {
                return Ok(Step::Keep(Arc::clone(old)));
            }
            if old.config.has_same_instance(config) {
                let keeps_gate = old.config.metadata.permits == config.metadata.permits;
                let gate =
                    if keeps_gate { Arc::clone(&old.endpoint.gate) } else { self.gate(config) };
                let new = self.set.note(old.moved(config.clone(), gate));
                return Ok(Step::Adjust { old: Arc::clone(old), new });
            }
        }
        match self.build(config.clone(), old.as_ref()).await {
            Ok(new) => Ok(match old {
                Some(old) => Step::Replace { old, new },
                None => Step::Add(new),
            }),
            Err(error) if is_same && !is_forced => {
                let reason = error.message().to_owned();
                Ok(Step::Fail { config: Box::new(config.clone()), old, reason })
            }
            Err(error) => {
                let message = format!("plugin `{}`: {}", config.name, error.message());
                Err(of_plugin(&config.name, message))
            }
        }
    }

    /// Gives each new instance its state and starts it. Calls of those that are replaced wait from
    /// here to the swap.
    async fn hand_over(
        self: &Arc<Self>,
        steps: &mut [Step],
        rebuild: &Rebuild,
    ) -> Vec<ReloadProblem> {
        let mut problems = Vec::new();
        for step in steps.iter_mut() {
            let Some(new) = step.built().map(Arc::clone) else { continue };
            let ready = if let Step::Replace { old, .. } = &*step {
                self.succeed(old, &new, rebuild).await
            } else {
                self.restore(&new).await;
                Ok(())
            };
            let started = match ready {
                Ok(()) => self.start(&new).await,
                Err(error) => Err(error),
            };
            if let Err(error) = started {
                let message = format!("plugin `{}`: {}", new.name(), error.message());
                problems.push(of_plugin(new.name(), message));
            }
        }
        problems
    }

    /// Brings the state of the old instance to the new one.
    async fn succeed(
        self: &Arc<Self>,
        old: &Arc<PluginSlot>,
        new: &Arc<PluginSlot>,
        rebuild: &Rebuild,
    ) -> Result<()> {
        let is_other_class = old.class.facts().cls != new.class.facts().cls;
        let is_suspect = rebuild.is_suspect && rebuild.names.contains(old.name());
        if is_other_class || is_suspect || !old.is_serving() {
            if is_suspect {
                self.idle(old, HANDOVER).await;
            }
            self.restore(new).await;
            self.restore_sessions_of(new).await;
            return Ok(());
        }
        old.endpoint.pause();
        if !self.idle(old, HANDOVER).await {
            tracing::warn!(plugin = %old.name(),
                "calls still run in the old instance; what they change from now on is lost");
        }
        let failed = |error: Error| {
            Error::runtime(format!("its state was not handed over: {}", error.message()))
        };
        let (from, to) = (Arc::clone(old), Arc::clone(new));
        let work = move || hand_over_scope(&from, &to, Scope::Host);
        if old.instances.is_none() {
            on_thread(self, "the hand-over of its state", work).await.map_err(failed)?;
        }
        // Each session has the time of its own: many of them take long together, and a plugin that
        // hangs in one is found there.
        for session in self.services.live.all() {
            let (from, to, limit) = (Arc::clone(old), Arc::clone(new), self.limit);
            let work = move || match (&from.instances, &to.instances) {
                (Some(before), Some(after)) => after.take_over(before, &session, limit),
                _ => hand_over_scope(&from, &to, Scope::Session(session.id())),
            };
            on_thread(self, "the hand-over of a session's state", work).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Plugins in force that are wanted no more.
    fn leaving(&self, steps: &[Step]) -> Vec<Arc<PluginSlot>> {
        let stays = |slot: &PluginSlot| {
            steps.iter().filter_map(Step::slot).any(|it| it.name() == slot.name())
        };
        self.set.all().into_iter().filter(|slot| !stays(slot)).collect()
    }

    fn views_of(
        &self,
        steps: &[Step],
        leaving: &[Arc<PluginSlot>],
    ) -> Result<NewViews, Vec<ReloadProblem>> {
        let (arriving, leaving) = epochs(steps, leaving);
        let slots: Vec<Arc<PluginSlot>> = steps.iter().filter_map(Step::slot).cloned().collect();
        let interceptions =
            self.services.contributions.all_after::<Interception>(&arriving, &leaving);
        let (views, problems) = NewViews::of(&slots, &interceptions, &self.services.config.approve);
        if problems.is_empty() {
            return Ok(views);
        }
        Err(problems.into_iter().map(|it| of_plugin(&it.plugin, it.to_string())).collect())
    }

    /// The one step in which everything changes. From here on nothing fails.
    fn swap(
        self: &Arc<Self>,
        views: NewViews,
        steps: &[Step],
        leaving: &[Arc<PluginSlot>],
    ) -> ReloadReport {
        let (arriving, going) = epochs(steps, leaving);
        self.services.contributions.exchange(&arriving, &going);
        let slots: Vec<Arc<PluginSlot>> = steps.iter().filter_map(Step::slot).cloned().collect();
        self.install(views, slots);
        self.set.forget_unloaded();
        let mut report =
            ReloadReport { ok: true, generation: self.views.generation(), ..Default::default() };
        let mut changed: Vec<Arc<PluginSlot>> = leaving.to_vec();
        for step in steps {
            match step {
                Step::Keep(slot) => report.kept.push(slot.name().to_string()),
                Step::Adjust { old, new } => {
                    old.endpoint.retire(Some(&new.endpoint));
                    report.adjusted.push(new.name().to_string());
                    if old.config.metadata.tenants != new.config.metadata.tenants {
                        changed.extend([Arc::clone(old), Arc::clone(new)]);
                    }
                }
                Step::Replace { old, new } => {
                    // Counted first: calls that wait go to the new one at once.
                    new.stats().rebuilds.add();
                    old.endpoint.retire(Some(&new.endpoint));
                    self.see_off(old, false);
                    report.rebuilt.push(new.name().to_string());
                    changed.push(Arc::clone(old));
                    changed.push(Arc::clone(new));
                }
                Step::Add(slot) => {
                    report.added.push(slot.name().to_string());
                    changed.push(Arc::clone(slot));
                }
                Step::Fail { config, old, reason } => {
                    if old.is_none() {
                        self.set.note_unloaded(&config.name, &config.cls, reason);
                    }
                    report.failed.push(config.name.to_string());
                }
            }
        }
        for slot in leaving {
            self.see_off(slot, true);
            report.removed.push(slot.name().to_string());
        }
        self.tell_of_change(&changed);
        report
    }

    /// Gives up what was built for a reload that is refused.
    async fn undo(self: &Arc<Self>, steps: Vec<Step>) {
        for step in steps {
            if let Step::Replace { old, .. } = &step
                && old.is_serving()
            {
                old.endpoint.resume();
            }
            if let Some(new) = step.built() {
                self.end_instances(new).await;
                self.tear_down(new).await;
            }
        }
    }

    /// Sends `<ns>/changed/push` to sessions that use a capability whose plugins changed, as far as
    /// they see those.
    fn tell_of_change(&self, changed: &[Arc<PluginSlot>]) {
        let namespaces = |slot: &PluginSlot| -> Vec<String> {
            let handlers = slot.handlers();
            let types = handlers.iter().map(|it| it.spec.wire_type.split_once('/'));
            types.flatten().map(|(namespace, _)| namespace.to_owned()).collect()
        };
        // The number that plugins give, too, when their offers change without a reload.
        let generation = self.services.contributions.generation();
        for session in self.services.live.all() {
            let tenant = session.identity().tenant.as_deref();
            let used = changed.iter().filter(|slot| {
                slot.is_seen_by(tenant) && session.uses(&slot.endpoint.label.capability)
            });
            let told: BTreeSet<String> = used.flat_map(|slot| namespaces(slot)).collect();
            for namespace in told {
                let wire_type = format!("{namespace}/changed/push");
                let body = Changed { generation };
                if session.outbox.is_full() || session.push(&wire_type, &body, None).is_err() {
                    self.services.counters.add(Count::DroppedPush);
                }
            }
        }
    }
}

/// The instances whose contributions are shown, and those whose are withdrawn.
fn epochs(steps: &[Step], leaving: &[Arc<PluginSlot>]) -> (Vec<u64>, Vec<u64>) {
    let arriving = steps.iter().filter_map(Step::built).map(|slot| slot.host.epoch());
    let replaced = steps.iter().filter_map(|step| match step {
        Step::Replace { old, .. } => Some(old.host.epoch()),
        _ => None,
    });
    let going = replaced.chain(leaving.iter().map(|slot| slot.host.epoch()));
    (arriving.collect(), going.collect())
}

/// Brings the state of one scope from an instance to the one in its place.
fn hand_over_scope(from: &PluginSlot, to: &PluginSlot, scope: Scope<'_>) -> Result<()> {
    match caught("save", || from.instance.save(scope))? {
        Some(state) => caught("restore", || to.instance.restore(scope, state)),
        None => Ok(()),
    }
}

fn unknown_names(wanted: &[PluginConfig], rebuild: &Rebuild) -> Vec<ReloadProblem> {
    let is_known =
        |name: &&PluginName| wanted.iter().any(|it| it.name == **name && it.metadata.enabled);
    let unknown = rebuild.names.iter().filter(|name| !is_known(name));
    unknown
        .map(|name| {
            let text = format!("no enabled plugin is named `{name}`, so it cannot be rebuilt");
            let known = wanted.iter().map(|it| it.name.as_str());
            let near = did_you_mean(name.as_str(), known);
            of_plugin(name, near.map_or(text.clone(), |near| format!("{text}; {near}")))
        })
        .collect()
}
