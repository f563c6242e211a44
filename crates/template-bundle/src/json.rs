// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//! # JSON that everybody reads alike
//!
//! When a key stands twice in an object, some readers take the first and some the last: one of them would act on
//! something else than was looked at. So that is refused, as is what takes much more memory than its text.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, Result};
use crate::limits::{MAX_DEPTH, MAX_VALUES};

/// Parses a document.
pub fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    let wrong = |e: serde_json::Error| Error::damaged(format!("{what} is not what it should be: {e}"));
    let mut values = 0;
    let mut check = serde_json::Deserializer::from_slice(bytes);
    Value { values: &mut values, depth: 0 }.deserialize(&mut check).map_err(wrong)?;
    serde_json::from_slice(bytes).map_err(wrong)
}

/// Any value. Counts, and keeps nothing.
struct Value<'c> {
    values: &'c mut usize,
    depth: usize,
}

impl Value<'_> {
    fn inner(&mut self) -> Value<'_> {
        Value { values: self.values, depth: self.depth + 1 }
    }

    fn open<E: serde::de::Error>(&self) -> Result<(), E> {
        match self.depth < MAX_DEPTH {
            true => Ok(()),
            false => Err(E::custom(format!("its values are nested deeper than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.values += 1;
        if *self.values > MAX_VALUES {
            return Err(D::Error::custom(format!("it has more than {MAX_VALUES} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.open()?;
        while seq.next_element_seed(self.inner())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.open()?;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("duplicate key '{}'", key.escape_debug())));
            }
            keys.insert(key);
            map.next_value_seed(self.inner())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn any(text: &str) -> Result<serde_json::Value> {
        parse("it", text.as_bytes())
    }

    #[test]
    fn keys_stand_once_in_an_object() {
        assert!(any(r#"{"a":{"b":1},"c":{"b":1},"d":[{"b":null},{"b":-1.5}]}"#).is_ok());
        for twice in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"a":3}}]"#, r#"{"a":1,"\u0061":2}"#] {
            let error = any(twice).unwrap_err();
            assert!(error.kind == Kind::Damaged && error.message.contains("duplicate key 'a'"), "{error}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(any(&nested(MAX_DEPTH)).is_ok());
        for deep in [nested(MAX_DEPTH + 1), "[".repeat(1 << 20), r#"{"a":"#.repeat(1 << 20)] {
            assert!(any(&deep).unwrap_err().message.contains("nested"));
        }
        let long = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(any(&long(MAX_VALUES)).is_ok());
        assert!(any(&long(MAX_VALUES + 1)).unwrap_err().message.contains("values"));
    }
}
