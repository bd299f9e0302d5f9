//! What servers offer, as contributions: tools to the tools plugin, resources and prompts to fronts.

mod prompts;
mod resources;
mod result;
mod tools;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::upstream::{Shared, Upstream};

pub(super) use prompts::Prompts;
pub(super) use resources::Resources;
pub(super) use tools::offered;

/// The servers of a plugin, by id.
pub(super) struct Servers {
    pub(super) shared: Arc<Shared>,
    /// Held for a look-up, a change or a copy.
    table: Mutex<BTreeMap<String, Arc<Upstream>>>,
}

impl Servers {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, table: Mutex::default() })
    }

    /// All of them, in the order of their ids.
    pub(super) fn all(&self) -> Vec<Arc<Upstream>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().cloned().collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Upstream>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Adds one; false when its id is taken, or messages have registered `most` already.
    pub(super) fn add(&self, upstream: &Arc<Upstream>, most: usize) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let registered = table.values().filter(|it| it.is_registered).count();
        if table.contains_key(&upstream.id) || (upstream.is_registered && registered >= most) {
            return false;
        }
        table.insert(upstream.id.clone(), Arc::clone(upstream));
        true
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Upstream>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Lets all of them go.
    pub(super) fn clear(&self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = std::mem::take(&mut *table);
        drop(table);
        for upstream in gone.values() {
            upstream.drop_child();
        }
    }

    /// A description for models, with the name of the server whose words these are.
    fn marked(&self, server_id: &str, about: Option<String>) -> Option<String> {
        let about = about.filter(|about| !about.is_empty())?;
        let upstream = self.find(server_id);
        let name = upstream.as_ref().map_or(server_id, |it| it.name());
        Some(format!("[MCP:{name}] {about}"))
    }

    /// Whether no other plugin of this kind serves the host.
    pub(super) fn is_alone(&self) -> bool {
        self.shared.host.contributions::<Self>().len() < 2
    }

    /// The server that lists a resource; else the first whose template or scheme fits.
    pub(super) fn of_resource(&self, uri: &str) -> Option<Arc<Upstream>> {
        let all = self.all();
        let lists = |it: &&Arc<Upstream>| {
            it.known().is_some_and(|it| it.listing.resources.iter().any(|it| it.uri == uri))
        };
        let fits = |it: &&Arc<Upstream>| {
            it.known().is_some_and(|it| {
                it.listing.templates.iter().any(|it| {
                    let fixed = it.uri_template.split('{').next().unwrap_or_default();
                    !fixed.is_empty() && uri.starts_with(fixed)
                })
            })
        };
        all.iter().find(lists).or_else(|| all.iter().find(fits)).cloned()
    }

    /// The first server that has resources at all.
    pub(super) fn any_resource(&self) -> Option<Arc<Upstream>> {
        let has_any =
            |it: &Arc<Upstream>| it.known().is_some_and(|it| !it.listing.resources.is_empty());
        self.all().into_iter().find(has_any)
    }

    /// The server that a resource may be of: where others of this kind serve, only one that is sure.
    fn may_have(&self, uri: &str) -> Option<Arc<Upstream>> {
        let any = || self.any_resource().filter(|_| self.is_alone());
        self.of_resource(uri).or_else(any)
    }

    /// The server that lists a prompt.
    pub(super) fn of_prompt(&self, name: &str) -> Option<Arc<Upstream>> {
        self.all().into_iter().find(|it| {
            it.known().is_some_and(|it| it.listing.prompts.iter().any(|it| it.name == name))
        })
    }
}

/// Entries of a page.
pub(super) const PAGE: usize = 200;

/// Where a cursor begins.
pub(super) fn start(cursor: &str) -> Option<usize> {
    if cursor.is_empty() { Some(0) } else { cursor.parse().ok() }
}

/// A part of a list, from a cursor that this function gave; and where to go on.
pub(super) fn page<T: Clone>(all: &[T], cursor: &str) -> Option<(Vec<T>, String)> {
    let from = start(cursor)?;
    // A list that has become shorter ends there.
    let rest = all.get(from..).unwrap_or_default();
    let items: Vec<T> = rest.iter().take(PAGE).cloned().collect();
    let next = if rest.len() > PAGE { (from + PAGE).to_string() } else { String::new() };
    Some((items, next))
}
