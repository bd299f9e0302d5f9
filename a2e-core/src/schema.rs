//! JSON Schema of message types and plugin settings, for people and for generators of clients.
//!
//! [`message!`](crate::message) and [`register_plugin!`](crate::register_plugin) register their types
//! at link time. A type that derives `schemars::JsonSchema` is described; one that does not is listed
//! by its name alone. Without the feature `schema` nothing is described.

use std::marker::PhantomData;

use serde_json::Value;

use crate::protocol::Role;

/// A message type as it is linked into the program. Made by [`message!`](crate::message).
#[derive(Debug)]
pub struct MessageClass {
    /// The text of `type`; `*` stands for the namespace of a message that each has.
    pub wire_type: &'static str,
    /// For a request the type of its reply, empty when it is never answered; `None` for other messages.
    pub reply_type: Option<&'static str>,
    /// The schema of the fields beyond the envelope.
    schema: fn(Side) -> Option<Value>,
}

/// Whose side of a type is described: a reader may do with fewer fields than a writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What the host reads: a field with a default may be left out.
    Read,
    /// What the host writes: a field that is always written is required.
    Written,
}

inventory::collect!(MessageClass);

impl MessageClass {
    #[doc(hidden)]
    pub const fn new(
        wire_type: &'static str,
        reply_type: Option<&'static str>,
        schema: fn(Side) -> Option<Value>,
    ) -> Self {
        Self { wire_type, reply_type, schema }
    }

    /// Every linked message type, sorted; of two with one name the described one.
    pub fn linked() -> Vec<&'static Self> {
        let mut classes: Vec<&Self> = inventory::iter::<Self>.into_iter().collect();
        classes.sort_by_cached_key(|it| (it.wire_type, (it.schema)(Side::Read).is_none()));
        classes.dedup_by_key(|it| it.wire_type);
        classes
    }

    /// The schema of the whole message, envelope included (draft 2020-12); `None` when its type does
    /// not describe itself. What hosts write has the fields as required that they always write.
    pub fn schema(&self) -> Option<Value> {
        let is_written = self.reply_type.is_none();
        let mut schema = (self.schema)(if is_written { Side::Written } else { Side::Read })?;
        let object = schema.as_object_mut()?;
        object.insert("title".into(), self.wire_type.into());
        let properties = object.entry("properties").or_insert_with(|| serde_json::json!({}));
        let properties = properties.as_object_mut()?;
        let kind = match self.wire_type.strip_prefix('*') {
            Some(end) => {
                serde_json::json!({ "type": "string", "pattern": format!("^[^/]+{end}$") })
            }
            None => serde_json::json!({ "const": self.wire_type }),
        };
        properties.insert("type".into(), kind);
        properties.insert("id".into(), serde_json::json!({ "type": "string" }));
        properties.insert("version".into(), serde_json::json!({ "type": "string" }));
        properties.insert("ts".into(), serde_json::json!({ "type": "number" }));
        let mut envelope = vec!["type"];
        if is_written {
            envelope.extend(["id", "version", "ts"]);
            if Role::of(self.wire_type) != Role::Push {
                // Empty where an error answers a line that named no id.
                properties.insert("req_id".into(), serde_json::json!({ "type": "string" }));
                envelope.push("req_id");
            }
        }
        let required = object.entry("required").or_insert_with(|| serde_json::json!([]));
        let required = required.as_array_mut()?;
        required.retain(|key| key.as_str().is_some_and(|key| !envelope.contains(&key)));
        required.splice(0..0, envelope.into_iter().map(Value::from));
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
    fn json_schema(&self, side: Side) -> Option<Value>;
}

/// Any type. Where both apply, the method of [`Described`] wins: it takes one reference less.
#[doc(hidden)]
pub trait Undescribed {
    fn json_schema(&self, side: Side) -> Option<Value>;
}

impl<T> Undescribed for &Probe<T> {
    fn json_schema(&self, _: Side) -> Option<Value> {
        None
    }
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> Described for Probe<T> {
    fn json_schema(&self, side: Side) -> Option<Value> {
        Some(schema_at::<T>(side))
    }
}

/// The schema of a type (draft 2020-12). A choice between texts is an `enum`, and says in its description what
/// each means.
#[cfg(feature = "schema")]
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    schema_at::<T>(Side::Read)
}

