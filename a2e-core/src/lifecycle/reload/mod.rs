//! Reload: from the plugins in force to those that a configuration wants, without losing a call.
//!
//! What did not change stays as it is. What changed is built beside the old, takes over its state
//! while calls wait, and then stands in its place; what cannot be built or started changes nothing.

mod plan;
mod report;
mod retire;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{PluginSlot, Plugins};
use crate::config::{HostConfig, PluginConfig};
use crate::layers::Remedy;
use crate::plugin::is_given;
use crate::protocol::PluginName;
use crate::protocol::host::{ReloadProblem, ReloadReport};
use crate::sync::Mutex;
pub use report::ReloadError;
use report::{of_config, of_plugin, summary};

/// More reloads than this do not wait for their turn.
const MAX_WAITING: usize = 8;

/// What a host keeps about reloads.
#[derive(Debug)]
pub(crate) struct Reloads {
    source: Option<PathBuf>,
    /// Whether keys that nobody reads are only warnings in it.
    is_lenient: bool,
    /// One reload at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    /// What the configuration in force says, plugins that are not enabled included.
    wanted: Mutex<Vec<PluginConfig>>,
    /// Instances that no longer stand in the table and are not torn down yet.
    retiring: Mutex<Vec<Arc<PluginSlot>>>,
}

impl Reloads {
    pub(super) fn new(source: Option<PathBuf>, is_lenient: bool, plugins: &[PluginConfig]) -> Self {
        Self {
            source,
            is_lenient,
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            wanted: Mutex::new(plugins.to_vec()),
            retiring: Mutex::default(),
        }
    }

    /// The plugins that the configuration in force names.
    pub(crate) fn wanted(&self) -> Vec<PluginConfig> {
        self.wanted.lock().clone()
    }

    fn set_wanted(&self, plugins: Vec<PluginConfig>) {
        *self.wanted.lock() = plugins;
    }

    pub(super) fn take_retiring(&self) -> Vec<Arc<PluginSlot>> {
        std::mem::take(&mut *self.retiring.lock())
    }

    /// The names of instances that still have calls.
    pub(crate) fn retiring_names(&self) -> Vec<String> {
        self.retiring.lock().iter().map(|slot| slot.name().to_string()).collect()
    }
}

/// Where the new configuration comes from.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// The file that the host was started with.
    File,
    /// Here it is.
    This(Box<HostConfig>),
    /// The one in force.
    InForce,
}

/// Instances that are built anew although nothing of their configuration changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuild {
    pub(crate) names: Vec<PluginName>,
    /// Whether their state is not to be trusted, so that the last snapshot is taken instead.
    pub(crate) is_suspect: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Change {
    Add(Box<PluginConfig>),
    Remove(PluginName),
    Replace(Box<PluginConfig>),
}

impl Plugins {
    /// Changes one plugin and leaves all others as they are.
    /// Errors: Then nothing has changed.
    pub(crate) async fn change_one(
        self: &Arc<Self>,
        change: Change,
    ) -> Result<ReloadReport, ReloadError> {
        let _turn = self.reloads.turn.lock().await;
        let mut plugins = self.reloads.wanted();
        let (name, config) = match change {
            Change::Add(config) => {
                if plugins.iter().any(|it| it.name == config.name) {
                    let text = format!("the name `{}` is taken by another plugin", config.name);
                    return Err(ReloadError::Plugins(vec![of_plugin(&config.name, text)]));
                }
                plugins.push(*config);
                return self.put_these_in_force(plugins).await;
            }
            Change::Remove(name) => (name, None),
            Change::Replace(config) => (config.name.clone(), Some(*config)),
        };
        let Some(place) = plugins.iter().position(|it| it.name == name) else {
            let text = format!("no plugin is named `{name}`");
            return Err(ReloadError::Plugins(vec![of_plugin(&name, text)]));
        };
        match (config, plugins.get_mut(place)) {
            (Some(config), Some(known)) => *known = config,
            _ => drop(plugins.remove(place)),
        }
        self.put_these_in_force(plugins).await
    }

    async fn put_these_in_force(
        self: &Arc<Self>,
        plugins: Vec<PluginConfig>,
    ) -> Result<ReloadReport, ReloadError> {
        if self.services.live.is_draining() {
            return Err(ReloadError::Ending);
        }
        self.put_in_force(plugins, &Rebuild::default()).await
    }

    /// Whether there is a file to read again.
    pub(crate) fn has_file(&self) -> bool {
        self.reloads.source.is_some()
    }

