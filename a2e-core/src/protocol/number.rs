//! Numbers as agents write them: an integer field also takes a float without a fraction (`5.0`),
//! never a numeric text.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Page {
//!     #[serde(deserialize_with = "a2e_core::protocol::number::integer")]
//!     limit: u32,
//! }
//! assert_eq!(serde_json::from_str::<Page>(r#"{"limit":5.0}"#).unwrap().limit, 5);
//! assert!(serde_json::from_str::<Page>(r#"{"limit":"5"}"#).is_err());
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads an integer that may be written as a float without a fraction.
///
/// # Errors
/// When the value is not a number, has a fraction, or does not fit `T`.
pub fn integer<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    deserializer.deserialize_any(Integer(PhantomData))
}

/// Reads an integer or null; for `Option` fields together with `#[serde(default)]`.
///
/// # Errors
/// When the value is neither null nor an integer that fits `T`.
pub fn optional_integer<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128>,
{
    struct Whole<T>(T);

    impl<'de, T: TryFrom<i128>> Deserialize<'de> for Whole<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            integer(deserializer).map(Self)
        }
    }

    Ok(Option::<Whole<T>>::deserialize(deserializer)?.map(|it| it.0))
}

struct Integer<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Integer<T> {
    fn fit<E: Error>(self, wide: i128, shown: Unexpected<'_>) -> Result<T, E> {
        T::try_from(wide).map_err(|_| E::invalid_value(shown, &self))
    }
}

impl<T: TryFrom<i128>> Visitor<'_> for Integer<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer that fits {}", std::any::type_name::<T>())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        self.fit(i128::from(value), Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        self.fit(i128::from(value), Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        // 2^63 bounds every integer type that the protocol uses; a float beyond it is not exact.
        if value.fract() != 0.0 || value.abs() >= 9_223_372_036_854_775_808.0 {
            return Err(E::invalid_value(Unexpected::Float(value), &self));
        }
        #[allow(clippy::cast_possible_truncation, reason = "whole and within i64, checked above")]
        let wide = i128::from(value as i64);
        self.fit(wide, Unexpected::Float(value))
    }
}
