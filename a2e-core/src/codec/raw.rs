//! JSON that is carried without being decoded into values.

use std::fmt;

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::decode::{from_checked, line_depth};
use super::scan::depth_of;

/// The struct name under which `serde_json` passes raw JSON to serializers that know it.
pub(super) const RAW_TOKEN: &str = "$serde_json::private::RawValue";

/// A field of any JSON type, kept as text: checked once with its line, passed on without decoding.
///
/// ```
/// use a2e_core::codec::{RawJson, encode_value};
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct Envelope { data: RawJson }
/// let it: Envelope = serde_json::from_str(r#"{"data":{"é":[1,2]}}"#).unwrap();
/// assert_eq!(encode_value(&it).unwrap(), br#"{"data":{"\u00e9":[1,2]}}"#);
/// ```
#[derive(Clone)]
pub struct RawJson {
    text: Box<str>,
    /// An upper bound of its nesting, so that the encoder need not look.
    depth: u8,
}

impl RawJson {
    /// Takes a JSON text.
    ///
    /// # Errors
    /// When it is not JSON, or nested deeper than a message may be.
    pub fn parse(json: String) -> Result<Self, serde_json::Error> {
        let raw = RawValue::from_string(json)?;
        Self::checked(raw)
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// When the value has no JSON form.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Self::checked(serde_json::value::to_raw_value(value)?)
    }

    fn checked(raw: Box<RawValue>) -> Result<Self, serde_json::Error> {
        let depth = depth_of(raw.get());
        if depth > super::MAX_DEPTH {
            return Err(serde_json::Error::custom("nested too deep"));
        }
        Ok(Self { text: raw.into(), depth })
    }

    /// The text, as it was written.
    pub fn get(&self) -> &str {
        &self.text
    }

    /// An upper bound of its nesting.
    pub(super) fn depth(&self) -> u8 {
        self.depth
    }

    /// Decodes it.
    ///
    /// # Errors
    /// When it does not have the shape of `T`.
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        from_checked(&self.text, self.depth)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let depth = line_depth().unwrap_or_else(|| depth_of(text.get()));
        Ok(Self { text: text.into(), depth })
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The length hint carries the depth bound to our encoder; serde_json ignores it here.
        let mut state = serializer.serialize_struct(RAW_TOKEN, 2 + usize::from(self.depth))?;
        state.serialize_field(RAW_TOKEN, &*self.text)?;
        state.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_is_read_from_text_streams_and_values() {
        let (text, plain) = (r#"{"a":[1.50,"\u00e9"]}"#, r#"{"a":[1.5,"é"]}"#);
        let read = |it: Result<RawJson, serde_json::Error>| it.unwrap().get().to_owned();
        assert_eq!(read(serde_json::from_str(text)), text);
        assert_eq!(read(serde_json::from_reader(text.as_bytes())), text);
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(read(serde_json::from_value(value.clone())), plain);
        assert_eq!(read(RawJson::parse(text.to_owned())), text);
        assert_eq!(read(RawJson::of(&value)), plain);
        assert!(RawJson::parse("[".repeat(128) + &"]".repeat(128)).is_err());
    }
}
