//! serde's side of the typed decode: a checked line whose members are known is not read again.
//!
//! Keys and plain strings are passed as they are, unknown fields cost nothing, and raw fields are cut out.
//! The other values go to `serde_json` one by one. On any error the whole line goes to `serde_json` once
//! more, so that `serde_json` alone decides which lines are accepted and how errors read.

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::raw::RAW_TOKEN;
use super::scan::member::{Member, Shape, unescaped, within_quotes};

type Json<'de> = serde_json::Deserializer<serde_json::de::StrRead<'de>>;
type Error = serde_json::Error;

/// The outermost object of a line.
pub(super) struct LineDeserializer<'de, 'm> {
    pub(super) text: &'de str,
    pub(super) members: &'m [Member],
}

impl<'de, 'm> LineDeserializer<'de, 'm> {
    fn access(self) -> LineAccess<'de, 'm> {
        LineAccess { text: self.text, rest: self.members.iter(), value: None }
    }
}

impl<'de> Deserializer<'de> for LineDeserializer<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.access())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_TOKEN {
            return visitor.visit_map(RawAccess { json: Some(self.text), is_key: true });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Json::from_str(self.text).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct LineAccess<'de, 'm> {
    text: &'de str,
    rest: std::slice::Iter<'m, Member>,
    value: Option<MemberDeserializer<'de>>,
}

impl<'de> MapAccess<'de> for LineAccess<'de, '_> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(member) = self.rest.next() else { return Ok(None) };
        self.value =
            Some(MemberDeserializer { json: member.value(self.text), shape: member.shape });
        let key = member.key(self.text);
        if member.has_escaped_key {
            return seed.deserialize(unescaped(key).into_deserializer()).map(Some);
        }
        seed.deserialize(BorrowedStrDeserializer::new(within_quotes(key))).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(Error::custom("a value without its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The value of one member.
struct MemberDeserializer<'de> {
    json: &'de str,
    shape: Shape,
}

macro_rules! left_to_serde_json {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            fn $method<V: Visitor<'de>>(
                self,
                $($argument: $type,)*
                visitor: V,
            ) -> Result<V::Value, Error> {
                Json::from_str(self.json).$method($($argument,)* visitor)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for MemberDeserializer<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.shape == Shape::Plain {
            return visitor.visit_borrowed_str(within_quotes(self.json));
        }
        Json::from_str(self.json).deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.shape == Shape::Plain {
            return visitor.visit_borrowed_str(within_quotes(self.json));
        }
        Json::from_str(self.json).deserialize_any(visitor)
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.json {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Json::from_str(self.json).deserialize_bool(visitor),
        }
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.json == "null" { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_TOKEN {
            return visitor.visit_map(RawAccess { json: Some(self.json), is_key: true });
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    left_to_serde_json! {
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
    }
}

/// Raw JSON the way `serde_json` gives it to its own types: a map of one token to the text.
struct RawAccess<'de> {
    json: Option<&'de str>,
    is_key: bool,
}

impl<'de> MapAccess<'de> for RawAccess<'de> {
    type Error = Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !std::mem::take(&mut self.is_key) {
            return Ok(None);
        }
        seed.deserialize(BorrowedStrDeserializer::new(RAW_TOKEN)).map(Some)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.json.take() {
            Some(json) => seed.deserialize(BorrowedStrDeserializer::new(json)),
            None => Err(Error::custom("raw JSON is read once")),
        }
    }
}