    /// Puts a configuration in force.
    /// Errors: Then nothing has changed.
    pub(crate) async fn reload(
        self: &Arc<Self>,
        wanted: Wanted,
        rebuild: Rebuild,
    ) -> Result<ReloadReport, ReloadError> {
        if self.reloads.waiting.fetch_add(1, Ordering::SeqCst) >= MAX_WAITING {
            self.reloads.waiting.fetch_sub(1, Ordering::SeqCst);
            return Err(ReloadError::Busy);
        }
        let turn = self.reloads.turn.lock().await;
        self.reloads.waiting.fetch_sub(1, Ordering::SeqCst);
        let outcome = self.reload_in_turn(wanted, rebuild).await;
        drop(turn);
        outcome
    }

    async fn reload_in_turn(
        self: &Arc<Self>,
        wanted: Wanted,
        rebuild: Rebuild,
    ) -> Result<ReloadReport, ReloadError> {
        if self.services.live.is_draining() {
            return Err(ReloadError::Ending);
        }
        let outcome = match self.read(wanted).await {
            Ok((plugins, needs_restart)) => {
                let report = self.put_in_force(plugins, &rebuild).await;
                report.map(|report| ReloadReport { needs_restart, ..report })
            }
            Err(error) => Err(error),
        };
        match &outcome {
            Ok(report) => {
                tracing::info!(generation = report.generation, did = summary(report), "reloaded");
                for key in &report.needs_restart {
                    tracing::warn!(key, "changed in the file; takes effect at the next start");
                }
            }
            Err(error) => tracing::error!(%error, "reload refused; nothing has changed"),
        }
        outcome
    }

    /// The plugins that are wanted, and what else differs from what the host was started with.
    async fn read(
        self: &Arc<Self>,
        wanted: Wanted,
    ) -> Result<(Vec<PluginConfig>, Vec<String>), ReloadError> {
        let mut config = match wanted {
            Wanted::InForce => return Ok((self.reloads.wanted(), Vec::new())),
            Wanted::This(config) => *config,
            Wanted::File => {
                let file = self.reloads.source.clone().ok_or(ReloadError::NoFile)?;
                let is_lenient = self.reloads.is_lenient;
                let work = move || HostConfig::from_yaml_as(file, is_lenient);
                let read = self.services.runtime.spawn_blocking(work).await;
                let loaded = read.map_err(|_| ReloadError::Ending)?.map_err(ReloadError::Config)?;
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                loaded.config
            }
        };
        // Instances of the program stay: no configuration names them.
        let given = self.reloads.wanted().into_iter().filter(|it| is_given(&it.cls));
        config.plugins.extend(given);
        let problems = config.problems().into_iter().filter(crate::config::Problem::is_error);
        let problems: Vec<ReloadProblem> = problems.map(|it| of_config(&it)).collect();
        if !problems.is_empty() {
            return Err(ReloadError::Plugins(problems));
        }
        let needs_restart = self.services.config.differs_beyond_plugins(&config);
        Ok((config.plugins, needs_restart.into_iter().map(str::to_owned).collect()))
    }

    /// Does what is to be done after a panic, or when a plugin says that its state is suspect.
    pub(crate) fn heal(self: &Arc<Self>, slot: &Arc<PluginSlot>, remedy: Remedy, reason: &str) {
        if !slot.is_serving() {
            // Out of service already, or a last call of an instance that was replaced.
            return;
        }
        match remedy {
            Remedy::Nothing => {}
            Remedy::Quarantine => slot.quarantine(format!("{reason}, and did so after a rebuild")),
            Remedy::Rebuild => {
                tracing::warn!(plugin = %slot.name(), reason, "the plugin is built anew");
                // Nothing more happens in an instance that may be broken.
                slot.endpoint.pause();
                let (plugins, slot, reason) =
                    (Arc::clone(self), Arc::clone(slot), reason.to_owned());
                self.services.runtime.spawn(async move {
                    let rebuild = Rebuild { names: vec![slot.name().clone()], is_suspect: true };
                    // It waits for its turn however many do: at most one for each plugin.
                    let turn = plugins.reloads.turn.lock().await;
                    let reloaded = plugins.reload_in_turn(Wanted::InForce, rebuild).await;
                    drop(turn);
                    if let Err(error) = reloaded {
                        slot.fail(format!("{reason}; it could not be built anew: {error}"));
                    } else if slot.is_serving() {
                        // It was replaced by another reload meanwhile.
                        slot.endpoint.resume();
                    }
                });
            }
        }
    }
}
