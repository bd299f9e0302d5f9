//! Rules that say which calls a person has to approve.

use serde_json::Value;

use super::Named;
use crate::codec::Incoming;
use crate::protocol::pattern::fits;

/// An entry of `approve`. A call waits when its type, its name and each argument that is named fit; in each
/// pattern `*` stands for any run of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApproveRule {
    /// What the person is told.
    pub name: String,
    /// Of the message type; `None`: that of the named thing.
    pub wire_type: Option<String>,
    /// Of the tool, or of what else has names.
    pub named: Option<(&'static Named, String)>,
    /// Of arguments, by their paths (dots lead into objects): of a text its characters, of anything else
    /// its compact JSON.
    pub arguments: Vec<(String, String)>,
}

impl ApproveRule {
    /// Whether calls of this type may have to wait.
    pub(crate) fn takes(&self, wire_type: &str) -> bool {
        self.wire_type.as_ref().is_none_or(|it| fits(it, wire_type))
            && self.named.as_ref().is_none_or(|(named, _)| named.request == wire_type)
    }

    /// Whether this message of such a type has to wait. What can be read in two ways has to.
    pub(crate) fn asks_for(&self, wire_type: &str, text: &str) -> bool {
        let line = Incoming::of_text(text);
        let has_name = self.named.as_ref().is_none_or(|(named, pattern)| {
            value_fits(line, named.name, pattern).unwrap_or_default()
        });
        let below = Named::linked().find(|it| it.request == wire_type).map(|it| it.arguments);
        let fits = |(path, pattern): &(String, String)| {
            let path = below.map_or_else(|| path.clone(), |below| format!("{below}.{path}"));
            value_fits(line, &path, pattern).unwrap_or_default()
        };
        has_name && self.arguments.iter().all(fits)
    }
}

/// Whether a value fits; `None` where there is none.
fn value_fits(line: Incoming<'_>, path: &str, pattern: &str) -> Option<bool> {
    if line.is_ambiguous(path) {
        return Some(true);
    }
    let json = line.field(path)?;
    Some(match serde_json::from_str(json) {
        Ok(Value::String(text)) => fits(pattern, &text),
        Ok(value) => fits(pattern, &value.to_string()),
        // Nested too deep to be looked at.
        Err(_) => true,
    })
}
