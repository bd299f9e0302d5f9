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

/// A list of at most [`MAX_ITEMS`], which stops reading at the next one.
pub(super) fn limited_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
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
pub(super) fn number_or_absent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}
