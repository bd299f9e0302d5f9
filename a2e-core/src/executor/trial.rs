//! Trying a configuration out: its plugins are built, never started, and let go again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::builder::{Builder, StartError};
use crate::Error;
use crate::audit::AuditLog;
use crate::children::{Supervisor, SupervisorConfig};
use crate::config::{PluginConfig, Problem, Severity};
use crate::lifecycle::{Brought, Plugins};
use crate::plugin::Registry;
use crate::protocol::CapabilityName;
use crate::request::Services;

/// What a trial found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Trial {
    /// Everything that is wrong, in the order of the configuration.
    pub problems: Vec<Problem>,
    /// The message types of each plugin that could be built.
    pub types: BTreeMap<String, Vec<String>>,
}

impl Builder {
    /// Finds out what would keep plugins from being loaded: checks the configuration and builds each
    /// plugin that is enabled. None is started, no state is read, and nothing is listened at or written;
    /// what a class would leave behind by itself, it leaves out in a [trial](crate::plugin::Host::is_trial).
    ///
    /// # Errors
    /// When the classes of the program contradict each other, or there is no tokio to run in.
    pub async fn try_out(self) -> Result<Trial, StartError> {
        let registry = match self.registry {
            Some(registry) => registry,
            None => Registry::linked()?,
        };
        for class in self.given {
            registry.add(class)?;
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::internal("a trial needs a running tokio"))?;
        let guard = SupervisorConfig { guard: self.guard, ..SupervisorConfig::default() };
        let children = Supervisor::new(guard)?;
        let audit = Arc::new(AuditLog::off());
        let services = Services::new(Arc::new(self.config), self.clock, runtime, audit);
        let brought = Brought {
            registry,
            source: None,
            is_lenient: self.is_lenient,
            store: None,
            children: Some(Arc::clone(&children)),
            limit: self.plugin_limit,
        };
        let plugins = Plugins::new(&services, brought);
        let mut trial = Trial { problems: services.config.problems(), ..Trial::default() };
        for config in services.config.enabled_plugins() {
            try_plugin(&plugins, config, &mut trial).await;
        }
        children.shutdown(Duration::from_millis(200)).await;
        trial.problems.sort_by_key(|problem| (problem.line, problem.column));
        Ok(trial)
    }
}

async fn try_plugin(plugins: &Arc<Plugins>, config: &PluginConfig, trial: &mut Trial) {
    let Some(class) = plugins.registry.find(&config.cls) else {
        let text = format!("no plugin class `{}` is linked into this program", config.cls);
        let nearest = plugins.registry.nearest(&config.cls).into_iter().next();
        let hint = nearest.map(|name| format!("did you mean `{name}`?"));
        return trial.problems.push(config.cls_problem(Severity::Error, text, hint));
    };
    let mut problems = class.check(config);
    if CapabilityName::parse(class.facts().capability) != config.capability {
        let (is, not) = (class.facts().capability, &config.type_name);
        let text = format!("this class is of type `{is}`, not `{not}`");
        problems.push(config.cls_problem(Severity::Warning, text, None));
    }
    let is_sound = !problems.iter().any(Problem::is_error);
    trial.problems.append(&mut problems);
    if !is_sound {
        return;
    }
    match plugins.build(config.clone(), None).await {
        Ok(slot) => {
            let types = slot.handlers().iter().map(|it| it.spec.wire_type.to_string()).collect();
            trial.types.insert(config.name.to_string(), types);
            plugins.tear_down(&slot).await;
        }
        Err(error) => trial.problems.push(unbuilt(config, error.message())),
    }
}

/// Where the reason begins with the name of a setting, the problem stands there.
fn unbuilt(config: &PluginConfig, reason: &str) -> Problem {
    let text = format!("cannot be loaded: {reason}");
    let setting = reason.trim_start_matches('`').split(['`', ':']).next().unwrap_or_default();
    match config.position_of(setting) {
        Some(_) => config.setting_problem(Severity::Error, setting, text, None),
        None => config.cls_problem(Severity::Error, text, None),
    }
}
