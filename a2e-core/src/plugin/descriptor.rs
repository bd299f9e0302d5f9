//! The link-time record of a plugin class, and the erased form of a plugin that is built.

use std::ops::Deref;
use std::sync::Arc;

use super::{Handler, Handlers, Host, Plugin, PluginScope};
use crate::Result;
use crate::config::{PluginConfig, Problem};

/// What is known of a plugin class without building an instance.
#[derive(Clone, Copy, Debug)]
pub struct ClassFacts<'a> {
    /// The stable name under which configurations ask for it.
    pub cls: &'a str,
    /// Other names that are accepted.
    pub aliases: &'a [&'a str],
    /// The capability that it provides.
    pub capability: &'a str,
    /// One line for people.
    pub about: &'a str,
    /// Higher is asked first; configuration overrides it.
    pub priority: i64,
    /// Whether only it is asked; configuration overrides it.
    pub exclusive: bool,
    /// Whether sessions share an instance; configuration overrides it.
    pub scope: PluginScope,
    /// The settings (a JSON object) with which a host without configuration loads it;
    /// `None` when it is not safe to load unasked.
    pub default_settings: Option<&'a str>,
}

impl<'a> ClassFacts<'a> {
    /// The facts of a class that leaves the rest at the defaults.
    pub const fn new(cls: &'a str, capability: &'a str) -> Self {
        Self {
            cls,
            aliases: &[],
            capability,
            about: "",
            priority: 0,
            exclusive: false,
            scope: PluginScope::Host,
            default_settings: None,
        }
    }
}

/// A plugin class as it is linked into the program. Made by [`register_plugin!`](crate::register_plugin).
#[derive(Debug)]
pub struct Descriptor {
    /// What is known of it.
    pub facts: ClassFacts<'static>,
    /// Finds what is wrong with its settings, without building it.
    pub check: fn(&PluginConfig) -> Vec<Problem>,
    /// The JSON Schema of its settings, where they describe themselves.
    pub schema: fn() -> Option<serde_json::Value>,
    /// Builds an instance.
    pub build: fn(&PluginConfig, &Host) -> Result<Arc<Loaded>>,
}

inventory::collect!(Descriptor);

/// A plugin class: linked into the program as a [`Descriptor`], or known only at run time (uploaded,
/// found in a folder) and added with [`Registry::add`](super::Registry::add).
pub trait PluginClass: Send + Sync + std::fmt::Debug {
    /// What is known of it.
    fn facts(&self) -> ClassFacts<'_>;
    /// Finds what is wrong with its settings, without building it.
    fn check(&self, config: &PluginConfig) -> Vec<Problem> {
        let _ = config;
        Vec::new()
    }
    /// The JSON Schema of its settings, where they describe themselves.
    fn schema(&self) -> Option<serde_json::Value> {
        None
    }
    /// Builds an instance.
    ///
    /// # Errors
    /// As the class reports; the plugin then counts as failed.
    fn build(&self, config: &PluginConfig, host: &Host) -> Result<Arc<Loaded>>;
}

impl PluginClass for &'static Descriptor {
    fn facts(&self) -> ClassFacts<'_> {
        self.facts
    }

    fn check(&self, config: &PluginConfig) -> Vec<Problem> {
        (self.check)(config)
    }

    fn schema(&self) -> Option<serde_json::Value> {
        (self.schema)()
    }

    fn build(&self, config: &PluginConfig, host: &Host) -> Result<Arc<Loaded>> {
        (self.build)(config, host)
    }
}

/// A built plugin as the kernel sees it: the plugin itself, and its handlers.
pub struct Loaded {
    /// There until it is dropped.
    plugin: Option<Arc<dyn Plugin>>,
    handlers: Vec<Arc<Handler>>,
}

show!(Loaded);

impl Loaded {
    /// Its handlers, in the order of declaration.
    pub(crate) fn handlers(&self) -> &[Arc<Handler>] {
        &self.handlers
    }
}

impl Deref for Loaded {
    type Target = dyn Plugin;

    fn deref(&self) -> &Self::Target {
        self.plugin.as_deref().unwrap_or(&Gone)
    }
}

/// Stands for a plugin that is being dropped.
struct Gone;

impl Plugin for Gone {
    fn handlers(_: &mut Handlers<Self>) {}
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // The handlers hold the plugin, too.
        let plugin = (std::mem::take(&mut self.handlers), self.plugin.take());
        crate::layers::discard("plugin", plugin);
    }
}

/// Erases a plugin's type.
pub fn load<P: Plugin>(plugin: P) -> Arc<Loaded> {
    let plugin = Arc::new(plugin);
    let handlers = Handlers::of(&plugin).into_iter().map(Arc::new).collect();
    Arc::new(Loaded { plugin: Some(plugin), handlers })
}

/// Registers a plugin class at link time. The last lines of a `plugin.rs`.
///
/// ```
/// # use a2e_core::{Error, Result, message, register_plugin};
/// # use a2e_core::request::Call;
/// # use a2e_core::plugin::{Answer, Handlers, Host, Plugin};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Deserialize)] struct EchoRequest { text: String }
/// # #[derive(Serialize)] struct EchoResponse { text: String }
/// # message!(EchoResponse, "echo/resp");
/// # message!(EchoRequest, "echo/req" => EchoResponse, First);
/// #[derive(Deserialize)]
/// struct EchoConfig { #[serde(default)] prefix: String }
///
/// struct Echo { prefix: String }
///
/// impl Echo {
///     fn new(config: EchoConfig, _host: &Host) -> Result<Self> {
///         Ok(Self { prefix: config.prefix })
///     }
///
///     fn echo(&self, request: EchoRequest, _call: &Call) -> Answer<EchoResponse> {
///         Ok(EchoResponse { text: format!("{}{}", self.prefix, request.text) }.into())
///     }
/// }
///
/// impl Plugin for Echo {
///     fn handlers(on: &mut Handlers<Self>) {
///         on.inline(Echo::echo);
///     }
/// }
///
/// register_plugin!(Echo, cls = "a2e.examples.Echo", capability = "tools", config = EchoConfig,
///     build = Echo::new, about = "gives back a text", priority = 5);
/// # fn main() {}
/// ```
///
/// After `build` any further field of [`ClassFacts`] may stand: `aliases`, `about`, `priority`,
/// `exclusive`, `scope`, `default_settings`.
#[macro_export]
macro_rules! register_plugin {
    ($plugin:ty, cls = $cls:literal, capability = $capability:literal, config = $config:ty,
     build = $build:expr $(, $key:ident = $value:expr)* $(,)?) => {
        $crate::inventory::submit! {
            $crate::plugin::Descriptor {
                facts: $crate::plugin::ClassFacts {
                    $($key: $value,)*
                    ..$crate::plugin::ClassFacts::new($cls, $capability)
                },
                check: |config| $crate::config::settings_problems::<$config>(config).1,
                schema: || $crate::json_schema!($config),
                build: |config, host| {
                    let settings = $crate::plugin::settings::<$config>(config)?;
                    let built: $crate::Result<$plugin> = ($build)(settings, host);
                    Ok($crate::plugin::load::<$plugin>(built?))
                },
            }
        }
    };
}

/// A plugin's typed settings.
///
/// # Errors
/// Every problem that the settings have, in one error.
pub fn settings<T: serde::de::DeserializeOwned>(config: &PluginConfig) -> Result<T> {
    let (settings, problems) = crate::config::settings_problems::<T>(config);
    settings.ok_or_else(|| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        crate::Error::runtime(texts.join("; "))
    })
}
