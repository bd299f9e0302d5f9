//! Serializers that take texts and refuse the rest: raw JSON, and the keys of maps.

use serde::ser::{self, Impossible, Serialize};

use super::{EncodeError, Encoder, encode_int};

macro_rules! refuse {
    ($error:expr; $($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, _: $type) -> Result<Self::Ok, EncodeError> { Err($error) })*
    };
}

macro_rules! refuse_compounds {
    ($error:expr) => {
        type SerializeSeq = Impossible<Self::Ok, EncodeError>;
        type SerializeTuple = Impossible<Self::Ok, EncodeError>;
        type SerializeTupleStruct = Impossible<Self::Ok, EncodeError>;
        type SerializeTupleVariant = Impossible<Self::Ok, EncodeError>;
        type SerializeMap = Impossible<Self::Ok, EncodeError>;
        type SerializeStruct = Impossible<Self::Ok, EncodeError>;
        type SerializeStructVariant = Impossible<Self::Ok, EncodeError>;

        fn serialize_none(self) -> Result<Self::Ok, EncodeError> {
            Err($error)
        }
        fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Self::Ok, EncodeError> {
            Err($error)
        }
        fn serialize_unit(self) -> Result<Self::Ok, EncodeError> {
            Err($error)
        }
        fn serialize_unit_struct(self, _: &'static str) -> Result<Self::Ok, EncodeError> {
            Err($error)
        }
        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<Self::Ok, EncodeError> {
            Err($error)
        }
        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, EncodeError> {
            Err($error)
        }
        fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, EncodeError> {
            Err($error)
        }
        fn serialize_tuple_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleStruct, EncodeError> {
            Err($error)
        }
        fn serialize_tuple_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, EncodeError> {
            Err($error)
        }
        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, EncodeError> {
            Err($error)
        }
        fn serialize_struct(
            self,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStruct, EncodeError> {
            Err($error)
        }
        fn serialize_struct_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, EncodeError> {
            Err($error)
        }
    };
}

/// Takes the text of a raw JSON value.
pub(super) struct RawText<'e, 'o> {
    pub(super) encoder: &'e mut Encoder<'o>,
    pub(super) bound: Option<u8>,
}

const NOT_RAW: EncodeError = EncodeError::Key;

impl ser::Serializer for RawText<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_str(self, json: &str) -> Result<(), EncodeError> {
        self.encoder.raw(json, self.bound)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), EncodeError> {
        Err(NOT_RAW)
    }

    refuse!(NOT_RAW; serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char,
        serialize_bytes: &[u8]);
    refuse_compounds!(NOT_RAW);
}

/// Turns a map key into text, as `serde_json` does: text, characters, integers, booleans, unit variants.
pub(super) struct KeyText;

macro_rules! integer_keys {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, value: $type) -> Result<String, EncodeError> {
            let mut text = Vec::with_capacity(20);
            encode_int(value, &mut text);
            Ok(String::from_utf8(text).unwrap_or_default())
        })*
    };
}

impl ser::Serializer for KeyText {
    type Ok = String;
    type Error = EncodeError;

    fn serialize_str(self, text: &str) -> Result<String, EncodeError> {
        Ok(text.to_owned())
    }

    fn serialize_bool(self, value: bool) -> Result<String, EncodeError> {
        Ok(value.to_string())
    }

    fn serialize_char(self, value: char) -> Result<String, EncodeError> {
        Ok(value.to_string())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<String, EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<String, EncodeError> {
        Ok(variant.to_owned())
    }

    integer_keys!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    refuse!(EncodeError::Key; serialize_f32: f32, serialize_f64: f64, serialize_bytes: &[u8]);
    refuse_compounds!(EncodeError::Key);
}
