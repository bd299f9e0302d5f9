//! What the session of a subagent may use: its scopes, within what its spawner may.

use a2e_core::protocol::CapabilityName;
use a2e_core::transport::{Allowed, Identity};

use super::protocol::{MemoryScope, SubagentConfig, ToolScope};

/// The list of the tools capability that a principal may be kept to.
const TOOLS: &str = "tools";

/// What every subagent may: its own family.
const FAMILY: [&str; 2] = ["multi_agent", "SUBAGENT_*"];

/// What reads a memory and changes nothing.
const READS: [&str; 2] = ["memory/init/*", "memory/retrieve/*"];

/// The identity of a subagent's session.
pub(super) fn identity(id: &str, config: &SubagentConfig, spawner: &Identity) -> Identity {
    let mut identity = Identity::of(principal(id));
    identity.tenant.clone_from(&spawner.tenant);
    identity.name.clone_from(&config.name);
    let own = allowed(config);
    let allowed = match spawner.allowed.as_deref() {
        Some(above) => Some(within(own, above)),
        None => own,
    };
    identity.allowed = allowed.map(Into::into);
    identity
}

/// The principal of a subagent's session.
pub(super) fn principal(id: &str) -> String {
    format!("subagent:{id}")
}

/// The subagent whose session has this principal.
pub(super) fn subagent_of(principal: &str) -> Option<&str> {
    principal.strip_prefix("subagent:")
}

/// What the scopes allow; `None`: everything.
fn allowed(config: &SubagentConfig) -> Option<Allowed> {
    let (tools, memory) = (config.tool_scope, config.memory_scope);
    if (tools, memory) == (ToolScope::Shared, MemoryScope::Shared) {
        return None;
    }
    let mut types: Vec<String> = FAMILY.map(str::to_owned).into();
    let mut names = Vec::new();
    match memory {
        MemoryScope::Shared => types.push("memory".to_owned()),
        MemoryScope::Snapshot => types.extend(READS.map(str::to_owned)),
        MemoryScope::Isolated => {}
    }
    match tools {
        // A list of what may be used cannot say "all but memory".
        ToolScope::Shared => types.extend(others().map(str::to_owned)),
        ToolScope::Restricted => {
            let is_capability = |it: &&String| CapabilityName::parse(it).is_announceable();
            let (capabilities, tools): (Vec<_>, Vec<_>) =
                config.capabilities.iter().partition(is_capability);
            // The scope of memory has a field of its own.
            let capabilities = capabilities.into_iter().map(|it| CapabilityName::parse(it));
            let capabilities = capabilities.map(|it| it.as_str().to_owned());
            types.extend(capabilities.filter(|it| it != "memory"));
            if config.capabilities.is_empty() || !tools.is_empty() {
                types.push(TOOLS.to_owned());
            }
            if !tools.is_empty() {
                names.push((TOOLS, tools.into_iter().cloned().collect()));
            }
        }
        ToolScope::Isolated => {}
    }
    Some(Allowed { types: Some(types), names })
}

/// Every capability but memory.
fn others() -> impl Iterator<Item = &'static str> {
    CapabilityName::all().filter(|it| *it != "memory")
}

