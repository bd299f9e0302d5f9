//! An instance that a program made itself, as a class of its own.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use super::{ClassFacts, Host, Loaded, Plugin, PluginClass, load};
use crate::config::PluginConfig;
use crate::sync::Mutex;
use crate::{Error, Result};

/// The beginning of the `cls` of such a class; the name of the instance follows.
const PREFIX: &str = "given:";

/// Whether plugins of this class are instances of the program: no file names them, and nothing can build
/// them anew.
pub(crate) fn is_given(cls: &str) -> bool {
    cls.starts_with(PREFIX)
}

/// The class of one instance.
pub(crate) struct Given<P> {
    cls: String,
    capability: String,
    /// Until it is loaded.
    instance: Mutex<Option<P>>,
}

impl<P: Plugin> Given<P> {
    /// The class of this instance, and its entry in a configuration.
    pub(crate) fn new(mut config: PluginConfig, instance: P) -> (PluginConfig, Self) {
        config.cls = format!("{PREFIX}{}:{}", config.name, type_name::<P>());
        let (cls, capability) = (config.cls.clone(), config.capability.to_string());
        (config, Self { cls, capability, instance: Mutex::new(Some(instance)) })
    }
}

/// An entry under the name of the type: `MyPlugin` is `my_plugin`, and provides a capability of that name.
pub(crate) fn entry_of<P>() -> PluginConfig {
    let whole = type_name::<P>();
    let bare = whole.split('<').next().unwrap_or(whole);
    let last = bare.rsplit("::").next().unwrap_or(bare);
    let mut name = String::new();
    for (place, letter) in last.chars().enumerate() {
        if letter.is_uppercase() && place > 0 {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    PluginConfig::new(name.clone(), name, "")
}

impl<P> fmt::Debug for Given<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cls)
    }
}

impl<P: Plugin> PluginClass for Given<P> {
    fn facts(&self) -> ClassFacts<'_> {
        let facts = ClassFacts::new(&self.cls, &self.capability);
        ClassFacts { about: "made by this program", ..facts }
    }

    fn build(&self, _: &PluginConfig, _: &Host) -> Result<Arc<Loaded>> {
        let instance = self.instance.lock().take();
        instance.map(load).ok_or_else(|| {
            Error::runtime("the program made this instance once; it cannot be built anew")
        })
    }
}
