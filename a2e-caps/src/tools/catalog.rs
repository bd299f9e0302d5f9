//! The tools that one plugin serves, from its own providers and from those of other plugins.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use a2e_core::codec::encode_value;
use a2e_core::plugin::{Host, Run};
use a2e_core::protocol::{ErrorCode, PluginName};
use a2e_core::{Error, Result};

use super::clean;
use super::contract::ToolProvider;
use super::protocol::ToolDefinition;

/// Most tools of one plugin; one more is refused and logged (R20).
const MAX_TOOLS: usize = 4096;

/// The mark of a tools plugin that collects what others contribute. Of all that serve, the one of
/// the highest priority does it; the names of every one's own tools are taken.
#[derive(Debug)]
pub(super) struct Collector {
    own_names: Vec<String>,
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

/// What was known at one moment; never changed, only replaced.
pub(super) struct Catalog {
    generation: u64,
    /// What each provider's own generation was.
    providers: Vec<(Arc<dyn ToolProvider>, u64)>,
    /// In the order of lists.
    pub(super) tools: Vec<Arc<Entry>>,
    by_name: HashMap<String, Arc<Entry>>,
    withheld: HashMap<String, Error>,
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
                // One that panics is asked again for its list, and then left out.
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
    /// Guards the pointer to the last one; held to copy or replace it.
    last: Mutex<Option<Arc<Catalog>>>,
}

impl Catalogs {
    pub(super) fn new(host: &Host, own: Vec<Arc<dyn ToolProvider>>) -> Self {
        Self { host: host.clone(), own, last: Mutex::new(None) }
    }

    /// Makes this plugin known to the other tools plugins.
    pub(super) fn announce(&self) -> Result<()> {
        let tools = self.own.iter().flat_map(|provider| provider.tools());
        let collector = Collector { own_names: tools.map(|tool| tool.name).collect() };
        self.host.contribute(self.host.plugin().as_str(), Arc::new(collector))
    }

    /// The catalog as of now, and whether its tools differ from those of the last one.
    pub(super) fn current(&self) -> (Arc<Catalog>, bool) {
        let last = self.lock().clone();
        if let Some(catalog) = last.as_ref().filter(|it| it.is_current(&self.host)) {
            return (Arc::clone(catalog), false);
        }
        let refused = last.as_ref().map(|it| it.refused.as_slice()).unwrap_or_default();
        let catalog = Arc::new(Builder::new(&self.host, refused).build(&self.own));
        let has_changed = last.is_some_and(|last| !last.has_same_tools(&catalog));
        *self.lock() = Some(Arc::clone(&catalog));
        (catalog, has_changed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Catalog>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Builder<'a> {
    host: &'a Host,
    catalog: Catalog,
    /// Names that other tools plugins have, with their owner.
    taken: HashMap<String, PluginName>,
    /// Refusals that were logged before.
    logged: &'a [String],
    /// Bytes that the definitions may still need on the wire.
    room: usize,
}

impl<'a> Builder<'a> {
    fn new(host: &'a Host, logged: &'a [String]) -> Self {
        let catalog = Catalog {
            generation: host.contribution_generation(),
            providers: Vec::new(),
            tools: Vec::new(),
            by_name: HashMap::new(),
            withheld: HashMap::new(),
            refused: Vec::new(),
            is_last: false,
        };
        // A list of all of them must fit into one line, beside those of other plugins.
        let room = host.config().limits.max_line_bytes / 2;
        Self { host, catalog, taken: HashMap::new(), logged, room }
    }

    fn build(mut self, own: &[Arc<dyn ToolProvider>]) -> Catalog {
        let me = self.host.plugin().clone();
        let plugins = self.host.plugins_of("tools");
        let marks = self.host.contributions::<Collector>();
        let collectors: Vec<_> = plugins
            .iter()
            .filter_map(|name| marks.iter().find(|mark| mark.owner == *name))
            .collect();
        self.catalog.is_last = plugins.last().is_none_or(|last| *last == me);
        for mark in collectors.iter().take_while(|mark| mark.owner != me) {
            self.take(&mark.item.own_names, &mark.owner);
        }
        for provider in own {
            self.add(provider, &me);
        }
        if collectors.first().is_some_and(|first| first.owner == me) {
            for mark in collectors.iter().skip(1) {
                self.take(&mark.item.own_names, &mark.owner);
            }
            for contributed in self.host.contributions::<dyn ToolProvider>() {
                self.add(&contributed.item, &contributed.owner);
            }
        }
        self.catalog
    }

    fn take(&mut self, names: &[String], owner: &PluginName) {
        for name in names {
            self.taken.entry(name.clone()).or_insert_with(|| owner.clone());
        }
    }

    /// Adds what a provider offers. One that panics offers nothing.
    fn add(&mut self, provider: &Arc<dyn ToolProvider>, owner: &PluginName) {
        let ask = || {
            let tools = provider.tools();
            let tools = tools.into_iter().map(|tool| (provider.run(&tool.name), tool));
            let tools: Vec<(Run, ToolDefinition)> = tools.collect();
            (provider.generation(), tools, provider.withheld())
        };
        let Ok((generation, tools, withheld)) = catch_unwind(AssertUnwindSafe(ask)) else {
            return self.refuse("*", owner, "its provider panicked when asked what it offers");
        };
        self.catalog.providers.push((Arc::clone(provider), generation));
        for (run, tool) in tools {
            let name: Arc<str> = tool.name.as_str().into();
            match clean::definition(tool) {
                Err(why) => self.refuse(&name, owner, &why),
                Ok(definition) => {
                    let (provider, owner) = (Arc::clone(provider), owner.clone());
                    self.add_entry(Entry { definition, name, run, provider, owner });
                }
            }
        }
        for (name, error) in withheld {
            self.catalog.withheld.entry(name).or_insert(error);
        }
    }

    fn add_entry(&mut self, entry: Entry) {
        let name = &entry.definition.name;
        let taken = self.catalog.by_name.get(name).map(|it| &it.owner);
        if let Some(other) = taken.or_else(|| self.taken.get(name)) {
            let why = format!("the name is taken by plugin `{other}`");
            return self.refuse(name, &entry.owner, &why);
        }
        let size = encode_value(&entry.definition).map_or(usize::MAX, |bytes| bytes.len());
        let Some(room) = self.room.checked_sub(size) else {
            return self.refuse(name, &entry.owner, "a list with it would be too long for a line");
        };
        if self.catalog.tools.len() >= MAX_TOOLS {
            let why = format!("there are {MAX_TOOLS} tools already");
            return self.refuse(name, &entry.owner, &why);
        }
        self.room = room;
        let entry = Arc::new(entry);
        self.catalog.by_name.insert(entry.definition.name.clone(), Arc::clone(&entry));
        self.catalog.tools.push(entry);
    }

    /// Notes and logs a tool that is left out; what was logged for the last catalog is not repeated.
    fn refuse(&mut self, tool: &str, owner: &PluginName, why: &str) {
        let text = format!("{owner}: {tool}: {why}");
        if !self.logged.contains(&text) {
            tracing::warn!(tool, %owner, why, "tool refused");
        }
        // As many as tools; what is beyond is logged each time.
        if self.catalog.refused.len() < MAX_TOOLS {
            self.catalog.refused.push(text);
        }
    }
}

/// The error for a name that nobody has.
pub(super) fn unknown(name: &str) -> Error {
    Error::new(
        ErrorCode::UnknownTool,
        format!("no tool is named `{name}`; `tool/list/req` lists them"),
    )
    .with_detail("tool_name", name)
}
