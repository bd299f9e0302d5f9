//! The closed list of capability names that may be announced in a handshake.
//!
//! The reference client drops a whole `handshake/resp` that names a capability outside this list, so
//! the list belongs to the wire. It is data: no code in the kernel branches on one of its entries.

/// Wire name and the aliases that sample configurations use; aliases are read and never written.
const REGISTER: &[(&str, &[&str])] = &[
    ("skill", &["skills"]),
    ("tools", &["tool"]),
    ("toolkits", &[]),
    ("env", &[]),
    ("proc", &["procs"]),
    ("memory", &[]),
    ("learning", &["learn"]),
    ("chains", &["chain"]),
    ("multi_agent", &["subagents"]),
    ("planning", &[]),
    ("mcp", &[]),
    ("test", &[]),
];

/// The kind of service that a plugin offers: a name of the wire's list, or a third party's own.
///
/// ```
/// use a2e_core::protocol::CapabilityName;
/// let (alias, name) = (CapabilityName::parse("procs"), CapabilityName::parse("proc"));
/// assert_eq!(alias, name);
/// assert!(name.is_announceable());
/// assert!(!CapabilityName::parse("acme.robots").is_announceable());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CapabilityName(std::borrow::Cow<'static, str>);

impl CapabilityName {
    /// Reads a name or an alias; an unknown text is kept as it is.
    pub fn parse(text: &str) -> Self {
        let known =
            REGISTER.iter().find(|(name, aliases)| *name == text || aliases.contains(&text));
        Self(match known {
            Some((name, _)) => (*name).into(),
            None => text.to_owned().into(),
        })
    }

    /// The name as we emit it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a handshake may announce it; a third party's own kind is served but not announced.
    pub fn is_announceable(&self) -> bool {
        REGISTER.iter().any(|(name, _)| *name == self.0)
    }

    /// Every name of the wire's list, in its order.
    pub fn all() -> impl Iterator<Item = &'static str> {
        REGISTER.iter().map(|(name, _)| *name)
    }
}

impl std::fmt::Display for CapabilityName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
