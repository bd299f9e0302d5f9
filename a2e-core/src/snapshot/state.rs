//! A saved state: versioned bytes, and the two codecs that make them.

use bincode::config;
use bincode::serde::{decode_from_slice, encode_to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The encoding of the bytes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// bincode 2, standard configuration: small and fast, for plain structs only.
    Bincode,
    /// JSON, for state whose shape is not known when the plugin is compiled.
    Json,
}

/// The state of a plugin as bytes. The version is the plugin's own, for its migrations.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    version: u32,
    codec: Codec,
    bytes: Vec<u8>,
}

impl State {
    /// No state is larger, in bytes.
    pub const MAX_BYTES: usize = 64 * MIB;

    /// Encodes a plain struct with bincode.
    ///
    /// bincode writes no names and no types, so it cannot read back what asks for them while
    /// reading: `serde_json::Value`, `untagged` and `tag` enums, `flatten`, `skip_serializing_if`.
    /// Take [`State::json`] for those. A debug build decodes what it encoded and refuses such a type.
    ///
    /// # Errors
    /// When the value cannot be encoded, is too large, or (in a debug build) cannot be read back.
    pub fn bincode<T: Serialize + DeserializeOwned>(version: u32, value: &T) -> Result<Self> {
        let encode = |value: &T| {
            encode_to_vec(value, config::standard())
                .map_err(|error| Error::internal(format!("state cannot be encoded: {error}")))
        };
        Self::new(version, Codec::Bincode, encode(value)?)?.read_back(encode)
    }

    /// Encodes a value as JSON.
    ///
    /// # Errors
    /// When the value cannot be encoded, is too large, or (in a debug build) cannot be read back,
    /// as a number that is not finite.
    pub fn json<T: Serialize + DeserializeOwned>(version: u32, value: &T) -> Result<Self> {
        let encode = |value: &T| {
            serde_json::to_vec(value)
                .map_err(|error| Error::internal(format!("state cannot be encoded: {error}")))
        };
        Self::new(version, Codec::Json, encode(value)?)?.read_back(encode)
    }

    /// A state from its parts, as a store reads them.
    ///
    /// # Errors
    /// When there are more than [`State::MAX_BYTES`].
    pub fn new(version: u32, codec: Codec, bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() > Self::MAX_BYTES {
            let (length, most) = (bytes.len(), Self::MAX_BYTES);
            return Err(Error::internal(format!(
                "state has {length} bytes; at most {most} are kept"
            )));
        }
        Ok(Self { version, codec, bytes })
    }

    /// The plugin's version of what the bytes mean.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The encoding of the bytes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The encoded value.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decodes the value. Look at [`State::version`] first if the struct ever changed.
    ///
    /// # Errors
    /// When the bytes are not exactly one `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        let bytes = self.bytes.as_slice();
        let decoded = match self.codec {
            Codec::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            // The limit counts decoded sizes, at most 16 for a byte (a small `u128`): it must take
            // what we encoded, and stop a length that lies before memory is set aside for it.
            Codec::Bincode if bytes.len() <= 64 * KIB => decode_limited::<T, MIB>(bytes),
            Codec::Bincode if bytes.len() <= 4 * MIB => decode_limited::<T, { 64 * MIB }>(bytes),
            Codec::Bincode => decode_limited::<T, { 16 * Self::MAX_BYTES }>(bytes),
        };
        decoded.map_err(|problem| {
            let (codec, version) = (self.codec.as_str(), self.version);
            let wanted = std::any::type_name::<T>();
            Error::internal(format!(
                "state of version {version} cannot be read from {codec} as {wanted}: {problem}"
            ))
        })
    }

    /// In a debug build, makes sure that the bytes can be read again, and give the same bytes' count:
    /// a map may come back in another order, but a field that was left out changes the length.
    fn read_back<T: Serialize + DeserializeOwned>(
        self,
        encode: impl Fn(&T) -> Result<Vec<u8>>,
    ) -> Result<Self> {
        if cfg!(debug_assertions) {
            let again = self.decode::<T>().and_then(|value| encode(&value)).map_err(|error| {
                Error::internal(format!(
                    "state could be saved but not restored: {}",
                    error.message()
                ))
            })?;
            if again.len() != self.bytes.len() {
                return Err(Error::internal("state would be restored as another value"));
            }
        }
        Ok(self)
    }
}

impl Codec {
    /// The codec in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bincode => "bincode",
            Self::Json => "json",
        }
    }

    /// Reads [`Codec::as_str`] back.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Bincode, Self::Json].into_iter().find(|codec| codec.as_str() == name)
    }

    pub(super) fn id(self) -> u8 {
        match self {
            Self::Bincode => 1,
            Self::Json => 2,
        }
    }

    pub(super) fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Bincode),
            2 => Some(Self::Json),
            _ => None,
        }
    }
}

// The size only: a state may hold secrets.
show!(State, version: |it| it.version, codec: |it| it.codec, len: |it| it.bytes.len());

fn decode_limited<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, String> {
    let config = config::standard().with_limit::<LIMIT>();
    match decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(format!("{} bytes are left over", bytes.len() - used)),
        Err(error) => Err(error.to_string()),
    }
}