/// Of what is asked for, what the spawner may as well. Of two patterns the narrower one stays; what is not told
/// to be within the other is left out.
fn within(own: Option<Allowed>, above: &Allowed) -> Allowed {
    let Some(own) = own else { return above.clone() };
    let types = match (own.types, &above.types) {
        (Some(own_types), Some(above_types)) => {
            let fits = Allowed { types: Some(own_types.clone()), names: Vec::new() };
            let has = |it: &Allowed, text: &str| {
                it.has_type(text) || it.has_capability(&CapabilityName::parse(text))
            };
            let narrower = above_types.iter().filter(|it| has(&fits, it)).cloned();
            let mut types: Vec<String> =
                own_types.into_iter().filter(|it| has(above, it)).collect();
            types.extend(narrower);
            Some(types)
        }
        (types, None) => types,
        (None, types) => types.clone(),
    };
    let mut names: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (list, wanted) in own.names {
        let kept = wanted.into_iter().filter(|it| above.has_name(list, it)).collect();
        names.push((list, kept));
    }
    for (list, wanted) in &above.names {
        if !names.iter().any(|(it, _)| it == list) {
            names.push((list, wanted.clone()));
        }
    }
    Allowed { types, names }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(memory: MemoryScope, tools: ToolScope, capabilities: &[&str]) -> SubagentConfig {
        SubagentConfig {
            memory_scope: memory,
            tool_scope: tools,
            capabilities: capabilities.iter().map(|&it| it.to_owned()).collect(),
            ..SubagentConfig::new("n")
        }
    }

    fn may(identity: &Identity, wire_type: &str, capability: &str) -> bool {
        identity.allowed.as_deref().is_none_or(|it| {
            it.has_type(wire_type) || it.has_capability(&CapabilityName::parse(capability))
        })
    }

    #[test]
    fn scopes_say_what_a_session_may() {
        use MemoryScope as M;
        use ToolScope as T;
        let types = [
            ("memory/store/req", "memory"),
            ("memory/retrieve/req", "memory"),
            ("tool/call/req", "tools"),
            ("proc/spawn/req", "proc"),
            ("SUBAGENT_SPAWN_REQ", "x"),
        ];
        for (memory, tools, capabilities, expected) in [
            (M::Shared, T::Shared, &[][..], [true, true, true, true, true]),
            (M::Shared, T::Restricted, &[], [true, true, true, false, true]),
            (M::Shared, T::Restricted, &["proc"], [true, true, false, true, true]),
            (M::Shared, T::Restricted, &["procs", "read_file"], [true, true, true, true, true]),
            (M::Isolated, T::Restricted, &["memory"], [false, false, false, false, true]),
            (M::Snapshot, T::Isolated, &[], [false, true, false, false, true]),
            (M::Isolated, T::Shared, &[], [false, false, true, true, true]),
            (M::Isolated, T::Isolated, &[], [false, false, false, false, true]),
        ] {
            let config = config(memory, tools, capabilities);
            let identity = identity("sub_1", &config, &Identity::default());
            let found = types.map(|(wire_type, capability)| may(&identity, wire_type, capability));
            assert_eq!(found, expected, "{memory:?} {tools:?} {capabilities:?}");
        }
        let tools = config(M::Shared, T::Restricted, &["read_*"]);
        let identity = identity("sub_1", &tools, &Identity::default());
        let allowed = identity.allowed.as_deref().unwrap();
        assert!(allowed.has_name("tools", "read_file") && !allowed.has_name("tools", "write_file"));
        assert_eq!(subagent_of(&identity.principal), Some("sub_1"));
    }

    #[test]
    fn a_subagent_may_no_more_than_its_spawner() {
        use MemoryScope as M;
        use ToolScope as T;
        let few = |types: &[&str], names: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
            let names = if names.is_empty() { Vec::new() } else { vec![("tools", owned(names))] };
            let allowed = Allowed { types: Some(owned(types)), names };
            Identity { allowed: Some(allowed.into()), ..Identity::of("ci") }
        };
        for (above, own, wire_type, capability, expected) in [
            (
                few(&["tools"], &[]),
                config(M::Shared, T::Shared, &[]),
                "proc/spawn/req",
                "proc",
                false,
            ),
            (
                few(&["tools"], &[]),
                config(M::Shared, T::Shared, &[]),
                "tool/call/req",
                "tools",
                true,
            ),
            (
                few(&["proc"], &[]),
                config(M::Shared, T::Restricted, &[]),
                "tool/call/req",
                "tools",
                false,
            ),
            (
                few(&["tool/list/*"], &[]),
                config(M::Isolated, T::Shared, &[]),
                "tool/call/req",
                "tools",
                false,
            ),
            (
                few(&["memory/*"], &[]),
                config(M::Snapshot, T::Isolated, &[]),
                "memory/retrieve/req",
                "x",
                true,
            ),
            (
                few(&["memory/*"], &[]),
                config(M::Snapshot, T::Isolated, &[]),
                "memory/store/req",
                "x",
                false,
            ),
        ] {
            let identity = identity("s", &own, &above);
            assert_eq!(may(&identity, wire_type, capability), expected, "{above:?} {wire_type}");
        }
        let above = few(&["tools"], &["read_file", "grep"]);
        let own = config(M::Shared, T::Restricted, &["grep", "write_file"]);
        let narrowed = identity("s", &own, &above);
        let allowed = narrowed.allowed.as_deref().unwrap();
        let has = |tool| allowed.has_name("tools", tool);
        assert!(has("grep") && !has("write_file") && !has("read_file"));
        let shared = identity("s", &config(M::Shared, T::Shared, &[]), &above);
        assert!(!shared.allowed.as_deref().unwrap().has_name("tools", "write_file"));
    }
}
