//! What the host gives to a plugin.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Declared, Interception, Interceptor};
use crate::children::Supervisor;
use crate::clock::Clock;
use crate::codec::encode_fields;
use crate::config::{HostConfig, PluginConfig};
use crate::contribution::{Contribution, Contributions, Owner, Registration};
use crate::layers::Health;
use crate::protocol::{CapabilityName, PluginName};
use crate::request::{Call, Nested, NestedTarget, Services, Session, SessionHandle};
use crate::snapshot::{SnapshotStore, State, StateKey};
use crate::transport::{Connection, Identity};
use crate::{Error, Result, Time};

/// How long the end of a session waits for the tasks of an instance of its own.
const TASKS_END: std::time::Duration = std::time::Duration::from_millis(200);

/// The host as one plugin sees it. Cheap to clone; does not keep the host alive.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    owner: Owner,
    capability: CapabilityName,
    services: Arc<Services>,
    /// Of the host's children, where it starts any.
    children: Option<Arc<Supervisor>>,
    store: Option<Arc<dyn SnapshotStore>>,
    desk: Weak<dyn HostDesk>,
    tasks: TaskTracker,
    ends: CancellationToken,
}

/// What plugins ask of the host above them.
pub(crate) trait HostDesk: Send + Sync {
    /// Every plugin that serves: name, capability, priority; in configuration order.
    fn serving(&self) -> Vec<(PluginName, CapabilityName, i64)>;
    /// Whether sessions of a tenant see a plugin.
    fn is_seen(&self, plugin: &PluginName, tenant: Option<&str>) -> bool;
    /// What the plugins in force are configured as.
    fn plugin_configs(&self) -> Vec<PluginConfig>;
    /// Interceptors have changed.
    fn reroute(&self);
    /// A plugin instance says that its state is not to be trusted.
    fn suspect(&self, instance: u64, reason: &str);
    /// A plugin instance says how it fares.
    fn set_health(&self, instance: u64, health: Health, why: &str);
    /// A plugin instance handles these types beside those of its class, and no longer those that it
    /// declared before.
    fn declare(&self, instance: u64, handlers: Declared) -> Result<()>;
    /// The session in which a plugin makes requests by itself.
    fn own_session(&self, plugin: &PluginName) -> Result<Arc<Session>>;
    /// Sends a message of a plugin instance to every session that sees it and is past its handshake;
    /// with a capability, only to those that asked for it. Returns how many took it.
    fn push_all(
        &self,
        instance: u64,
        wire_type: &str,
        fields: &[u8],
        users_of: Option<&CapabilityName>,
    ) -> usize;
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host of plugin `{}`", self.0.owner.name)
    }
}

