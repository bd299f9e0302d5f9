//! The look at a whole chain before its first node runs.

use std::collections::{HashMap, HashSet};

use a2e_core::protocol::ErrorCode;

use super::protocol::{ChainError, ChainNode, ChainRequest, NodeKind};

/// The nodes of a chain by name; every node that one names is there.
#[derive(Debug)]
pub(super) struct Plan<'a>(HashMap<&'a str, &'a ChainNode>);

impl<'a> Plan<'a> {
    /// Looks at a chain as a whole.
    ///
    /// # Errors
    /// `bad_entry` when the entry is not there, `chain_cycle` when no way leads from it to an end, and
    /// `chain_error` for what no run could carry out: a node that is named and not there, a name that two
    /// nodes have, a map of routers.
    pub(super) fn of(request: &'a ChainRequest, max_nodes: usize) -> Result<Self, ChainError> {
        let wrong = |node: &str, text: String| failure(ErrorCode::ChainError, node, text);
        if request.nodes.len() > max_nodes {
            let text = format!("{} nodes; a chain may have {max_nodes}", request.nodes.len());
            return Err(wrong("", text));
        }
        let mut nodes = HashMap::with_capacity(request.nodes.len());
        for node in &request.nodes {
            let id = node.node_id.as_str();
            if id.is_empty() {
                return Err(wrong("", "a node has an empty `node_id`".to_owned()));
            }
            if nodes.insert(id, node).is_some() {
                return Err(wrong(id, format!("two nodes are named `{id}`")));
            }
        }
        let entry = request.entry_node.as_str();
        if !nodes.contains_key(entry) {
            let text = match entry {
                "" => "`entry_node` is missing".to_owned(),
                _ => format!("no node is named `{entry}`, which `entry_node` names"),
            };
            return Err(failure(ErrorCode::BadEntry, entry, text));
        }
        let plan = Self(nodes);
        for node in &request.nodes {
            plan.check(node).map_err(|text| wrong(&node.node_id, text))?;
        }
        if !plan.can_end(entry) {
            let text = format!("every way from `{entry}` leads in a circle");
            return Err(failure(ErrorCode::ChainCycle, entry, text));
        }
        Ok(plan)
    }

    pub(super) fn find(&self, id: &str) -> Option<&'a ChainNode> {
        self.0.get(id).copied()
    }

    fn check(&self, node: &ChainNode) -> Result<(), String> {
        let id = &node.node_id;
        for (field, target) in ways(node) {
            if !target.is_empty() && !self.0.contains_key(target) {
                return Err(format!("`{field}` of `{id}` names `{target}`, which is no node"));
            }
        }
        match node.kind {
            NodeKind::Map => match self.find(&node.map_node).map(|it| it.kind) {
                None => Err(format!("`map_node` of `{id}` names `{}`, no node", node.map_node)),
                Some(NodeKind::Branch | NodeKind::Map) => {
                    Err(format!("`map_node` of `{id}` is no tool, skill or proc"))
                }
                Some(_) => Ok(()),
            },
            NodeKind::Tool | NodeKind::Skill if node.name.is_empty() => {
                Err(format!("`{id}` has no `name`"))
            }
            _ => Ok(()),
        }
    }

    /// Whether some way from this node leads to an end.
    fn can_end(&self, entry: &'a str) -> bool {
        let (mut seen, mut open) = (HashSet::new(), vec![entry]);
        while let Some(id) = open.pop() {
            let Some(node) = self.find(id).filter(|_| seen.insert(id)) else { continue };
            for (_, target) in ways(node) {
                if target.is_empty() {
                    return true;
                }
                open.push(target);
            }
        }
        false
    }
}

/// Where a node may lead, with the field that says so.
fn ways(node: &ChainNode) -> Vec<(&'static str, &str)> {
    if node.kind == NodeKind::Branch {
        return vec![("true_node", &node.true_node), ("false_node", &node.false_node)];
    }
    let mut ways = vec![("next_node", node.next_node.as_str())];
    if node.kind != NodeKind::Map && !matches!(node.on_error.as_str(), "" | "abort" | "skip") {
        ways.push(("on_error", &node.on_error));
    }
    ways
}

/// What ended a chain, at a node.
pub(super) fn failure(code: ErrorCode, node_id: &str, message: String) -> ChainError {
    ChainError { code, message, node_id: node_id.to_owned(), cause: None }
}
