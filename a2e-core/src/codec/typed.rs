//! serde's side of the typed decode: a checked line whose members are known is not read again.
//!
//! Keys and plain strings are passed as they are, unknown fields cost nothing, and raw fields are cut out.
//! The other values go to `serde_json` one by one. On any error the whole line goes to `serde_json` once
//! more, so that `serde_json` alone decides which lines are accepted and how errors read.

use std::borrow::Cow;
use std::cell::Cell;
use std::iter::once;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::raw::RAW_TOKEN;
use super::scan::member::{Member, Shape, unescaped, within_quotes};

type Json<'de> = serde_json::Deserializer<serde_json::de::StrRead<'de>>;
type Error = serde_json::Error;

/// The outermost object of a line.
pub(super) struct LineDeserializer<'de, 'm> {
    pub(super) text: &'de str,
    pub(super) members: &'m [Member],
    /// Gets a bit for each member that the type does not know, by its place.
    pub(super) unknown: &'m Cell<u64>,
}

impl<'de> Deserializer<'de> for LineDeserializer<'de, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { text, members, unknown } = self;
        let mut next_bit = 1;
        let members = members.iter().map(move |member| {
            let key = match member.key(text) {
                key if member.has_escaped_key => Cow::Owned(unescaped(key)),
                key => Cow::Borrowed(within_quotes(key)),
            };
            let bit = if member.is_common || key == "ts" { 0 } else { next_bit };
            // There are no more members than bits.
            next_bit <<= 1;
            let (json, shape) = (member.value(text), member.shape);
            (key, MemberDeserializer { json, shape, bit, unknown })
        });
        visitor.visit_map(MapDeserializer::new(members))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

struct MemberDeserializer<'de, 'm> {
    json: &'de str,
    shape: Shape,
    /// Its bit in `unknown`; 0 for what a message of any type may have.
    bit: u64,
    unknown: &'m Cell<u64>,
}

impl<'de> IntoDeserializer<'de, Error> for MemberDeserializer<'de, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
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

impl<'de> Deserializer<'de> for MemberDeserializer<'de, '_> {
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
            // As `serde_json` gives raw JSON to its own types: a map of one token to the text.
            return visitor.visit_map(MapDeserializer::new(once((RAW_TOKEN, self.json))));
        }
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.unknown.set(self.unknown.get() | self.bit);
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
