//! Makes a catalog: asks every provider for its tools, and leaves out those that must not be served.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use a2e_core::codec::encode_value;
use a2e_core::plugin::{Host, Run};
use a2e_core::protocol::PluginName;

use super::pins::{Approvals, Quarantine, Trust};
use super::{Catalog, Collector, Entry, MAX_TOOLS, clean};
use crate::tools::contract::ToolProvider;
use crate::tools::protocol::ToolDefinition;
use crate::tools::schema::Checker;

pub(super) struct Builder<'a> {
    host: &'a Host,
    approvals: &'a Approvals,
    catalog: Catalog,
    /// Names that other tools plugins have, with their owner.
    taken: HashMap<String, PluginName>,
    /// What it was before: what was logged is not logged again, what was compiled not compiled.
    last: Option<&'a Catalog>,
    /// Bytes that the definitions may still need on the wire.
    room: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(host: &'a Host, approvals: &'a Approvals, last: Option<&'a Catalog>) -> Self {
        let catalog = Catalog {
            tools: Vec::new(),
            by_name: HashMap::new(),
            withheld: HashMap::new(),
            quarantined: 0,
            refused: Vec::new(),
            is_last: false,
        };
        // A list of all of them must fit into one line, beside those of other plugins.
        let room = host.config().limits.max_line_bytes / 2;
        Self { host, approvals, catalog, taken: HashMap::new(), last, room }
    }

    pub(super) fn build(
        mut self,
        own: &[Arc<dyn ToolProvider>],
        linked: &Arc<dyn ToolProvider>,
    ) -> Catalog {
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
            self.add(provider, &me, true);
        }
        if collectors.first().is_some_and(|first| first.owner == me) {
            for mark in collectors.iter().skip(1) {
                self.take(&mark.item.own_names, &mark.owner);
            }
            self.add(linked, &me, true);
            for contributed in self.host.contributions::<dyn ToolProvider>() {
                self.add(&contributed.item, &contributed.owner, false);
            }
        }
        self.catalog
    }

    fn take(&mut self, names: &[String], owner: &PluginName) {
        for name in names {
            self.taken.entry(name.clone()).or_insert_with(|| owner.clone());
        }
    }

    /// Adds the tools of a provider. A provider that panics offers none.
    fn add(&mut self, provider: &Arc<dyn ToolProvider>, owner: &PluginName, is_own: bool) {
        let ask = || {
            let tools = provider.tools();
            let tools = tools.into_iter().map(|tool| (provider.run(&tool.name), tool));
            let tools: Vec<(Run, ToolDefinition)> = tools.collect();
            (tools, provider.withheld(), provider.approves())
        };
        let Ok((tools, withheld, approves)) = catch_unwind(AssertUnwindSafe(ask)) else {
            return self.refuse("*", owner, "its provider panicked when asked what it offers");
        };
        let trust = match (is_own, approves) {
            (true, _) => Trust::Own,
            (false, true) => Trust::Approved,
            (false, false) => Trust::FirstUse,
        };
        for (run, tool) in tools {
            let name: Arc<str> = tool.name.as_str().into();
            let made = clean::definition(tool).and_then(|definition| {
                let checker = self.checker(&definition)?;
                Ok((definition, checker))
            });
            match made {
                Err(why) => self.refuse(&name, owner, &why),
                Ok((definition, checker)) => {
                    let (provider, owner) = (Arc::clone(provider), owner.clone());
                    let entry = Entry { definition, name, run, checker, provider, owner };
                    self.add_entry(entry, trust);
                }
            }
        }
        for (name, error) in withheld {
            self.catalog.withheld.entry(name).or_insert_with(|| (owner.clone(), error));
        }
    }

    /// The checker of a definition; of one that is as before, the same.
    fn checker(&self, definition: &ToolDefinition) -> Result<Arc<Checker>, String> {
        let before = self.last.and_then(|last| last.find(&definition.name));
        if let Some(before) = before.filter(|it| it.definition == *definition) {
            return Ok(Arc::clone(&before.checker));
        }
        Checker::of(definition).map(Arc::new)
    }

    fn add_entry(&mut self, entry: Entry, trust: Trust) {
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
        if let Err(quarantine) = self.approvals.judge(&entry.definition, &entry.owner, trust) {
            return self.withhold(entry, &quarantine);
        }
        self.room = room;
        let entry = Arc::new(entry);
        self.catalog.by_name.insert(entry.definition.name.clone(), Arc::clone(&entry));
        self.catalog.tools.push(entry);
    }

    /// Leaves out a tool whose definition is not approved. Its name stays taken.
    fn withhold(&mut self, entry: Entry, quarantine: &Quarantine) {
        let Entry { definition: ToolDefinition { name, .. }, owner, .. } = entry;
        let error = quarantine.error(&name, &owner, self.host.plugin());
        self.refuse(&name, &owner, &quarantine.to_string());
        self.catalog.quarantined += 1;
        self.catalog.withheld.insert(name.clone(), (owner.clone(), error));
        self.taken.insert(name, owner);
    }

    /// Notes and logs a tool that is left out; what was logged for the last catalog is not repeated.
    fn refuse(&mut self, tool: &str, owner: &PluginName, why: &str) {
        let text = format!("{owner}: {tool}: {why}");
        if !self.last.is_some_and(|last| last.refused.contains(&text)) {
            tracing::warn!(tool, %owner, why, "tool refused");
        }
        // As many as tools; what is beyond is logged each time.
        if self.catalog.refused.len() < MAX_TOOLS {
            self.catalog.refused.push(text);
        }
    }
}
