//! Chains: tools, skills and programs one after another, without the agent in between.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `chain/req` | `chain/resp` | runs a chain; `chain/event` tells of each node |
//!
//! | Kind of node | What it does |
//! |---|---|
//! | `tool`, `skill` | calls `name`; its output is the `data` of the result |
//! | `proc` | runs a program to its end; its output is `{proc_id, status}` |
//! | `branch` | goes on with `true_node` or `false_node`, by its `condition` |
//! | `map` | runs `map_node` for each item at `items_path`, several at a time; its output is the list of results, in the order of the items |
//!
//! - The chain goes from `entry_node` along `next_node` to a node that has none. It is looked at as a whole
//!   first: an entry that is missing is `bad_entry`, a way that can only go in a circle `chain_cycle`, a name
//!   of no node `chain_error`; no node runs then. A node that is come to a second time ends the chain with
//!   `chain_cycle`.
//! - A text in `input_map` that begins with `$` is a path: `$.<node>.rows[0].id` (or `rows.0.id`) into the
//!   output of a node, `$.<key>` or `$.input.<key>` into the initial input, `$.item` in the inner node of a
//!   map, `$` the whole. What is not there is null.
//! - A node that fails ends the chain with `chain_node_error`, or is passed over (`on_error: skip`), or leads to
//!   another node; `success` is false then too. An item of a map that fails is left out.
//! - Nodes are requests in the session of the chain, with its rights; a cancel or the `timeout` ends the
//!   one that runs. Outputs are bounded in all, see [`ChainConfig`].
//! - A chain of the settings is a tool of its own (`tools: {NAME: {description, input_schema, nodes}}`): its
//!   arguments are the initial input, its result is the output of the last node. It may use tools that lists
//!   leave out.
//!
//! ```text
//! {"type":"chain/req","id":"1","entry_node":"find","initial_input":{"pattern":"TODO"},"nodes":[
//!  {"node_id":"find","kind":"tool","name":"grep","input_map":{"pattern":"$.pattern"},"next_node":"any"},
//!  {"node_id":"any","kind":"branch","condition":"$.find.files","true_node":"read"},
//!  {"node_id":"read","kind":"tool","name":"read_file","input_map":{"path":"$.find.files[0].path"}}]}
//! {"type":"chain/event","req_id":"1","kind":"status","data":{},"node_id":"find","phase":"start","seq":0}
//! ```

#[cfg(feature = "client")]
mod client;
mod nodes;
mod path;
mod plan;
mod plugin;
mod protocol;
mod run;
#[cfg(test)]
mod tests;
mod tools;

#[cfg(feature = "client")]
pub use client::Chains;
pub use plugin::ChainConfig;
pub use protocol::{
    CHAIN_EVENT, ChainError, ChainEvent, ChainNode, ChainPhase, ChainRequest, ChainResponse,
    NodeKind,
};
pub use tools::ChainTool;