impl Host {
    pub(crate) fn new(
        services: &Arc<Services>,
        children: Option<Arc<Supervisor>>,
        store: Option<Arc<dyn SnapshotStore>>,
        desk: Weak<dyn HostDesk>,
        plugin: &PluginConfig,
        epoch: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            owner: Owner { name: plugin.name.clone(), epoch },
            capability: plugin.capability.clone(),
            services: Arc::clone(services),
            children,
            store,
            desk,
            tasks: TaskTracker::new(),
            ends: CancellationToken::new(),
        }))
    }

    fn desk(&self) -> Option<Arc<dyn HostDesk>> {
        self.0.desk.upgrade()
    }

    /// The plugin's instance name.
    pub fn plugin(&self) -> &PluginName {
        &self.0.owner.name
    }

    /// The plugin's capability, as configured.
    pub fn capability(&self) -> &CapabilityName {
        &self.0.capability
    }

    /// Whether the instance is built only to see if it can be, and is let go before it is started: it
    /// then leaves nothing behind, such as a file that it would make.
    pub fn is_trial(&self) -> bool {
        self.0.services.above().is_none()
    }

    /// The configuration that the host was started with. What a reload changes since is in
    /// [`plugin_configs`](Self::plugin_configs).
    pub fn config(&self) -> &HostConfig {
        &self.0.services.config
    }

    /// What the plugins in force are configured as; other than in [`config`](Self::config) after a
    /// reload. Empty before the plugins are started.
    pub fn plugin_configs(&self) -> Vec<PluginConfig> {
        self.desk().map(|desk| desk.plugin_configs()).unwrap_or_default()
    }

    /// Every plugin of this host that serves, as name and capability, in configuration order.
    /// Empty before the plugins are started.
    pub fn plugins(&self) -> Vec<(PluginName, CapabilityName)> {
        let serving = self.desk().map(|desk| desk.serving()).unwrap_or_default();
        serving.into_iter().map(|(name, capability, _)| (name, capability)).collect()
    }

    /// The names of the serving plugins of one capability, highest priority first, ties in
    /// configuration order. Empty before the plugins are started.
    pub fn plugins_of(&self, capability: &str) -> Vec<PluginName> {
        let capability = CapabilityName::parse(capability);
        let mut serving = self.desk().map(|desk| desk.serving()).unwrap_or_default();
        serving.retain(|(_, of, _)| *of == capability);
        serving.sort_by_key(|(_, _, priority)| std::cmp::Reverse(*priority));
        serving.into_iter().map(|(name, ..)| name).collect()
    }

    /// The host's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.services.clock
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.0.services.clock.now()
    }

    /// Starts and holds child processes.
    ///
    /// # Errors
    /// When the host was started without a supervisor.
    pub fn children(&self) -> Result<&Arc<Supervisor>> {
        self.0.children.as_ref().ok_or_else(|| Error::runtime("this host starts no processes"))
    }

    /// Offers `item` to other plugins under `name`, until the registration is dropped or the plugin
    /// ends.
    ///
    /// # Errors
    /// When the name is taken among items of the same type.
    pub fn contribute<T: ?Sized + Send + Sync + 'static>(
        &self,
        name: &str,
        item: Arc<T>,
    ) -> Result<Registration> {
        let added = self.0.services.contributions.add(&self.0.owner, name, item);
        if let Err(error) = &added {
            tracing::warn!(plugin = %self.0.owner.name, %error, "contribution refused");
        }
        added
    }

    /// Has an interceptor asked about every request whose type fits `pattern` (each `*` stands for
    /// any run of characters), those of other plugins included. Higher `priority` is asked first.
    /// Interceptors that are registered in `start` hold from the first message on.
    ///
    /// # Errors
    /// When this host has an interceptor of this name already.
    pub fn intercept(
        &self,
        name: &str,
        pattern: impl Into<String>,
        priority: i64,
        interceptor: Arc<dyn Interceptor>,
    ) -> Result<()> {
        let pattern = pattern.into();
        self.contribute(name, Arc::new(Interception { pattern, priority, item: interceptor }))?
            .keep();
        if let Some(desk) = self.desk() {
            desk.reroute();
        }
        Ok(())
    }

    /// Handles these types from now on, beside those of the plugin's class; those that were declared
    /// before and are not among them are handled no more. For plugins that learn what they handle
    /// only when something that they started has told them.
    ///
    /// ```
    /// use a2e_core::plugin::{Declared, Host, RawReply};
    /// use a2e_core::request::TypeSpec;
    ///
    /// fn guest_is_up(host: &Host) -> a2e_core::Result<()> {
    ///     let spec = TypeSpec::request("guest/greet/req", "guest/greet/resp");
    ///     host.declare(Declared::new().future(spec, |body, _call| async move {
    ///         let text = format!("hello to {} bytes", body.len());
    ///         Ok(RawReply::new("guest/greet/resp", &serde_json::json!({ "text": text }))?.into())
    ///     }))
    /// }
    /// ```
    ///
    /// # Errors
    /// When a type is declared twice, or otherwise than another plugin declares it, or the plugin is one
    /// of `scope: session`; then nothing has changed.
    pub fn declare(&self, handlers: Declared) -> Result<()> {
        let desk = self.desk().ok_or_else(|| Error::runtime("the host is gone"))?;
        desk.declare(self.0.owner.epoch, handlers)
    }

    /// Says how the plugin fares: while it is [`Down`](Health::Down) its calls are refused with
    /// `unavailable`; `why` is shown in status.
    pub fn set_health(&self, health: Health, why: &str) {
        if let Some(desk) = self.desk() {
            desk.set_health(self.0.owner.epoch, health, why);
        }
    }

    /// The plugin says that its state is not to be trusted any more: it is torn down, built anew and
    /// restored from the last snapshot; calls wait meanwhile. The second time within 10 minutes it is
    /// taken out of service instead.
    pub fn suspect(&self, reason: &str) {
        if let Some(desk) = self.desk() {
            desk.suspect(self.0.owner.epoch, reason);
        }
    }

    /// Asks other plugins, as this plugin: on behalf of a call (under its session, deadline, budget
    /// and audit), or else by itself, in a session of the plugin's own. That sees what sessions without
    /// a tenant see; where only one tenant sees this plugin, what that tenant sees.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn ask(&self, on_behalf: Option<&Call>) -> Result<Nested> {
        if let Some(call) = on_behalf {
            return Ok(call.to_route());
        }
        let desk = self.desk().ok_or_else(|| Error::runtime("the host is gone"))?;
        let session = desk.own_session(&self.0.owner.name)?;
        Ok(Nested::new(&session, None, NestedTarget::Route))
    }

    /// As [`ask`](Self::ask) without a call, in the session of an agent: under its identity and audit.
    ///
    /// # Errors
    /// When the session has ended.
    pub fn ask_in(&self, session: &SessionHandle) -> Result<Nested> {
        let open = session.session().filter(|session| session.is_open());
        let session = open.ok_or_else(|| Error::runtime("the session has ended"))?;
        Ok(Nested::new(&session, None, NestedTarget::Route))
    }

    /// Opens a session over a connection, for a peer that this plugin knows, and serves it until the connection
    /// ends. It may what the identity says and no more.
    ///
    /// # Errors
    /// When the host opens no more sessions.
    pub fn serve(&self, connection: Connection, identity: Identity) -> Result<SessionHandle> {
        let above = self.0.services.above().ok_or_else(|| Error::runtime("the host is gone"))?;
        above.serve(connection, identity)
    }

    /// Tells this instance from others of the same name.
    pub(crate) fn epoch(&self) -> u64 {
        self.0.owner.epoch
    }

    /// Everything of this type that plugins offer.
    pub fn contributions<T: ?Sized + Send + Sync + 'static>(&self) -> Vec<Contribution<T>> {
        self.0.services.contributions.all()
    }

    /// As [`contributions`](Self::contributions), of the plugins that sessions of this tenant see: what a
    /// plugin does for a session it does with these.
    pub fn contributions_for<T: ?Sized + Send + Sync + 'static>(
        &self,
        tenant: Option<&str>,
    ) -> Vec<Contribution<T>> {
        let mut all = self.contributions();
        all.retain(|it| self.is_seen(&it.owner, tenant));
        all
    }

    /// Whether sessions of this tenant see a plugin.
    pub fn is_seen(&self, plugin: &PluginName, tenant: Option<&str>) -> bool {
        self.desk().is_some_and(|desk| desk.is_seen(plugin, tenant))
    }

    pub(crate) fn contribution_table(&self) -> &Contributions {
        &self.0.services.contributions
    }

    /// Sees contributions change: holds the generation, which rises with each change. A consumer
    /// waits for it in a task of its own and rebuilds there what it made of them.
    pub fn watch_contributions(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.services.contributions.watch()
    }

    /// Says that something that this plugin contributed offers something else than before.
    pub fn contribution_changed(&self) {
        self.0.services.contributions.touch();
    }

    /// Rises when contributions change; equal numbers mean equal contributions.
    pub fn contribution_generation(&self) -> u64 {
        self.0.services.contributions.generation()
    }

    /// Runs a task beside the plugin's calls. It is dropped when the plugin ends.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ends = self.0.ends.clone();
        let name = self.0.owner.name.clone();
        let task = self.0.tasks.track_future(async move {
            let task = std::panic::AssertUnwindSafe(task);
            tokio::select! {
                result = futures_util::FutureExt::catch_unwind(task) => if let Err(panic) = result {
                    let panic = crate::layers::text_of(panic);
                    tracing::error!(plugin = %name, panic, "task panicked");
                },
                () = ends.cancelled() => {}
            }
        });
        self.0.services.runtime.spawn(task);
    }

    /// Saves state under a key of the plugin's own. Blocks: not for inline or async handlers.
    ///
    /// # Errors
    /// When the host has no snapshot store, or the store fails.
    pub fn save_state(&self, key: &str, state: &State) -> Result<()> {
        self.store()?.save(&self.key(key), state)
    }

    /// Loads what [`save_state`](Self::save_state) saved. Blocks.
    ///
    /// # Errors
    /// When the host has no snapshot store, or no saved generation is whole.
    pub fn load_state(&self, key: &str) -> Result<Option<State>> {
        Ok(self.store()?.load(&self.key(key))?.map(|loaded| loaded.state))
    }

    /// Forgets what was saved under a key. Blocks.
    ///
    /// # Errors
    /// When the host has no snapshot store, or the store fails.
    pub fn delete_state(&self, key: &str) -> Result<()> {
        self.store()?.delete(&self.key(key))
    }

    fn store(&self) -> Result<&Arc<dyn SnapshotStore>> {
        self.0.store.as_ref().ok_or_else(|| Error::runtime("no `snapshot_store` is configured"))
    }

    fn key(&self, key: &str) -> StateKey {
        StateKey::new(self.0.owner.name.clone(), key, None)
    }

    /// Sends a message to every open session that sees this plugin and is past its handshake; returns
    /// how many took it. A session whose reader is slow is left out and counted.
    pub fn push_all<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> usize {
        self.push_to(wire_type, body, None)
    }

    /// As [`push_all`](Self::push_all), but only to sessions that use this plugin's capability: those
    /// whose handshake asked for it.
    pub fn push_users<T: Serialize + ?Sized>(&self, wire_type: &str, body: &T) -> usize {
        self.push_to(wire_type, body, Some(&self.0.capability))
    }

    fn push_to<T: Serialize + ?Sized>(
        &self,
        wire_type: &str,
        body: &T,
        users_of: Option<&CapabilityName>,
    ) -> usize {
        let mut fields = Vec::with_capacity(128);
        if let Err(error) = encode_fields(body, &mut fields) {
            tracing::error!(plugin = %self.0.owner.name, wire_type, %error, "push not encoded");
            return 0;
        }
        let instance = self.0.owner.epoch;
        self.desk().map_or(0, |desk| desk.push_all(instance, wire_type, &fields, users_of))
    }

    /// The same host for an instance of one session: its tasks end with that, and with the plugin's.
    pub(crate) fn for_session(&self) -> Self {
        let it = &self.0;
        Self(Arc::new(Inner {
            owner: it.owner.clone(),
            capability: it.capability.clone(),
            services: Arc::clone(&it.services),
            children: it.children.clone(),
            store: it.store.clone(),
            desk: Weak::clone(&it.desk),
            tasks: TaskTracker::new(),
            ends: it.ends.child_token(),
        }))
    }

    /// Ends the tasks of an instance of a session, and waits for them on a thread that may block.
    pub(crate) fn end_tasks_soon(&self) {
        let ended = async { tokio::time::timeout(TASKS_END, self.end_tasks()).await };
        if self.0.services.runtime.block_on(ended).is_err() {
            tracing::warn!(plugin = %self.0.owner.name, "tasks of a session's own instance go on");
        }
    }

    /// Ends the plugin's tasks and waits for them.
    pub(crate) async fn end_tasks(&self) {
        self.0.ends.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}
