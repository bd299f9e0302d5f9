//! What a message type declares: its wire name and, for a request, its reply, fold and deadline.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A message: a plain serde struct with a wire type. Declare one with [`message!`](crate::message).
///
/// The struct holds only the fields beyond the envelope (`type`, `id`, `version`, `ts`, `req_id`).
pub trait Message: Send + 'static {
    /// The text of `type` on the wire.
    const TYPE: &'static str;
}

/// A message that is answered by exactly one reply or error.
pub trait Request: Message + DeserializeOwned {
    /// The type of its reply.
    type Reply: Message + Serialize;
    /// How the answers of several plugins become one.
    const FOLD: Fold = Fold::All;
    /// How long it may take.
    const DEADLINE: Deadline = Deadline::Default;
    /// Whether it is never answered; only such a request may end without a reply.
    const IS_ONE_WAY: bool = false;
    /// The fields that say what a request is about, for its audit record; dots lead into objects.
    const SUBJECT: &'static [&'static str] = &[];
}

/// How the answers of several plugins of one type become one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// All run; the first reply by priority is the answer.
    All,
    /// The first reply or error ends it; a plugin that passes, panics or times out hands on to the next.
    First,
    /// All run; arrays of the replies are joined in priority order, other fields are the first's.
    Merge,
    /// As [`Fold::Merge`]; of array items that are objects with an equal value in this field,
    /// the first by priority stays.
    MergeBy(&'static str),
}

/// How long a request may take, counted from its acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deadline {
    /// The host's default, 30 s.
    Default,
    /// Never ends by itself.
    None,
    /// A fixed time.
    After(Duration),
    /// The request's `timeout` field in seconds; this many seconds where it is absent or not above 0.
    TimeoutField(u64),
}

/// The reply type of one-way requests: there is none.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum NoReply {}

impl Message for NoReply {
    const TYPE: &'static str = "";
}

/// Declares a message type: wire name and, for a request, reply type, fold and deadline.
///
/// ```
/// use a2e_core::message;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct EchoRequest { text: String }
/// #[derive(Serialize, Deserialize)]
/// struct EchoResponse { text: String }
/// #[derive(Serialize, Deserialize)]
/// struct Heard {}
///
/// message!(EchoResponse, "echo/resp");
/// message!(EchoRequest, "echo/req" => EchoResponse, First, TimeoutField(30); subject "text");
/// message!(Heard, "echo/heard", one_way);
/// ```
///
/// Fold and deadline may be left out: [`Fold::All`] and [`Deadline::Default`]. What stands behind `subject` are
/// the fields that the audit records, see [`Request::SUBJECT`].
#[macro_export]
macro_rules! message {
    (@type $type:ty, $wire:literal) => {
        impl $crate::protocol::Message for $type {
            const TYPE: &'static str = $wire;
        }
    };
    ($type:ty, $wire:literal) => {
        $crate::message!(@type $type, $wire);
        $crate::__register_message!($type, None);
    };
    ($type:ty, $wire:literal, one_way) => {
        $crate::message!(@type $type, $wire);
        $crate::__register_message!($type, Some(""));
        impl $crate::protocol::Request for $type {
            type Reply = $crate::protocol::NoReply;
            const FOLD: $crate::protocol::Fold = $crate::protocol::Fold::First;
            const IS_ONE_WAY: bool = true;
        }
    };
    ($type:ty, $wire:literal => $reply:ty
        $(, $fold:ident $(($field:literal))? $(, $deadline:ident $(($time:expr))?)?)?
        $(; subject $($subject:literal),+)?) => {
        $crate::message!(@type $type, $wire);
        $crate::__register_message!($type, Some(<$reply as $crate::protocol::Message>::TYPE));
        impl $crate::protocol::Request for $type {
            type Reply = $reply;
            $(
                const FOLD: $crate::protocol::Fold = $crate::protocol::Fold::$fold $(($field))?;
                $(
                    const DEADLINE: $crate::protocol::Deadline =
                        $crate::protocol::Deadline::$deadline $(($time))?;
                )?
            )?
            $(const SUBJECT: &'static [&'static str] = &[$($subject),+];)?
        }
    };
}

/// Registers a message type at link time, for `a2e schema`; a client needs none of that.
#[cfg(feature = "host")]
#[doc(hidden)]
#[macro_export]
macro_rules! __register_message {
    ($type:ty, $reply:expr) => {
        $crate::inventory::submit! {
            $crate::schema::MessageClass::new(
                <$type as $crate::protocol::Message>::TYPE,
                $reply,
                |side| $crate::json_schema!($type, side),
            )
        }
    };
}

#[cfg(not(feature = "host"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __register_message {
    ($type:ty, $reply:expr) => {};
}

/// The part of a message in an exchange, as far as its type tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Part of a request that is not answered yet, or of what it started: `…/event`.
    Event,
    /// Sent unasked: `…/push`.
    Push,
    /// A request, or an answer to one.
    Final,
}

impl Role {
    /// Reads the role off a wire type. The upper-case family writes `…_EVENT`.
    ///
    /// ```
    /// use a2e_core::protocol::Role;
    /// assert_eq!(Role::of("tool/event"), Role::Event);
    /// assert_eq!(Role::of("env/state/push"), Role::Push);
    /// assert_eq!(Role::of("tool/call/resp"), Role::Final);
    /// ```
    pub fn of(wire_type: &str) -> Self {
        if wire_type.ends_with("/event") || wire_type.ends_with("_EVENT") {
            Self::Event
        } else if wire_type.ends_with("/push") {
            Self::Push
        } else {
            Self::Final
        }
    }
}
