//! Bytes to messages and back: strict check of a line, typed decode, and the one encoder. No I/O.
//!
//! A line goes through [`scan::scan`] once, which checks the whole of it and finds the envelope.
//! The handler's typed decode ([`decode()`]) and the encoder ([`mod@encode`]) do the rest.

pub mod decode;
pub mod encode;
pub mod envelope;
#[cfg(feature = "host")]
pub(crate) mod find;
#[cfg(feature = "host")]
pub(crate) mod first;
pub mod line;
pub mod raw;
pub mod scan;
mod text;
mod typed;

pub use decode::{Body, Incoming, Unknown, decode, decode_field, decode_noting};
pub use encode::{EncodeError, encode_fields, encode_value};
pub use envelope::{Envelope, EnvelopeError};
pub use line::{LineBuffer, LineItem};
pub use raw::RawJson;
#[cfg(feature = "host")]
pub(crate) use text::is_plain_ascii;

/// Deepest nesting of objects and arrays in a line that a host reads, and in a payload.
pub const MAX_DEPTH: u8 = 127;

/// Levels that a host may write around a payload that it accepted: the message, its `data`, the result of a
/// tool in there, and as many again for what a plugin wraps around it.
pub const WRAPPING_DEPTH: u8 = 8;

/// Deepest nesting in a line that a host writes and a client reads.
pub const MAX_WRITTEN_DEPTH: u8 = MAX_DEPTH + WRAPPING_DEPTH;
