//! Which tools a `tool/list/req` means, for every plugin that answers one.

use super::protocol::{ToolDefinition, ToolListRequest};

/// The conditions of a list request, prepared once.
///
/// ```
/// use a2e_caps::tools::contract::{ListFilter, ToolDefinition, ToolListRequest};
/// let tool = ToolDefinition::new("read_file", "Reads a file").tagged(&["files"]);
/// let request = ToolListRequest { query: "FILE".into(), ..ToolListRequest::default() };
/// assert!(ListFilter::of(&request).selects(&tool));
/// ```
#[derive(Clone, Debug)]
pub struct ListFilter {
    query: String,
    tags: Vec<String>,
    include_deferred: bool,
}

impl ListFilter {
    /// The conditions of this request.
    pub fn of(request: &ToolListRequest) -> Self {
        Self {
            query: request.query.to_lowercase(),
            tags: request.filter_tags.iter().map(|tag| tag.to_lowercase()).collect(),
            include_deferred: request.include_deferred,
        }
    }

    /// Whether the tool belongs in the list: it has all tags, the query is part of its name,
    /// description or a tag, and it is not deferred unless deferred ones were asked for.
    pub fn selects(&self, tool: &ToolDefinition) -> bool {
        if tool.defer_loading && !self.include_deferred {
            return false;
        }
        let has_all = self.tags.iter().all(|tag| {
            // An empty text among the tags asks for nothing.
            tag.is_empty() || tool.tags.iter().any(|it| it.to_lowercase() == *tag)
        });
        let has = |text: &str| text.to_lowercase().contains(&self.query);
        let is_found = self.query.is_empty()
            || has(&tool.name)
            || has(&tool.description)
            || tool.tags.iter().any(|tag| has(tag));
        has_all && is_found
    }
}
