//! JSON that is carried as it is, and fields that are read more strictly than serde does by itself.

use std::fmt;
use std::marker::PhantomData;

use a2e_core::codec::RawJson;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

/// Most items in a list of a request: entries, keys, tags. A short line can hold millions of `{}`.
const MAX_ITEMS: usize = 1000;

/// A JSON object that is carried without being decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct JsonObject(RawJson);

impl JsonObject {
    /// The object that a struct or map makes.
    ///
    /// # Errors
    /// When the value makes no JSON or something else than an object.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        RawJson::of(value).and_then(Self::checked)
    }

    /// The object as JSON.
    pub fn raw(&self) -> &RawJson {
        &self.0
    }

    /// The object as a struct or map.
    ///
    /// # Errors
    /// `schema_violation` with `loc`, the object's place in its message, and the field.
    pub fn decode<T: de::DeserializeOwned>(&self, loc: &str) -> a2e_core::Result<T> {
        a2e_core::codec::decode_field(&self.0, loc)
    }

    fn checked<E: de::Error>(raw: RawJson) -> Result<Self, E> {
        let kind = match raw.get().bytes().next() {
            Some(b'{') => return Ok(Self(raw)),
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            _ => "a number",
        };
        Err(E::invalid_type(Unexpected::Other(kind), &"an object"))
    }
}

/// An object without members.
impl Default for JsonObject {
    fn default() -> Self {
        // An empty map always has a JSON form.
        Self(RawJson::of(&serde_json::Map::new()).unwrap_or_else(|_| unreachable!("`{{}}`")))
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawJson::deserialize(deserializer).and_then(Self::checked)
    }
}

impl schemars::JsonSchema for JsonObject {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyObject".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object" })
    }
}

/// Bytes that are left, counted as the encoder writes them: a character beyond ASCII is an escape of six, or two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room(pub(crate) usize);

impl Room {
    /// Takes the bytes of a value; false where they are more than are left, which is found no later than that.
    pub(crate) fn take<T: Serialize + ?Sized>(&mut self, value: &T) -> bool {
        serde_json::to_writer(self, value).is_ok()
    }
}

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = bytes.iter().map(|byte| match byte {
            0..0x80 => 1,
            // Behind the first byte of a character.
            0x80..0xc0 => 0,
            0xc0..0xf0 => 6,
            _ => 12,
        });
        let left = self.0.checked_sub(written.sum());
        self.0 = left.unwrap_or_default();
        left.map(|_| bytes.len()).ok_or_else(|| std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A list of at most [`MAX_ITEMS`], which stops reading at the next one.
pub(crate) fn limited_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Limited<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Limited<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX_ITEMS {
                    return Err(de::Error::custom(format_args!("more than {MAX_ITEMS} items")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(Limited(PhantomData))
}

/// A number where there is one; null is refused.
pub(crate) fn number_or_absent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use a2e_core::codec::encode_value;
    use serde_json::json;

    use super::*;

    #[test]
    fn room_is_counted_as_the_encoder_writes() {
        for value in [
            json!(null),
            json!(""),
            json!("plain \"\\ \n\r\t\u{1} \u{7f} /"),
            json!("é \u{fff} \u{ffff} 日本 😀"),
            json!({ "é": [1, -2.5, true, { "x": "😀" }], "b": {} }),
        ] {
            let bytes = encode_value(&value).unwrap().len();
            for (room, fits) in [(bytes, true), (bytes + 7, true), (bytes - 1, false), (0, false)] {
                let mut left = Room(room);
                assert_eq!(left.take(&value), fits, "{value} in {room}");
                assert!(!fits || left.0 == room - bytes, "{value}: {left:?}");
            }
        }
    }
}
