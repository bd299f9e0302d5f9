//! What a principal may use, where it may not use everything.

use crate::protocol::CapabilityName;
use crate::protocol::pattern::fits;

/// The message types and the named things (tools) that a principal may use. In each pattern `*` stands for
/// any run of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Message types (`tool/call/*`), their first parts (`tool`), or capabilities (`tools`); `None`: all.
    pub types: Option<Vec<String>>,
    /// What has a list of its own, by the list's name: `tools` with the tools that it may use.
    pub names: Vec<(&'static str, Vec<String>)>,
}

impl Allowed {
    /// Whether a message of this type may be sent, whatever plugins handle it.
    pub fn has_type(&self, wire_type: &str) -> bool {
        let namespace = wire_type.split('/').next().unwrap_or(wire_type);
        self.types
            .as_ref()
            .is_none_or(|types| types.iter().any(|it| fits(it, wire_type) || fits(it, namespace)))
    }

    /// Whether everything of this capability may be used.
    pub fn has_capability(&self, capability: &CapabilityName) -> bool {
        self.types.as_ref().is_none_or(|types| {
            let is_it = |it: &String| {
                fits(it, capability.as_str()) || CapabilityName::parse(it) == *capability
            };
            types.iter().any(is_it)
        })
    }

    /// Whether it is kept to some things of a list.
    pub fn keeps(&self, list: &str) -> bool {
        self.names.iter().any(|(known, _)| *known == list)
    }

    /// Whether one of many things may be used: the tool of this name.
    pub fn has_name(&self, list: &str, name: &str) -> bool {
        let own = self.names.iter().find(|(known, _)| *known == list);
        own.is_none_or(|(_, names)| names.iter().any(|it| fits(it, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&it| it.to_owned()).collect()
    }

    #[test]
    fn types_are_allowed_by_type_namespace_or_capability() {
        for (patterns, wire_type, capability, by_type, by_capability) in [
            (&["tool/call/req"][..], "tool/call/req", "tools", true, false),
            (&["tool/*"], "tool/list/req", "tools", true, false),
            (&["tool"], "tool/list/req", "tools", true, true),
            (&["tool"], "toolkit/list/req", "toolkits", false, false),
            (&["tools"], "tool/list/req", "tools", false, true),
            (&["learn"], "learn/stats/req", "learning", true, true),
            (&["*"], "any/thing", "acme", true, true),
            (&[], "tool/list/req", "tools", false, false),
            (&["a", "SUBAGENT_*"], "SUBAGENT_LIST_REQ", "multi_agent", true, false),
            (&["acme.*"], "robot/move/req", "acme.robots", false, true),
        ] {
            let allowed = Allowed { types: Some(texts(patterns)), ..Allowed::default() };
            assert_eq!(allowed.has_type(wire_type), by_type, "{patterns:?} {wire_type}");
            let capability = CapabilityName::parse(capability);
            assert_eq!(allowed.has_capability(&capability), by_capability, "{patterns:?}");
        }
        assert!(Allowed::default().has_type("any"));
    }

    #[test]
    fn names_are_allowed_by_the_list_that_they_are_in() {
        let names = vec![("tools", texts(&["read_*", "echo"]))];
        let allowed = Allowed { names, ..Allowed::default() };
        for (list, name, expected) in [
            ("tools", "read_file", true),
            ("tools", "echo", true),
            ("tools", "echoes", false),
            ("tools", "", false),
            ("skills", "any", true),
        ] {
            assert_eq!(allowed.has_name(list, name), expected, "{list} {name}");
        }
    }
}
