//! The tools that one plugin serves, from its own providers and from those of other plugins.

mod build;
mod clean;
mod pins;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use a2e_core::plugin::{Host, Run};
use a2e_core::protocol::{Changed, ErrorCode, PluginName};
use a2e_core::request::Call;
use a2e_core::{Error, Result};
use tokio::sync::watch;

use self::build::Builder;
pub(super) use self::pins::Approvals;
pub use self::pins::Pin;
use self::pins::Seen;
use super::contract::{ToolProvider, ToolSet};
use super::protocol::ToolDefinition;
use super::schema::Checker;

/// Most tools of one plugin; one more is refused and logged (R20).
const MAX_TOOLS: usize = 4096;

/// The mark of a tools plugin that collects what others contribute. Of all that serve, the one of
/// the highest priority does it; the names of every one's own tools are taken.
#[derive(Debug)]
pub(super) struct Collector {
    own_names: Vec<String>,
    /// For the instance that replaces this one at a reload.
    seen: Arc<Mutex<Seen>>,
}

/// A tool that can be called.
pub(super) struct Entry {
    pub(super) definition: ToolDefinition,
    /// The name by which its provider knows it, which may have invisible characters.
    pub(super) name: Arc<str>,
    pub(super) run: Run,
    /// Of its input schema; one that is as it was is not compiled again.
    pub(super) checker: Arc<Checker>,
    pub(super) provider: Arc<dyn ToolProvider>,
    /// The plugin that offers it.
    pub(super) owner: PluginName,
}

/// The tools at one moment; never changed, only replaced.
pub(super) struct Catalog {
    /// In the order of lists.
    pub(super) tools: Vec<Arc<Entry>>,
    by_name: HashMap<String, Arc<Entry>>,
    /// With the plugin that would offer it.
    withheld: HashMap<String, (PluginName, Error)>,
    /// The number of tools that are left out because their definition is not approved.
    pub(super) quarantined: usize,
    refused: Vec<String>,
    /// Whether no other plugin of this capability is asked after this one.
    pub(super) is_last: bool,
}

impl Entry {
    /// Whether its provider offers it to the session of this call.
    pub(super) fn is_offered(&self, call: &Call) -> bool {
        let ask = AssertUnwindSafe(|| self.provider.is_offered(&self.name, call));
        catch_unwind(ask).unwrap_or(false)
    }
}

impl Catalog {
    /// The names of tools that the principal of a call may know.
    pub(super) fn names_for<'a>(
        &'a self,
        host: &'a Host,
        call: &'a Call,
    ) -> impl Iterator<Item = &'a str> {
        let allowed = call.identity().allowed.as_deref();
        let may_use = move |name: &str| allowed.is_none_or(|it| it.has_name("tools", name));
        let entries = self.tools_for(host, call).filter(move |it| it.is_offered(call));
        entries.map(|it| it.definition.name.as_str()).filter(move |name| may_use(name))
    }

    /// The tool of this name.
    fn find(&self, name: &str) -> Option<&Arc<Entry>> {
        self.by_name.get(name)
    }

    /// The tool of this name, for a tenant that sees its plugin.
    pub(super) fn find_for(&self, name: &str, host: &Host, call: &Call) -> Option<&Arc<Entry>> {
        self.find(name).filter(|entry| sees(host, call, &entry.owner))
    }

    /// The tools of plugins that the tenant of a call sees.
    pub(super) fn tools_for<'a>(
        &'a self,
        host: &'a Host,
        call: &'a Call,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        // Those of a plugin stand together.
        let mut last: Option<(&PluginName, bool)> = None;
        self.tools.iter().filter(move |entry| match last {
            Some((owner, is_seen)) if *owner == entry.owner => is_seen,
            _ => {
                let is_seen = sees(host, call, &entry.owner);
                last = Some((&entry.owner, is_seen));
                is_seen
            }
        })
    }

    /// Why a tool that exists is not offered, for a tenant that sees its plugin.
    pub(super) fn withheld_for(&self, name: &str, host: &Host, call: &Call) -> Option<&Error> {
        let (owner, error) = self.withheld.get(name)?;
        sees(host, call, owner).then_some(error)
    }

    fn has_same_tools(&self, other: &Self) -> bool {
        self.tools.len() == other.tools.len()
            && self.tools.iter().zip(&other.tools).all(|(a, b)| a.definition == b.definition)
    }
}

/// Keeps the catalog of a plugin. A task of the plugin makes a new one when contributions have changed;
/// nothing else does, so no reader of a session asks providers.
pub(super) struct Catalogs {
    host: Host,
    own: Vec<Arc<dyn ToolProvider>>,
    /// The tools that are linked into the program.
    linked: Arc<dyn ToolProvider>,
    approvals: Approvals,
    mark: Arc<Collector>,
    /// Whether sessions know the tools of an instance before this one.
    is_successor: AtomicBool,
    last: watch::Sender<Looked>,
}

