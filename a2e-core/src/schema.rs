//! JSON Schema of message types and plugin settings, for people and for generators of clients.
//!
//! [`message!`](crate::message) and [`register_plugin!`](crate::register_plugin) register their types
//! at link time. A type that derives `schemars::JsonSchema` is described; one that does not is listed
//! by its name alone. Without the feature `schema` nothing is described.

use std::marker::PhantomData;

use serde_json::Value;

/// A message type as it is linked into the program. Made by [`message!`](crate::message).
#[derive(Debug)]
pub struct MessageClass {
    /// The text of `type`.
    pub wire_type: &'static str,
    /// For a request the type of its reply, empty when it is never answered; `None` for other messages.
    pub reply_type: Option<&'static str>,
    /// The schema of the fields beyond the envelope.
    schema: fn() -> Option<Value>,
}

inventory::collect!(MessageClass);

impl MessageClass {
    #[doc(hidden)]
    pub const fn new(
        wire_type: &'static str,
        reply_type: Option<&'static str>,
        schema: fn() -> Option<Value>,
    ) -> Self {
        Self { wire_type, reply_type, schema }
    }

    /// Every linked message type, sorted; of two with one name the described one.
    pub fn linked() -> Vec<&'static Self> {
        let mut classes: Vec<&Self> = inventory::iter::<Self>.into_iter().collect();
        classes.sort_by_cached_key(|it| (it.wire_type, (it.schema)().is_none()));
        classes.dedup_by_key(|it| it.wire_type);
        classes
    }

    /// The schema of the whole message, envelope included (draft 2020-12); `None` when its type does
    /// not describe itself.
    pub fn schema(&self) -> Option<Value> {
        let mut schema = (self.schema)()?;
        let object = schema.as_object_mut()?;
        object.insert("title".into(), self.wire_type.into());
        let properties = object.entry("properties").or_insert_with(|| serde_json::json!({}));
        let properties = properties.as_object_mut()?;
        properties.insert("type".into(), serde_json::json!({ "const": self.wire_type }));
        properties.insert("id".into(), serde_json::json!({ "type": "string" }));
        properties.insert("version".into(), serde_json::json!({ "type": "string" }));
        properties.insert("ts".into(), serde_json::json!({ "type": "number" }));
        if self.reply_type.is_none() {
            properties.entry("req_id").or_insert_with(|| serde_json::json!({ "type": "string" }));
        }
        let required = object.entry("required").or_insert_with(|| serde_json::json!([]));
        required.as_array_mut()?.insert(0, "type".into());
        Some(schema)
    }
}

/// Finds out at compile time whether a type describes itself; see [`json_schema!`](crate::json_schema).
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<T>(pub PhantomData<T>);

/// A type that describes itself.
#[doc(hidden)]
pub trait Described {
    fn json_schema(&self) -> Option<Value>;
}

/// Any type. Where both apply, the method of [`Described`] wins: it takes one reference less.
#[doc(hidden)]
pub trait Undescribed {
    fn json_schema(&self) -> Option<Value>;
}

impl<T> Undescribed for &Probe<T> {
    fn json_schema(&self) -> Option<Value> {
        None
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> Described for Probe<T> {
    fn json_schema(&self) -> Option<Value> {
        let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        Some(generator.into_root_schema_for::<T>().to_value())
    }
}

#[cfg(feature = "schema")]
mod foreign {
    //! Wire types whose schema is written by hand.

    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use crate::codec::RawJson;
    use crate::protocol::{ErrorCode, EventKind};

    impl JsonSchema for RawJson {
        fn schema_name() -> Cow<'static, str> {
            "AnyJson".into()
        }

        fn inline_schema() -> bool {
            true
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            true.into()
        }
    }

    macro_rules! texts {
        ($($type:ty: $name:literal),*) => {$(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string" })
                }
            }
        )*};
    }
    texts!(ErrorCode: "ErrorCode", EventKind: "EventKind");
}

/// The JSON Schema of a type as `Option<serde_json::Value>`; `None` for one that does not derive
/// `schemars::JsonSchema`.
#[doc(hidden)]
#[macro_export]
macro_rules! json_schema {
    ($type:ty) => {{
        #[allow(unused_imports)]
        use $crate::schema::{Described as _, Undescribed as _};
        (&$crate::schema::Probe::<$type>(::std::marker::PhantomData)).json_schema()
    }};
}

#[cfg(all(test, feature = "schema"))]
mod tests {
    use super::*;
    use crate::message;

    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Told {
        /// How loud.
        volume: u8,
    }

    #[derive(serde::Serialize)]
    struct Untold {}

    message!(Untold, "schema/untold");
    message!(Told, "schema/told" => Untold, First);

    #[test]
    fn a_type_is_described_if_it_describes_itself() {
        let class = |wire_type: &str| {
            let classes = MessageClass::linked();
            classes.into_iter().find(|it| it.wire_type == wire_type).unwrap()
        };
        assert_eq!(class("schema/untold").schema(), None);
        let told = class("schema/told");
        assert_eq!(told.reply_type, Some("schema/untold"));
        let schema = told.schema().unwrap();
        assert_eq!(schema["properties"]["type"]["const"], "schema/told");
        assert_eq!(schema["properties"]["volume"]["description"], "How loud.");
        assert_eq!(schema["required"], serde_json::json!(["type", "volume"]));
    }
}
