//! What goes over the wire: ids, control messages, events, errors. Nothing here does I/O or reads a clock.

pub mod approval;
pub mod capability;
pub mod control;
pub mod error;
pub mod event;
pub mod host;
pub mod id;
pub mod message;
pub mod number;
pub mod pattern;
pub mod trace;

pub use capability::CapabilityName;
pub use control::{
    AcceptedCapability, Cancel, Changed, EARLY_EVENTS, HandshakeRequest, HandshakeResponse,
    HostFacts, Ping, Pong, Resume, SessionGap, Shutdown,
};
pub use error::{ErrorBody, ErrorCode};
pub use event::{Event, EventKind, InvokeEvent};
pub use id::{IdSource, MessageId, PluginName, SessionId};
pub use message::{Deadline, Fold, Message, NoReply, Request, Role};
pub use trace::TraceContext;

/// The protocol version that we emit; peers with another major number are refused.
pub const VERSION: &str = "1.0";
