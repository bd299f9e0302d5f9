//! Arguments that travel in headers as well (`x-mcp-header`, SEP-2243): rmcp holds the headers against the
//! schemas that it gets here.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::Tool;

use super::convert;
use super::desk::Desk;
use super::names::alias;

/// What a schema must say to be of interest.
const MARK: &str = "\"x-mcp-header\"";

/// The tools with such arguments, as of a generation of what plugins contribute.
#[derive(Default)]
pub(super) struct Headers(
    /// Held for a copy or a swap.
    Mutex<(u64, Arc<HashMap<String, Tool>>)>,
);

impl Headers {
    /// The tool of this name, where arguments of it travel in headers.
    pub(super) fn tool(&self, name: &str, desk: &Desk) -> Option<Tool> {
        let generation = desk.generation();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let tools = if known.0 == generation {
            known.1
        } else {
            let found = Arc::new(found(desk));
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = (generation, Arc::clone(&found));
            found
        };
        tools.get(name).cloned()
    }
}

fn found(desk: &Desk) -> HashMap<String, Tool> {
    let mut found = HashMap::new();
    for provider in desk.all_tools() {
        // The catalog of tools says which provider panics.
        let asked = catch_unwind(AssertUnwindSafe(|| provider.item.tools()));
        for tool in asked.unwrap_or_default() {
            if tool.input_schema.as_ref().is_some_and(|schema| schema.get().contains(MARK)) {
                let name = alias(&tool.name);
                found.entry(name.clone()).or_insert_with(|| convert::tool(name, &tool));
            }
        }
    }
    found
}
