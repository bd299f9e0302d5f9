//! The link-time record of a plugin class, and the erased form of a plugin that is built.

use std::sync::Arc;

use super::{Handler, Handlers, Host, Plugin, PluginScope, Scope};
use crate::Result;
use crate::config::{PluginConfig, Problem};
use crate::protocol::SessionId;
use crate::snapshot::State;

/// A plugin class as it is linked into the program. Made by [`register_plugin!`](crate::register_plugin).
#[derive(Debug)]
pub struct Descriptor {
    /// The stable name under which configurations ask for it.
    pub cls: &'static str,
    /// Other names that are accepted.
    pub aliases: &'static [&'static str],
    /// The capability that it provides.
    pub capability: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Higher is asked first; configuration overrides it.
    pub priority: i64,
    /// Whether only it is asked; configuration overrides it.
    pub exclusive: bool,
    /// Whether sessions share an instance; configuration overrides it.
    pub scope: PluginScope,
    /// The settings (a JSON object) with which a host without configuration loads it;
    /// `None` when it is not safe to load unasked.
    pub default_settings: Option<&'static str>,
    /// Finds what is wrong with its settings, without building it.
    pub check: fn(&PluginConfig) -> Vec<Problem>,
    /// The JSON Schema of its settings, where they describe themselves.
    pub schema: fn() -> Option<serde_json::Value>,
    /// Builds an instance.
    pub build: fn(&PluginConfig, &Host) -> Result<Arc<dyn Loaded>>,
}

inventory::collect!(Descriptor);

impl Descriptor {
    /// A descriptor with the defaults of everything that a registration may leave out.
    pub const fn new(
        cls: &'static str,
        capability: &'static str,
        check: fn(&PluginConfig) -> Vec<Problem>,
        build: fn(&PluginConfig, &Host) -> Result<Arc<dyn Loaded>>,
    ) -> Self {
        Self {
            cls,
            aliases: &[],
            capability,
            about: "",
            priority: 0,
            exclusive: false,
            scope: PluginScope::Host,
            default_settings: None,
            schema: || None,
            check,
            build,
        }
    }
}

/// A plugin class: linked into the program as a [`Descriptor`], or known only at run time (uploaded,
/// found in a folder) and added with [`Registry::add`](super::Registry::add).
pub trait PluginClass: Send + Sync + std::fmt::Debug {
    /// The stable name under which configurations ask for it.
    fn cls(&self) -> &str;
    /// Other names that are accepted.
    fn aliases(&self) -> Vec<&str> {
        Vec::new()
    }
    /// The capability that it provides.
    fn capability(&self) -> &str;
    /// One line for people.
    #[allow(clippy::unnecessary_literal_bound, reason = "others give what they own")]
    fn about(&self) -> &str {
        ""
    }
    /// Higher is asked first; configuration overrides it.
    fn priority(&self) -> i64 {
        0
    }
    /// Whether only it is asked; configuration overrides it.
    fn exclusive(&self) -> bool {
        false
    }
    /// Whether sessions share an instance; configuration overrides it.
    fn scope(&self) -> PluginScope {
        PluginScope::Host
    }
    /// The settings (a JSON object) with which a host without configuration loads it;
    /// `None` when it is not safe to load unasked.
    fn default_settings(&self) -> Option<&str> {
        None
    }
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
    fn build(&self, config: &PluginConfig, host: &Host) -> Result<Arc<dyn Loaded>>;
}

impl PluginClass for &'static Descriptor {
    fn cls(&self) -> &str {
        self.cls
    }

    fn aliases(&self) -> Vec<&str> {
        self.aliases.to_vec()
    }

    fn capability(&self) -> &str {
        self.capability
    }

    fn about(&self) -> &str {
        self.about
    }

    fn priority(&self) -> i64 {
        self.priority
    }

    fn exclusive(&self) -> bool {
        self.exclusive
    }

    fn scope(&self) -> PluginScope {
        self.scope
    }

    fn default_settings(&self) -> Option<&str> {
        self.default_settings
    }

    fn check(&self, config: &PluginConfig) -> Vec<Problem> {
        (self.check)(config)
    }

    fn schema(&self) -> Option<serde_json::Value> {
        (self.schema)()
    }

    fn build(&self, config: &PluginConfig, host: &Host) -> Result<Arc<dyn Loaded>> {
        (self.build)(config, host)
    }
}

