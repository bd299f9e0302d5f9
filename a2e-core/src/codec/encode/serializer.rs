//! serde's side of the encoder: the output of each call of a `Serialize` type.

use serde::ser::{self, Serialize};

use super::text_only::TextOnly;
use super::{Compound, EncodeError, Encoder, Kind, RAW_TOKEN, encode_f64, encode_str};

type Written = Result<(), EncodeError>;

macro_rules! ints {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Written {
            self.int(value)
        })*
    };
}

impl<'e, 'o> ser::Serializer for &'e mut Encoder<'o> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'e, 'o>;
    type SerializeTuple = Compound<'e, 'o>;
    type SerializeTupleStruct = Compound<'e, 'o>;
    type SerializeTupleVariant = Compound<'e, 'o>;
    type SerializeMap = Compound<'e, 'o>;
    type SerializeStruct = Compound<'e, 'o>;
    type SerializeStructVariant = Compound<'e, 'o>;

    fn serialize_bool(self, value: bool) -> Written {
        self.scalar()?.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    ints!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_u128: u128);

    fn serialize_f32(self, value: f32) -> Written {
        if !value.is_finite() {
            return Err(EncodeError::NonFinite);
        }
        self.scalar()?.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Written {
        encode_f64(value, self.scalar()?)
    }

    fn serialize_char(self, value: char) -> Written {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Written {
        encode_str(value, self.scalar()?);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Written {
        let mut array = Compound::open(self, Kind::Array)?;
        value.iter().try_for_each(|byte| array.element(byte))?;
        array.close();
        Ok(())
    }

    fn serialize_none(self) -> Written {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        self.scalar()?.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Written {
        // As a body, a message without fields.
        if self.is_body { Ok(()) } else { self.serialize_unit() }
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Written {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Written {
        let mut object = Compound::open(self, Kind::Object)?;
        object.field(variant, value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::open(self, Kind::Array)
    }

    fn serialize_tuple(self, _: usize) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::open(self, Kind::Array)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::open(self, Kind::Array)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::variant(self, variant, Kind::VariantArray)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::open(self, Kind::Object)
    }

    fn serialize_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        if name == RAW_TOKEN {
            // 1 is serde_json's own raw value; ours adds 1 and the depth bound, see `RawJson`.
            let bound = length.checked_sub(2).map(|bound| u8::try_from(bound).unwrap_or(u8::MAX));
            return Ok(Compound { encoder: self, is_first: true, kind: Kind::Raw(bound) });
        }
        Compound::open(self, Kind::Object)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Compound<'e, 'o>, EncodeError> {
        Compound::variant(self, variant, Kind::VariantObject)
    }
}

macro_rules! elements {
    ($trait:ident, $method:ident) => {
        impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
                self.element(value)
            }

            fn end(self) -> Written {
                self.close();
                Ok(())
            }
        }
    };
}

elements!(SerializeSeq, serialize_element);
elements!(SerializeTuple, serialize_element);
elements!(SerializeTupleStruct, serialize_field);
elements!(SerializeTupleVariant, serialize_field);

macro_rules! fields {
    ($trait:ident) => {
        impl ser::$trait for Compound<'_, '_> {
            type Ok = ();
            type Error = EncodeError;

            #[allow(clippy::inline_always, reason = "see `Compound::key`")]
            #[inline(always)]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Written {
                self.field(key, value)
            }

            fn end(self) -> Written {
                self.close();
                Ok(())
            }
        }
    };
}

fields!(SerializeStruct);
fields!(SerializeStructVariant);

impl ser::SerializeMap for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Written {
        key.serialize(TextOnly { take: |key: &str| self.key(key) })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Written {
        self.close();
        Ok(())
    }
}
