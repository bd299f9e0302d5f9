//! The key of a saved state, as text and as a file name.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::protocol::{PluginName, SessionId};
use crate::{Error, Result};

/// The longest key, as text, that a store takes; in bytes.
pub(super) const MAX_KEY: usize = 64 * 1024;

/// The longest file name, without suffixes, in bytes.
const MAX_NAME: usize = 200;

/// Hex digits of the hash that ends a shortened name: 128 bits.
const HASH_DIGITS: usize = 32;

/// A plugin's key, for the host or for one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateKey {
    /// The plugin that owns the state.
    pub plugin: PluginName,
    /// The plugin's own name for it.
    pub key: String,
    /// The session it belongs to; none: the host's.
    pub session: Option<SessionId>,
}

impl StateKey {
    /// The key of a plugin's state.
    pub fn new(
        plugin: impl Into<PluginName>,
        key: impl Into<String>,
        session: Option<SessionId>,
    ) -> Self {
        Self { plugin: plugin.into(), key: key.into(), session }
    }

    /// Reads the text form, as [`fmt::Display`] gives it.
    ///
    /// # Errors
    /// When the text is not exactly what a key would give.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_parts(text, ':')
            .ok_or_else(|| Error::invalid(format!("`{text}` is not plugin:key[:session]")))
    }

    /// Refuses what no store takes: an empty part, and a text above [`MAX_KEY`].
    pub(super) fn check(&self) -> Result<()> {
        let session = self.session.as_ref().map(SessionId::as_str);
        if [Some(self.plugin.as_str()), Some(&self.key), session].contains(&Some("")) {
            return Err(Error::invalid("plugin, key and session of a state may not be empty"));
        }
        let length = self.joined(':').len();
        if length > MAX_KEY {
            let message = format!("key of a state has {length} bytes; at most {MAX_KEY} are kept");
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// The name of the file, without `.snap`: the encoded parts joined by `.`.
    ///
    /// No key reaches another's file: the only bytes are `[a-z0-9_-]`, `%` with two upper-case hex
    /// digits, and `.` between parts. A name above 200 bytes is cut there and ends in `~` and 32 hex
    /// digits of the SHA-256 of the key's text form; the file itself holds the whole key.
    pub(super) fn file_name(&self) -> String {
        let mut name = self.joined('.');
        if name.len() > MAX_NAME {
            let digest = Sha256::digest(self.to_string());
            name.truncate(MAX_NAME - HASH_DIGITS - 1);
            name.push('~');
            name.push_str(&to_hex(digest.get(..HASH_DIGITS / 2).unwrap_or_default()));
        }
        name
    }

    /// Reads a file name back; none for one that was shortened or is not ours.
    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        Self::from_parts(name, '.')
    }

    fn joined(&self, separator: char) -> String {
        let mut text = String::with_capacity(64);
        push_encoded(&mut text, self.plugin.as_str());
        let session = self.session.as_ref().map(SessionId::as_str);
        for part in [Some(self.key.as_str()), session].into_iter().flatten() {
            text.push(separator);
            push_encoded(&mut text, part);
        }
        text
    }

    fn from_parts(text: &str, separator: char) -> Option<Self> {
        let mut parts = text.split(separator).map(decode);
        let key = Self {
            plugin: PluginName::from(parts.next()??),
            key: parts.next()??,
            session: match parts.next() {
                Some(session) => Some(SessionId::from(session?)),
                None => None,
            },
        };
        // One key, one text: whatever else would decode to it is refused.
        Some(key).filter(|key| parts.next().is_none() && key.joined(separator) == text)
    }
}

/// The text form: percent-encoded parts joined by `:`.
impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(':'))
    }
}

/// Upper case is escaped too, for file systems that do not tell it from lower case.
fn push_encoded(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&to_hex(&[byte]).to_ascii_uppercase());
        }
    }
}

/// Two lower-case hex digits for each byte.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            u8::try_from(digit()? << 4 | digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}
