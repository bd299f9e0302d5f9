//! A JSON value as a serde source that knows its path in errors and notices keys that are not read.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// A key that the struct at its place does not have.
#[derive(Debug)]
pub(in crate::config) struct Unknown {
    pub(in crate::config) path: String,
    pub(in crate::config) fields: &'static [&'static str],
}

/// Why a value does not fit, and where.
#[derive(Debug)]
pub(in crate::config) struct WalkError {
    pub(in crate::config) path: String,
    pub(in crate::config) message: String,
}

impl WalkError {
    /// The innermost place counts.
    fn at(mut self, path: &str) -> Self {
        if self.path.is_empty() {
            path.clone_into(&mut self.path);
        }
        self
    }
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for WalkError {}

impl de::Error for WalkError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: String::new(), message: message.to_string() }
    }
}

/// One value on the way through the tree.
#[derive(Clone)]
pub(in crate::config) struct Walk<'a> {
    value: &'a Value,
    path: String,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl<'a> Walk<'a> {
    /// The settings as a whole.
    pub(in crate::config) fn top(value: &'a Value, unknown: &'a RefCell<Vec<Unknown>>) -> Self {
        Self { value, path: String::new(), unknown }
    }

    fn map(
        &self,
        map: &'a Map<String, Value>,
        fields: Option<&'static [&'static str]>,
    ) -> Keys<'a> {
        Keys {
            pairs: map.iter(),
            fields,
            value: None,
            path: self.path.clone(),
            unknown: self.unknown,
        }
    }
}

impl<'de> Deserializer<'de> for Walk<'_> {
    type Error = WalkError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::Array(list) => visitor.visit_seq(Items {
                list: list.iter().enumerate(),
                path: self.path,
                unknown: self.unknown,
            }),
            Value::Object(map) => visitor.visit_map(self.map(map, None)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        match self.value {
            Value::Object(map) => visitor.visit_map(self.map(map, Some(fields))),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        visitor.visit_newtype_struct(self)
    }

    /// A plugin without settings has a unit as its config type.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        if self.path.is_empty() { visitor.visit_unit() } else { self.deserialize_any(visitor) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WalkError> {
        match self.value {
            Value::String(text) => {
                visitor.visit_enum(<&str as IntoDeserializer<WalkError>>::into_deserializer(text))
            }
            Value::Object(map) => {
                visitor.visit_enum(MapAccessDeserializer::new(self.map(map, None)))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WalkError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        seq tuple tuple_struct map identifier
    }
}

/// The items of a list.
struct Items<'a> {
    list: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
    path: String,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = WalkError;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, WalkError> {
        let Some((place, value)) = self.list.next() else { return Ok(None) };
        let path = format!("{}[{place}]", self.path);
        let walk = Walk { value, path: path.clone(), unknown: self.unknown };
        seed.deserialize(walk).map(Some).map_err(|error| error.at(&path))
    }
}

/// The pairs of a map; with `fields`, those that are not among them are noted and left out.
struct Keys<'a> {
    pairs: serde_json::map::Iter<'a>,
    fields: Option<&'static [&'static str]>,
    /// The value that is next, with its path.
    value: Option<(String, &'a Value)>,
    path: String,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl<'de> de::MapAccess<'de> for Keys<'_> {
    type Error = WalkError;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, WalkError> {
        for (key, value) in self.pairs.by_ref() {
            let path = match self.path.as_str() {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&key.as_str())) {
                self.unknown.borrow_mut().push(Unknown { path, fields });
                continue;
            }
            // As in the host's own keys, null counts as absent: "roots:" leaves the default.
            if self.fields.is_some() && value.is_null() {
                continue;
            }
            let source: StrDeserializer<'_, WalkError> = key.as_str().into_deserializer();
            let key = seed.deserialize(source).map_err(|error| error.at(&path))?;
            self.value = Some((path, value));
            return Ok(Some(key));
        }
        Ok(None)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, WalkError> {
        let Some((path, value)) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let walk = Walk { value, path: path.clone(), unknown: self.unknown };
        seed.deserialize(walk).map_err(|error| error.at(&path))
    }
}