/// What the task saw when it looked last.
#[derive(Default)]
struct Looked {
    /// Of contributions, when it began to look.
    generation: u64,
    /// None before the plugin serves.
    catalog: Option<Arc<Catalog>>,
}

impl Catalogs {
    pub(super) fn new(host: &Host, own: Vec<Arc<dyn ToolProvider>>, approvals: Approvals) -> Self {
        let tools = own.iter().flat_map(|provider| provider.tools());
        let own_names = tools.map(|tool| tool.name).collect();
        let mark = Arc::new(Collector { own_names, seen: approvals.seen() });
        let linked = Arc::new(ToolSet::linked());
        let (is_successor, last) = (AtomicBool::new(false), watch::Sender::default());
        Self { host: host.clone(), own, linked, approvals, mark, is_successor, last }
    }

    /// Makes this plugin known to the other tools plugins, takes over from an instance before, and
    /// follows what is contributed from now on.
    pub(super) fn start(self: &Arc<Self>) -> Result<()> {
        let marks = self.host.contributions::<Collector>();
        if let Some(before) = marks.iter().find(|mark| mark.owner == *self.host.plugin()) {
            self.approvals.inherit(&before.item.seen);
            self.is_successor.store(true, Ordering::Relaxed);
        }
        let mut changes = self.host.watch_contributions();
        self.host.contribute(self.host.plugin().as_str(), Arc::clone(&self.mark))?.keep();
        let catalogs = Arc::clone(self);
        self.host.spawn(async move {
            loop {
                changes.mark_unchanged();
                catalogs.rebuild();
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// What is not offered as it was given, a line each, as of the last look.
    pub(super) fn notes(&self) -> Vec<String> {
        let catalog = self.last.borrow().catalog.clone();
        catalog.map(|catalog| catalog.refused.clone()).unwrap_or_default()
    }

    /// The catalog of what is contributed now, where it is made already.
    pub(super) fn current(&self) -> Option<Arc<Catalog>> {
        let now = self.host.contribution_generation();
        let last = self.last.borrow();
        last.catalog.as_ref().filter(|_| last.generation >= now).cloned()
    }

    /// As [`current`](Self::current), but waits for it.
    pub(super) async fn awaited(&self) -> Result<Arc<Catalog>> {
        let now = self.host.contribution_generation();
        let mut last = self.last.subscribe();
        let made = last.wait_for(|it| it.generation >= now && it.catalog.is_some()).await;
        let made = made.ok().and_then(|it| it.catalog.clone());
        made.ok_or_else(|| Error::new(ErrorCode::Unavailable, "the plugin has ended"))
    }

    /// Makes a catalog while the plugin serves. When its tools are others than before, every session is
    /// told.
    fn rebuild(&self) {
        let generation = self.host.contribution_generation();
        let last = self.last.borrow().catalog.clone();
        if !self.serves() {
            // The last calls of an instance that was replaced find what it had.
            self.last.send_replace(Looked { generation, catalog: last });
            return;
        }
        // Plugins are asked here, so no lock is held.
        let builder = Builder::new(&self.host, &self.approvals, last.as_deref());
        let built = builder.build(&self.own, &self.linked);
        let catalog = Arc::new(built);
        self.last.send_replace(Looked { generation, catalog: Some(Arc::clone(&catalog)) });
        match last {
            Some(last) if !last.has_same_tools(&catalog) => self.tell(),
            Some(_) => {}
            None => self.first(&catalog),
        }
    }

    /// Whether this instance is the one that takes the plugin's calls.
    fn serves(&self) -> bool {
        let marks = self.host.contributions::<Collector>();
        marks.iter().any(|mark| Arc::ptr_eq(&mark.item, &self.mark))
            && self.host.plugins_of("tools").contains(self.host.plugin())
    }

    fn first(&self, catalog: &Catalog) {
        self.approvals.tell_missing(self.host.plugin(), catalog);
        if self.is_successor.load(Ordering::Relaxed) {
            self.tell();
        }
    }

    fn tell(&self) {
        let generation = self.host.contribution_generation();
        self.host.push_users("tool/changed/push", &Changed { generation });
    }
}

/// Whether the tenant of a call sees what a plugin contributes. It sees this one, or would not ask it.
fn sees(host: &Host, call: &Call, owner: &PluginName) -> bool {
    owner == host.plugin() || host.is_seen(owner, call.identity().tenant.as_deref())
}
