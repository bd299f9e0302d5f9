//! Memory: entries that agents store and find again, in three tiers of different reach.
//!
//! | Request | Reply | What it does |
//! |---|---|---|
//! | `memory/init/req` | `memory/init/resp` | opens a memory; its id is good in this session only |
//! | `memory/store/req` | `memory/store/resp` | writes entries; a bad one is reported, the others are stored |
//! | `memory/retrieve/req` | `memory/retrieve/resp` | finds entries by key, tag, tier and words, best first |
//! | `memory/forget/req` | `memory/forget/resp` | removes entries by key or tag |
//!
//! | Tier | Seen by | Ends with |
//! |---|---|---|
//! | `working` | the session | the session |
//! | `episodic` | one agent (by its handshake) in one namespace and scope | nothing; it is saved |
//! | `semantic` | every session of the host | nothing; it is saved |
//!
//! After a reconnect the agent calls `memory/init` again: the new memory finds the episodic entries of
//! the same agent id, `namespace` and `scope`, and all semantic ones. An agent without an id is
//! anonymous: its episodic entries are its session's own and end with it. The agent id is the one
//! in force when the memory is opened.
//!
//! In its session, a memory may also be named by its namespace in place of its id, as long as the session
//! has opened that namespace in one scope only; a session that is written down beforehand needs that.
//!
//! An entry is found by its key, an object. Two keys are equal when their JSON is: the order of members
//! does not matter, the order in arrays does, and `1`, `1.0` and `1e0` are one number (integers of more
//! than 64 bits compare as floats). Storing under an equal key replaces the whole entry, its times too;
//! the entry keeps its place in the order of insertion, by which a full tier drops its oldest.
//!
//! The backend `memory` keeps entries in RAM and in the host's snapshots; `sqlite` keeps them in the file
//! `path`, where each request is on the disk when it is answered, and which several hosts may use at
//! once: `semantic` is then what every session of all of them sees, and an agent finds its episodic
//! entries at each. A query finds the same with both, in the same order. A file that another
//! program has locked is waited for up to 10 s. When the backend changes from `memory` to `sqlite`, a
//! file that is new takes over what the last snapshot holds.
//!
//! A query finds every entry that has one of its words; those with all of them come first, then those with
//! most, and among equals the more relevant (BM25 over what the session may see). Upper and lower case are
//! one, and so are composed and decomposed letters, in queries, tags and keys.
//!
//! Nothing grows without a bound, see [`MemoryConfig`]; `memory/init/resp` says which. A full tier drops its
//! oldest entry, which the reply of the store names (`evicted`), a full host the episodic entries of the agent that has been away for the longest; what still finds no room is
//! refused with `memory_full`.
//!
//! ```text
//! {"type":"memory/init/req","id":"1","namespace":"trips"}
//! {"type":"memory/init/resp","req_id":"1","memory_id":"9f…","namespace":"trips","success":true}
//! {"type":"memory/store/req","id":"2","memory_id":"9f…",
//!  "entries":[{"key":{"city":"Oslo"},"content":"rain","tier":"episodic","tags":["weather"]}]}
//! {"type":"memory/store/resp","req_id":"2","stored":[{"city":"Oslo"}],"errors":[]}
//! {"type":"memory/retrieve/req","id":"3","memory_id":"9f…","query":"RAIN"}
//! {"type":"memory/retrieve/resp","req_id":"3","entries":[{"key":{"city":"Oslo"},…}],"total":1}
//! ```

#[cfg(feature = "client")]
mod client;
mod config;
mod plugin;
mod protocol;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

#[cfg(test)]
mod tests;

pub use crate::json::JsonObject;
#[cfg(feature = "client")]
pub use client::{Memory, MemoryError};
pub use config::{Backend, MemoryConfig};
pub use protocol::{
    MemoryEntry, MemoryForgetRequest, MemoryForgetResponse, MemoryInitRequest, MemoryInitResponse,
    MemoryLimits, MemoryRetrieveRequest, MemoryRetrieveResponse, MemoryStoreRequest,
    MemoryStoreResponse, MemoryTier,
};
