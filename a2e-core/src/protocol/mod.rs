//! What goes over the wire: ids, control messages, events, errors. Nothing here does I/O or reads a clock.

pub mod capability;
pub mod control;
pub mod error;
pub mod event;
pub mod host;
pub mod id;
pub mod message;
pub mod number;

pub use capability::CapabilityName;
pub use control::{
    AcceptedCapability, Cancel, HandshakeRequest, HandshakeResponse, HostFacts, Ping, Pong, Resume,
    Shutdown,
};
pub use error::{ErrorBody, ErrorCode};
pub use event::{Event, EventKind};
pub use id::{IdSource, MessageId, PluginName, SessionId};
pub use message::{Deadline, Fold, Message, NoReply, Request, Role};

/// The protocol version that we emit; peers with another major number are refused.
pub const VERSION: &str = "1.0";
