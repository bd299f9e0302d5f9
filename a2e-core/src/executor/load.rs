//! Descriptors and configuration to plugins: built, restored, started, routed.

use std::fmt;
use std::sync::Arc;

use super::StartError;
use super::kernel::{Kernel, within};
use crate::config::PluginConfig;
use crate::dispatch::{Gate, Parts, Permits, PluginSlot, RouteTable, SlotState, catch};
use crate::plugin::{Descriptor, Host, Registry};
use crate::{Error, Result};

/// Builds every enabled plugin in order, restores their state, starts them, and installs the table.
pub(super) async fn load_plugins(kernel: &Arc<Kernel>) -> Result<(), StartError> {
    let mut slots = Vec::new();
    let configs: Vec<PluginConfig> = kernel.config.enabled_plugins().cloned().collect();
    for config in configs {
        match build(kernel, config.clone(), None).await {
            Ok(slot) => slots.push(Arc::new(slot)),
            Err(error) => {
                let reason = error.message().to_owned();
                kernel.note_unloaded(&config.name, &config.cls, &reason);
                if config.metadata.required {
                    return give_up(kernel, slots, required(&config, reason));
                }
            }
        }
    }
    for slot in &slots {
        kernel.restore(slot).await;
    }
    for slot in &slots {
        if let Err(error) = start(kernel, slot).await {
            kernel.contributions.withdraw(slot.host.epoch());
            slot.fail(error.message());
        }
        if let (true, SlotState::Failed(reason)) = (slot.config.metadata.required, slot.state()) {
            let error = required(&slot.config, reason);
            return give_up(kernel, slots, error);
        }
    }
    let serving: Vec<Arc<PluginSlot>> =
        slots.iter().filter(|slot| slot.state() == SlotState::Serving).cloned().collect();
    let (table, problems) = RouteTable::build(&serving, &kernel.contributions.all());
    for problem in problems {
        let slot = slots.iter().find(|slot| slot.name.as_str() == problem.plugin);
        let Some(slot) = slot else { continue };
        kernel.contributions.withdraw(slot.host.epoch());
        slot.fail(problem.to_string());
        if slot.config.metadata.required {
            let error = required(&slot.config, problem.to_string());
            return give_up(kernel, slots, error);
        }
    }
    kernel.install(table, slots);
    Ok(())
}

/// Leaves what was built where the end of the host finds it and tears it down.
fn give_up(
    kernel: &Kernel,
    slots: Vec<Arc<PluginSlot>>,
    error: StartError,
) -> Result<(), StartError> {
    kernel.install(RouteTable::default(), slots);
    Err(error)
}

fn required(config: &PluginConfig, reason: String) -> StartError {
    StartError::RequiredPlugin { plugin: config.name.to_string(), reason }
}

/// The class of a configured plugin.
pub(super) fn find_class(registry: &Registry, cls: &str) -> Result<&'static Descriptor> {
    registry.find(cls).ok_or_else(|| {
        let nearest = registry.nearest(cls);
        let hint = match nearest.as_slice() {
            [] => "; `a2e plugins` lists what is linked in".to_owned(),
            names => format!("; is one of these meant: {}?", names.join(", ")),
        };
        Error::runtime(format!("no plugin class `{cls}` is linked into this program{hint}"))
    })
}

/// Builds an instance; `before` is the one in whose place it is to stand, whose record goes on.
pub(super) async fn build(
    kernel: &Arc<Kernel>,
    config: PluginConfig,
    before: Option<&Arc<PluginSlot>>,
) -> Result<PluginSlot> {
    let descriptor = find_class(&kernel.registry, &config.cls)?;
    let number = kernel.next_instance();
    let host = Host::new(kernel, &config, number as u64);
    if before.is_some() || kernel.table_generation() > 0 {
        // What it offers is seen when it serves, and may take the names of the one before it.
        kernel.contributions.stage(host.epoch());
    }
    let (build_config, build_host) = (config.clone(), host.clone());
    let work = move || caught("build", || (descriptor.build)(&build_config, &build_host));
    let built = on_thread(kernel, "build", work).await;
    let instance = built.inspect_err(|_| kernel.contributions.withdraw(host.epoch()))?;
    for problem in (descriptor.check)(&config) {
        tracing::warn!("{problem}");
    }
    let gate = gate(kernel, &config);
    let (stats, saving) = match before {
        Some(before) => (Arc::clone(&before.stats), Arc::clone(&before.saving)),
        None => Default::default(),
    };
    Ok(PluginSlot::new(Parts { number, config, descriptor, instance, host, gate, stats, saving }))
}

pub(super) fn gate(kernel: &Kernel, config: &PluginConfig) -> Arc<Gate> {
    Gate::new(permits(kernel, config), kernel.config.limits.max_queue)
}

/// `permits` of the configuration, or as many as there are threads and places in the host. Futures
/// of one session are bounded by its own limit, so that it cannot take every place of a plugin.
fn permits(kernel: &Kernel, config: &PluginConfig) -> Permits {
    let limits = &kernel.config.limits;
    let set = config.metadata.permits;
    Permits {
        pool: set.unwrap_or(limits.max_workers),
        blocking: set.unwrap_or(limits.max_workers),
        future: set.unwrap_or(limits.max_in_flight_host),
    }
}

/// Starts a plugin that is built and restored.
pub(super) async fn start(kernel: &Arc<Kernel>, slot: &Arc<PluginSlot>) -> Result<()> {
    let started = Arc::clone(slot);
    let work = move || caught("start", || started.instance.start(&started.host));
    on_thread(kernel, "start", work).await
}

/// Runs plugin code that may block on a thread for that, with a limit.
pub(super) async fn on_thread<T: Send + 'static>(
    kernel: &Kernel,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let limit = kernel.plugin_limit;
    let slow = || Error::runtime(format!("{what} took longer than {} s", limit.as_secs_f64()));
    let joined = within(limit, kernel.runtime.spawn_blocking(work)).await.ok_or_else(slow)?;
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
