//! Descriptors and configuration to plugins: built, restored, started, routed.

use std::fmt;
use std::sync::Arc;

use super::set::NewViews;
use super::slot::Parts;
use super::{PluginSlot, Plugins, SlotState, within};
use crate::config::{PluginConfig, Problem};
use crate::layers::{Gate, Permits, catch};
use crate::plugin::{Host, HostDesk, PluginClass, Registry};
use crate::{Error, Result};

/// A plugin with `required: true` could not be loaded.
#[derive(Debug)]
pub(crate) struct LoadError {
    pub(crate) plugin: String,
    pub(crate) reason: String,
}

impl Plugins {
    /// Builds every enabled plugin in order, restores their state, starts them, and puts them in force.
    /// Errors: When a required plugin fails. What was built is where the end of the host finds it.
    pub(crate) async fn load(self: &Arc<Self>) -> Result<(), LoadError> {
        let mut slots = Vec::new();
        let configs: Vec<PluginConfig> = self.services.config.enabled_plugins().cloned().collect();
        for config in configs {
            match self.build(config.clone(), None).await {
                Ok(slot) => slots.push(slot),
                Err(error) => {
                    let reason = error.message().to_owned();
                    self.set.note_unloaded(&config.name, &config.cls, &reason);
                    if config.metadata.required {
                        return Err(self.stop_loading(slots, &config, reason));
                    }
                }
            }
        }
        for slot in &slots {
            self.restore(slot).await;
        }
        for slot in &slots {
            if let Err(error) = self.start(slot).await {
                self.services.contributions.withdraw(slot.host.epoch());
                slot.fail(error.message());
            }
            if let (true, SlotState::Failed(reason)) = (slot.config.metadata.required, slot.state())
            {
                let config = slot.config.clone();
                return Err(self.stop_loading(slots, &config, reason));
            }
        }
        let (mut views, problems) =
            NewViews::of(&slots, &self.services.contributions.all(), &self.services.config.approve);
        let has_problems = !problems.is_empty();
        for problem in problems {
            let slot = slots.iter().find(|slot| slot.name().as_str() == problem.plugin);
            let Some(slot) = slot else { continue };
            self.services.contributions.withdraw(slot.host.epoch());
            slot.fail(problem.to_string());
            if slot.config.metadata.required {
                let config = slot.config.clone();
                return Err(self.stop_loading(slots, &config, problem.to_string()));
            }
        }
        if has_problems {
            (views, _) = NewViews::of(
                &slots,
                &self.services.contributions.all(),
                &self.services.config.approve,
            );
        }
        self.install(views, slots);
        Ok(())
    }

    /// Leaves what was built where the end of the host finds it and tears it down.
    fn stop_loading(
        &self,
        slots: Vec<Arc<PluginSlot>>,
        config: &PluginConfig,
        reason: String,
    ) -> LoadError {
        self.install(NewViews::of(&[], &[], &[]).0, slots);
        LoadError { plugin: config.name.to_string(), reason }
    }

    /// Builds an instance; `before` is the one in whose place it is to stand, whose record goes on.
    pub(crate) async fn build(
        self: &Arc<Self>,
        config: PluginConfig,
        before: Option<&Arc<PluginSlot>>,
    ) -> Result<Arc<PluginSlot>> {
        let class = find_class(&self.registry, &config.cls)?;
        check(&*class, &config)?;
        let number = self.set.next_instance();
        let desk: std::sync::Weak<dyn HostDesk> = self.me.clone();
        let (children, store) = (self.children.clone(), self.states.store.clone());
        let host = Host::new(&self.services, children, store, desk, &config, number as u64);
        if before.is_some() || self.views.generation() > 0 {
            // What it offers is seen when it serves, and may take the names of the one before it.
            self.services.contributions.stage(host.epoch());
        }
        let (build_class, build_config, build_host) =
            (Arc::clone(&class), config.clone(), host.clone());
        let work = move || caught("build", || build_class.build(&build_config, &build_host));
        let built = on_thread(self, "build", work).await;
        let instance = built.inspect_err(|_| self.services.contributions.withdraw(host.epoch()))?;
        let gate = self.gate(&config);
        let (stats, saving) = match before {
            Some(before) => (Arc::clone(before.stats()), Arc::clone(before.saving())),
            None => Default::default(),
        };
        let instances = None;
        Ok(self.set.note(PluginSlot::new(Parts {
            number,
            config,
            class,
            instance,
            host,
            gate,
            stats,
            saving,
            instances,
        })))
    }

    pub(super) fn gate(&self, config: &PluginConfig) -> Arc<Gate> {
        let limits = &self.services.config.limits;
        Gate::new(self.permits(config), limits.max_queue, &self.services.shortage)
    }

    /// `permits` of the configuration, or as many as there are threads and places in the host. Futures
    /// of one session are bounded by its own limit, so that it cannot take every place of a plugin.
    fn permits(&self, config: &PluginConfig) -> Permits {
        let limits = &self.services.config.limits;
        let set = config.metadata.permits;
        Permits {
            pool: set.unwrap_or(limits.max_workers),
            blocking: set.unwrap_or(limits.max_workers),
            future: set.unwrap_or(limits.max_in_flight_host),
        }
    }

    /// Starts a plugin that is built and restored.
    pub(super) async fn start(&self, slot: &Arc<PluginSlot>) -> Result<()> {
        let started = Arc::clone(slot);
        let work = move || caught("start", || started.instance.start(&started.host));
        on_thread(self, "start", work).await
    }
}

fn find_class(registry: &Registry, cls: &str) -> Result<Arc<dyn PluginClass>> {
    registry.find(cls).ok_or_else(|| {
        let nearest = registry.nearest(cls);
        let hint = match nearest.as_slice() {
            [] => "; `a2e plugins` lists what is linked in, `link()` of a crate of plugins keeps them \
                   in the program"
                .to_owned(),
            names => format!("; is one of these meant: {}?", names.join(", ")),
        };
        Error::runtime(format!("no plugin class `{cls}` is linked into this program{hint}"))
    })
}

/// Refuses settings with errors before anything is built from them; warnings go to the log.
fn check(class: &dyn PluginClass, config: &PluginConfig) -> Result<()> {
    let (errors, warnings): (Vec<Problem>, _) =
        class.check(config).into_iter().partition(Problem::is_error);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Err(Error::runtime(texts.join("; ")))
}

/// Runs plugin code that may block on a thread for that, with a limit.
pub(super) async fn on_thread<T: Send + 'static>(
    plugins: &Plugins,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let limit = plugins.limit;
    let slow = || Error::runtime(format!("{what} took longer than {} s", limit.as_secs_f64()));
    let joined =
        within(limit, plugins.services.runtime.spawn_blocking(work)).await.ok_or_else(slow)?;
    joined.unwrap_or_else(|error| Err(Error::internal(format!("{what}: {error}"))))
}

/// Calls plugin code; a panic becomes an error.
pub(super) fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch(work).unwrap_or_else(|panic| Err(Error::internal(format!("panicked in {what}: {panic}"))))
}

/// Calls plugin code that reports nothing; a panic goes to the log.
pub(super) fn contained(plugin: impl fmt::Display, what: &str, work: impl FnOnce()) {
    let result = caught(what, || {
        work();
        Ok(())
    });
    if let Err(error) = result {
        tracing::error!(%plugin, %error, "plugin failed");
    }
}