/// A built plugin as the kernel sees it.
pub trait Loaded: Send + Sync {
    /// Its handlers, in the order of declaration.
    fn handlers(&self) -> &[Arc<Handler>];
    /// [`Plugin::start`].
    ///
    /// # Errors
    /// As the plugin reports.
    fn start(&self, host: &Host) -> Result<()>;
    /// [`Plugin::session_ended`].
    fn session_ended(&self, session: &SessionId);
    /// [`Plugin::save`].
    ///
    /// # Errors
    /// As the plugin reports.
    fn save(&self, scope: Scope<'_>) -> Result<Option<State>>;
    /// [`Plugin::restore`].
    ///
    /// # Errors
    /// As the plugin reports.
    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()>;
    /// [`Plugin::clear`].
    ///
    /// # Errors
    /// As the plugin reports.
    fn clear(&self, scope: Scope<'_>) -> Result<()>;
    /// [`Plugin::notes`].
    fn notes(&self) -> Vec<String>;
    /// [`Plugin::teardown`].
    fn teardown(&self);
}

struct Built<P> {
    /// There until it is dropped.
    plugin: Option<Arc<P>>,
    handlers: Vec<Arc<Handler>>,
}

impl<P: Plugin> Built<P> {
    fn plugin(&self) -> Result<&P> {
        self.plugin.as_deref().ok_or_else(|| crate::Error::internal("the plugin is gone"))
    }
}

impl<P> Drop for Built<P> {
    fn drop(&mut self) {
        // The handlers hold the plugin, too.
        let plugin = (std::mem::take(&mut self.handlers), self.plugin.take());
        crate::layers::discard("plugin", plugin);
    }
}

impl<P: Plugin> Loaded for Built<P> {
    fn handlers(&self) -> &[Arc<Handler>] {
        &self.handlers
    }

    fn start(&self, host: &Host) -> Result<()> {
        self.plugin()?.start(host)
    }

    fn session_ended(&self, session: &SessionId) {
        if let Ok(plugin) = self.plugin() {
            plugin.session_ended(session);
        }
    }

    fn save(&self, scope: Scope<'_>) -> Result<Option<State>> {
        self.plugin()?.save(scope)
    }

    fn restore(&self, scope: Scope<'_>, state: State) -> Result<()> {
        self.plugin()?.restore(scope, state)
    }

    fn clear(&self, scope: Scope<'_>) -> Result<()> {
        self.plugin()?.clear(scope)
    }

    fn notes(&self) -> Vec<String> {
        self.plugin().map(Plugin::notes).unwrap_or_default()
    }

    fn teardown(&self) {
        if let Ok(plugin) = self.plugin() {
            plugin.teardown();
        }
    }
}

/// Erases a plugin's type.
pub fn load<P: Plugin>(plugin: P) -> Arc<dyn Loaded> {
    let plugin = Arc::new(plugin);
    let handlers = Handlers::of(&plugin).into_iter().map(Arc::new).collect();
    Arc::new(Built { plugin: Some(plugin), handlers })
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
/// After `build` any further field of [`Descriptor`] may stand: `aliases`, `about`, `priority`,
/// `exclusive`, `scope`, `default_settings`.
#[macro_export]
macro_rules! register_plugin {
    ($plugin:ty, cls = $cls:literal, capability = $capability:literal, config = $config:ty,
     build = $build:expr $(, $key:ident = $value:expr)* $(,)?) => {
        $crate::inventory::submit! {
            $crate::plugin::Descriptor {
                $($key: $value,)*
                schema: || $crate::json_schema!($config),
                ..$crate::plugin::Descriptor::new(
                    $cls,
                    $capability,
                    |config| $crate::config::settings_problems::<$config>(config).1,
                    |config, host| {
                        let settings = $crate::plugin::settings::<$config>(config)?;
                        let built: $crate::Result<$plugin> = ($build)(settings, host);
                        Ok($crate::plugin::load::<$plugin>(built?))
                    },
                )
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
