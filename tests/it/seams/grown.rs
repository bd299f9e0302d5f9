//! A plugin class that is known only at run time, as a catalog of uploaded packages would add it: an
//! owned value, and plugins whose types and texts come from their settings.

use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::config::PluginConfig;
use a2e_core::plugin::{
    ClassFacts, Handlers, Host, Loaded, Plugin, PluginClass, RawReply, Run, TypeSpec, load,
};
use a2e_core::protocol::{Deadline, Fold};
use a2e_core::{Error, Result};
use serde_json::json;

/// A class that a test owns. It gives away the host of each plugin that was built of it last.
#[derive(Debug)]
pub(super) struct Grown {
    cls: String,
    hosts: Mutex<Vec<Host>>,
}

impl Grown {
    pub(super) fn new(cls: &str) -> Arc<Self> {
        Arc::new(Self { cls: cls.to_owned(), hosts: Mutex::default() })
    }

    /// The host as a plugin of this class sees it.
    pub(super) fn host(&self, name: &str) -> Host {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().rfind(|host| host.plugin().as_str() == name).cloned().expect("it was built")
    }

    /// Forgets the hosts, which know nothing of the class.
    pub(super) fn forget(&self) {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A plugin of a class, of capability `tools`, with types of its own.
pub(super) fn of_class(cls: &str, name: &str, types: &[&str]) -> PluginConfig {
    PluginConfig::new(name, "tools", cls).with_setting("types", types)
}

struct Plant {
    types: Vec<String>,
    text: String,
    deadline: Deadline,
    subject: Vec<String>,
}

impl PluginClass for Grown {
    fn facts(&self) -> ClassFacts<'_> {
        ClassFacts::new(&self.cls, "tools")
    }

    fn build(&self, config: &PluginConfig, host: &Host) -> Result<Arc<Loaded>> {
        let settings = config.settings();
        let text = settings.get("text").and_then(|it| it.as_str()).unwrap_or_default().to_owned();
        if text == "unfit" {
            return Err(Error::runtime("unfit to be built"));
        }
        let types = settings.get("types").cloned().unwrap_or_default();
        let types = serde_json::from_value(types).unwrap_or_default();
        let subject = settings.get("subject").cloned().unwrap_or_default();
        let subject = serde_json::from_value(subject).unwrap_or_default();
        let seconds = settings.get("deadline_of_types").and_then(serde_json::Value::as_u64);
        let deadline = seconds.map_or(Deadline::Default, |seconds| {
            Deadline::After(std::time::Duration::from_secs(seconds))
        });
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).push(host.clone());
        Ok(load(Plant { types, text, deadline, subject }))
    }
}

impl Plugin for Plant {
    fn handlers(on: &mut Handlers<Self>) {
        for wire_type in on.plugin().types.clone() {
            let deadline = on.plugin().deadline;
            let spec = TypeSpec::request(wire_type, "grown/resp");
            let spec = spec.with_subject(on.plugin().subject.clone());
            let spec = TypeSpec { fold: Fold::First, deadline, ..spec };
            on.dynamic(spec, Run::Inline, |plant, _, _| {
                Ok(RawReply::new("grown/resp", &json!({ "text": plant.text }))?.into())
            });
        }
    }
}
