//! The tools that one plugin serves, from its own providers and from those of other plugins.

mod build;
mod clean;
mod pins;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::plugin::{Host, Run};
use a2e_core::protocol::{ErrorCode, PluginName};
use a2e_core::{Error, Result};
use serde::Serialize;

use self::build::Builder;
pub(super) use self::pins::Approvals;
pub use self::pins::Pin;
use self::pins::Seen;
use super::contract::ToolProvider;
use super::protocol::ToolDefinition;

/// Most tools of one plugin; one more is refused and logged (R20).
const MAX_TOOLS: usize = 4096;

/// Attempts to store a catalog that another thread made meanwhile, too.
const MAX_RACES: usize = 3;

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
    pub(super) provider: Arc<dyn ToolProvider>,
    /// The plugin that offers it.
    pub(super) owner: PluginName,
}

/// The tools at one moment; never changed, only replaced.
pub(super) struct Catalog {
    generation: u64,
    /// The generation of each provider at that moment.
    providers: Vec<(Arc<dyn ToolProvider>, u64)>,
    /// In the order of lists.
    pub(super) tools: Vec<Arc<Entry>>,
    by_name: HashMap<String, Arc<Entry>>,
    withheld: HashMap<String, Error>,
    /// The number of tools that are left out because their definition is not approved.
    pub(super) quarantined: usize,
    refused: Vec<String>,
    /// Whether no other plugin of this capability is asked after this one.
    pub(super) is_last: bool,
}

impl Catalog {
    /// The tool of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Entry>> {
        self.by_name.get(name)
    }

    /// Why a tool that exists is not offered.
    pub(super) fn withheld(&self, name: &str) -> Option<&Error> {
        self.withheld.get(name)
    }

    fn is_current(&self, host: &Host) -> bool {
        self.generation == host.contribution_generation()
            && self.providers.iter().all(|(provider, seen)| {
                // A provider that panics here is asked again for its list, and then left out.
                let now = catch_unwind(AssertUnwindSafe(|| provider.generation()));
                now.is_ok_and(|now| now == *seen)
            })
    }

    fn has_same_tools(&self, other: &Self) -> bool {
        self.tools.len() == other.tools.len()
            && self.tools.iter().zip(&other.tools).all(|(a, b)| a.definition == b.definition)
    }
}

/// Keeps the catalog of a plugin, and makes a new one when something has changed.
pub(super) struct Catalogs {
    host: Host,
    own: Vec<Arc<dyn ToolProvider>>,
    approvals: Approvals,
    /// Whether sessions know the tools of an instance before this one.
    is_successor: AtomicBool,
    /// Guards the pointer to the last one; held to copy or replace it.
    last: Mutex<Option<Arc<Catalog>>>,
}

/// `tool/changed/push`: the tools of this host are others than before.
#[derive(Serialize)]
struct Changed {
    generation: u64,
}

impl Catalogs {
    pub(super) fn new(host: &Host, own: Vec<Arc<dyn ToolProvider>>, approvals: Approvals) -> Self {
        let is_successor = AtomicBool::new(false);
        Self { host: host.clone(), own, approvals, is_successor, last: Mutex::new(None) }
    }

    /// Makes this plugin known to the other tools plugins, and takes over from an instance before.
    pub(super) fn announce(&self) -> Result<()> {
        let tools = self.own.iter().flat_map(|provider| provider.tools());
        let own_names = tools.map(|tool| tool.name).collect();
        let collector = Collector { own_names, seen: self.approvals.seen() };
        let marks = self.host.contributions::<Collector>();
        if let Some(before) = marks.iter().find(|mark| mark.owner == *self.host.plugin()) {
            self.approvals.inherit(&before.item.seen);
            self.is_successor.store(true, Ordering::Relaxed);
        }
        self.host.contribute(self.host.plugin().as_str(), Arc::new(collector))?.keep();
        Ok(())
    }

    /// What is not offered as it was given, a line each, as of the last look.
    pub(super) fn notes(&self) -> Vec<String> {
        self.lock().as_ref().map(|catalog| catalog.refused.clone()).unwrap_or_default()
    }

    /// The catalog as of now. When its tools are others than before, every session is told.
    pub(super) fn current(&self) -> Arc<Catalog> {
        let mut races = 0;
        loop {
            let last = self.lock().clone();
            if let Some(catalog) = last.as_ref().filter(|it| it.is_current(&self.host)) {
                return Arc::clone(catalog);
            }
            let refused = last.as_ref().map(|it| it.refused.as_slice()).unwrap_or_default();
            // Plugins are asked here, so no lock is held.
            let built = Builder::new(&self.host, &self.approvals, refused).build(&self.own);
            let catalog = Arc::new(built);
            if self.replace(last.as_ref(), &catalog, races >= MAX_RACES) {
                match last {
                    Some(last) if !last.has_same_tools(&catalog) => self.tell(),
                    Some(_) => {}
                    None => self.first(&catalog),
                }
                return catalog;
            }
            races += 1;
        }
    }

    /// Stores a catalog where the last one still is; false when another thread was faster.
    fn replace(&self, last: Option<&Arc<Catalog>>, new: &Arc<Catalog>, is_forced: bool) -> bool {
        let mut stored = self.lock();
        let is_same = match (stored.as_ref(), last) {
            (Some(stored), Some(last)) => Arc::ptr_eq(stored, last),
            (stored, last) => stored.is_none() && last.is_none(),
        };
        if is_same || is_forced {
            *stored = Some(Arc::clone(new));
        }
        is_same || is_forced
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Catalog>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error for an unknown name.
pub(super) fn unknown(name: &str) -> Error {
    Error::new(
        ErrorCode::UnknownTool,
        format!("no tool is named `{name}`; `tool/list/req` lists them"),
    )
    .with_detail("tool_name", name)
}
