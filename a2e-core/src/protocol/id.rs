//! Ids as their own types, so that one kind is never passed for another.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::codec::encode::hex;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Wraps a text as this kind of id; any text is taken.
            pub fn new(text: impl Into<Box<str>>) -> Self {
                Self(text.into())
            }

            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into_boxed_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// The `id` of a message; replies and events name it as `req_id`.
    MessageId
}
text_id! {
    /// A session: 128 random bits as 32 hex digits.
    SessionId
}
text_id! {
    /// The instance name of a plugin, unique in a host.
    PluginName
}

impl SessionId {
    /// A fresh session id.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        random_hex().map(Self::from)
    }
}

/// 128 unpredictable bits as 32 lower-case hex digits; for ids that must not be guessed
/// (sessions, memories, processes).
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_hex() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut text = Vec::with_capacity(32);
    for half in bytes.as_chunks::<8>().0 {
        text.extend_from_slice(&hex::<16>(u64::from_be_bytes(*half)));
    }
    Ok(String::from_utf8(text).unwrap_or_default())
}

/// Makes message ids: a random prefix of the process and a counter, 32 hex digits, unique and cheap.
///
/// They are not secret; ids that must not be guessed come from [`random_hex`].
#[derive(Debug)]
pub struct IdSource {
    prefix: [u8; 16],
    next: AtomicU64,
}

impl IdSource {
    /// A source with a random prefix; without randomness the prefix is the process id.
    pub fn new() -> Self {
        let mut seed = [0_u8; 8];
        let word = match getrandom::fill(&mut seed) {
            Ok(()) => u64::from_be_bytes(seed),
            Err(_) => u64::from(std::process::id()),
        };
        Self { prefix: hex::<16>(word), next: AtomicU64::new(1) }
    }

    /// Appends the next id, without quotes.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&hex::<16>(self.next.fetch_add(1, Ordering::Relaxed)));
    }

    /// Whether an id is one of this source, by its prefix.
    pub fn is_own(&self, id: &str) -> bool {
        id.len() == 32 && id.as_bytes().starts_with(&self.prefix)
    }

    /// The next id.
    pub fn next_id(&self) -> MessageId {
        let mut bytes = Vec::with_capacity(32);
        self.append_to(&mut bytes);
        MessageId::new(String::from_utf8(bytes).unwrap_or_default())
    }
}

impl Default for IdSource {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_hex_digits_and_differ() {
        let source = IdSource::new();
        let (a, b) = (source.next_id(), source.next_id());
        for id in [a.as_str(), b.as_str(), random_hex().unwrap().as_str()] {
            assert_eq!(id.len(), 32, "{id}");
            assert!(id.bytes().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()), "{id}");
        }
        assert_ne!(a, b);
        assert_eq!(a.as_str()[..16], b.as_str()[..16], "one process, one prefix");
        assert!(source.is_own(a.as_str()) && !source.is_own(&a.as_str()[..31]));
        assert!(!source.is_own(&random_hex().unwrap()));
    }
}