#[cfg(feature = "schema")]
fn schema_at<T: schemars::JsonSchema>(side: Side) -> Value {
    use schemars::transform::{RecursiveTransform, Transform};

    let settings = schemars::generate::SchemaSettings::draft2020_12();
    let settings = match side {
        Side::Read => settings.for_deserialize(),
        Side::Written => settings.for_serialize(),
    };
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    RecursiveTransform(plain_choice).transform(&mut schema);
    schema.to_value()
}

/// Makes an `enum` of alternatives that are texts each.
#[cfg(feature = "schema")]
fn plain_choice(schema: &mut schemars::Schema) {
    let Some(forms) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let mut told: Vec<String> =
        schema.get("description").and_then(Value::as_str).map(str::to_owned).into_iter().collect();
    let mut values: Vec<Value> = Vec::new();
    for form in forms {
        let texts = match (form.get("const"), form.get("enum").and_then(Value::as_array)) {
            (Some(text), _) => std::slice::from_ref(text),
            (None, Some(texts)) => texts,
            (None, None) => return,
        };
        if !texts.iter().all(Value::is_string) {
            return;
        }
        values.extend_from_slice(texts);
        if let (Some(about), [Value::String(text)]) =
            (form.get("description").and_then(Value::as_str), texts)
        {
            told.push(format!("`{text}`: {about}"));
        }
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), values.into());
    if !told.is_empty() {
        schema.insert("description".to_owned(), told.join("\n").into());
    }
}

#[cfg(feature = "schema")]
mod foreign {
    //! Wire types whose schema is written by hand.

    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use serde_json::json;

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
        ($($type:ty: $name:literal, $known:expr;)*) => {$(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    $name.into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let known: Vec<(&str, String)> = $known;
                    if known.is_empty() {
                        return json_schema!({ "type": "string" });
                    }
                    let mut any: Vec<_> = known
                        .iter()
                        .map(|(text, about)| json!({ "const": text, "description": about }))
                        .collect();
                    any.push(json!({ "type": "string", "description": "One of a plugin's own." }));
                    json_schema!({ "type": "string", "anyOf": any })
                }
            }
        )*};
    }
    texts!(
        ErrorCode: "ErrorCode", Vec::new();
        // Listed once, in `error`.
        crate::protocol::error::Codes: "ErrorCodes", ErrorCode::ALL.iter().map(|code| {
            let again = if code.is_retryable() { " Worth another try." } else { "" };
            (code.as_str(), format!("{}{again}", code.about()))
        }).collect();
        EventKind: "EventKind", [
            ("progress", "How far the work is: `pct`, `message`."),
            ("artifact", "A part of the result: `name`, `mime`, `chunk` (base64), `final`."),
            ("log", "A line for the agent's log: `level`, `message`."),
            ("status", "The present step: `message`."),
        ].map(|(kind, about)| (kind, about.to_owned())).into();
    );
}

/// The JSON Schema of a type as `Option<serde_json::Value>`; `None` for one that does not derive
/// `schemars::JsonSchema`.
#[doc(hidden)]
#[macro_export]
macro_rules! json_schema {
    ($type:ty) => {
        $crate::json_schema!($type, $crate::schema::Side::Read)
    };
    ($type:ty, $side:expr) => {{
        #[allow(unused_imports)]
        use $crate::schema::{Described as _, Undescribed as _};
        (&$crate::schema::Probe::<$type>(::std::marker::PhantomData)).json_schema($side)
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
        choice: Option<Choice>,
    }

    /// Where.
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Choice {
        /// At the left side.
        Left,
        Right,
        Middle,
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
        let choice = &schema["$defs"]["Choice"];
        let mut values = choice["enum"].as_array().unwrap().clone();
        values.sort_by_key(ToString::to_string);
        assert_eq!(values, ["left", "middle", "right"]);
        assert_eq!(choice["description"], "Where.\n`left`: At the left side.");
    }
}
