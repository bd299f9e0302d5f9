//! Subagents: programs that an agent spawns, gives tasks, and asks for what they found.
//!
//! | Request | Also as | What it does |
//! |---|---|---|
//! | `SUBAGENT_SPAWN_REQ` | `multi_agent/spawn` | a new subagent: `READY` |
//! | `SUBAGENT_DELEGATE_REQ` | `multi_agent/delegate` | gives it a task: `RUNNING`, or `WAITING` while too many others run |
//! | `SUBAGENT_AWAIT_REQ` | `multi_agent/await` | waits until it has no task: `COMPLETED`, `FAILED`, `CANCELLED` |
//! | `SUBAGENT_MESSAGE_REQ` | | a message from one to another |
//! | `SUBAGENT_LIST_REQ` | `multi_agent/list` | the subagents of this session |
//! | `SUBAGENT_CANCEL_REQ` | | ends its task |
//! | `SUBAGENT_TERMINATE_REQ` | `multi_agent/terminate` | ends it: `TERMINATED` |
//! | `SUBAGENT_MERGE_REQ` | | the results of several as one: collect, vote, custom |
//!
//! `SUBAGENT_EVENT` tells the session that spawned a subagent of each new state and of messages.
//!
//! - A subagent belongs to the session that spawned it and ends with it. With the setting `command` it is a program
//!   under the child supervisor; a cancel, a time-out or a crash ends it and all that it started, and the next task
//!   starts it again. Without, the built-in worker gives a summary.
//! - The program is a client of this host over its standard streams, in a session of its own with the principal
//!   `subagent:<id>`. What that may use is decided by `memory_scope` and `tool_scope`, within what the spawner may
//!   itself. It may spawn subagents, as deep as the setting `max_depth` says.
//! - A task comes to the program as `SUBAGENT_DELEGATE_REQ` with an `id`, its `task` and its `agent`; it answers with
//!   `SUBAGENT_AWAIT_RESP`, that id as `req_id`, and a `status` of `COMPLETED` (`result`) or `FAILED` (`error`).
//!   Messages come as `SUBAGENT_EVENT`. `a2e-server/examples/subagent.py` is such a program.
//!
//! ```text
//! {"type":"SUBAGENT_SPAWN_REQ","id":"1","agent":{"name":"reader","model":"default"}}
//! {"type":"SUBAGENT_SPAWN_RESP","req_id":"1","subagent_id":"sub_5c…","status":"READY"}
//! {"type":"SUBAGENT_DELEGATE_REQ","id":"2","subagent_id":"sub_5c…","task":{"name":"count","instruction":"Count."}}
//! {"type":"SUBAGENT_DELEGATE_RESP","req_id":"2","accepted":true,"status":"RUNNING"}
//! ```

mod agent;
#[cfg(feature = "client")]
mod client;
mod config;
mod family;
mod merge;
mod plugin;
mod protocol;
mod scope;
mod state;
#[cfg(test)]
mod tests;
mod upper;
mod worker;

#[cfg(feature = "client")]
pub use client::Subagents;
pub use config::SubagentSettings;
pub use protocol::{
    AwaitRequest, AwaitResponse, DelegateRequest, DelegateResponse, ListRequest, ListResponse,
    MemoryScope, SpawnRequest, SpawnResponse, SubagentConfig, SubagentInfo, SubagentStatus,
    TerminateRequest, TerminateResponse, ToolScope,
};
pub use upper::{
    MergeStrategy, SubagentAwaitRequest, SubagentAwaitResponse, SubagentCancelRequest,
    SubagentCancelResponse, SubagentDelegateRequest, SubagentDelegateResponse, SubagentEvent,
    SubagentListRequest, SubagentListResponse, SubagentMergeRequest, SubagentMergeResponse,
    SubagentMessageRequest, SubagentMessageResponse, SubagentNote, SubagentSpawnRequest,
    SubagentSpawnResponse, SubagentTask, SubagentTerminateRequest, SubagentTerminateResponse,
};
