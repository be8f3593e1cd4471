//! Reading JSON strictly by its schemas, from which serde differs in two ways: it accepts an array
//! of fields for an object, and refuses `1.0` as a whole number.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// Whole numbers from here on are not exact as floating point.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value that is read strictly.
pub(crate) struct Strict(pub(crate) Value);

impl IntoDeserializer<'_, Error> for Strict {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Strict {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => {
                let mut values = SeqDeserializer::new(values.into_iter().map(Strict));
                let value = visitor.visit_seq(&mut values)?;
                values.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(key, value)| (key, Strict(value)));
                let mut fields = MapDeserializer::new(fields);
                let value = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(value)
            }
            Value::Number(number) => match number.as_f64() {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
                Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
                    visitor.visit_i64(float as i64)
                }
                _ => number.deserialize_any(visitor),
            },
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::model::{DiskPatch, DiskSettings, Limits};

    #[test]
    fn objects_are_no_arrays_and_whole_numbers_are_whole() {
        let limits = |value| Limits::deserialize(Strict(value));
        assert!(limits(json!({"write": [null, null]})).is_err());
        assert!(limits(json!([])).is_err());
        let read = limits(json!({"read": {"iops": 176.0}})).unwrap().read;
        assert_eq!(read.iops, Some(176));
        for wrong in [json!(1.5), json!(-1), json!(-1.0), json!(1e300), json!("1")] {
            assert!(limits(json!({"read": {"iops": wrong}})).is_err(), "{wrong}");
        }
        let most = limits(json!({"read": {"iops": u64::MAX}})).unwrap();
        assert_eq!(most.read.iops, Some(u64::MAX));
    }

    #[test]
    fn what_is_null_and_what_is_named_are_told_apart() {
        let patch = DiskPatch::deserialize(Strict(json!({"quota_bytes": null}))).unwrap();
        assert_eq!((patch.quota_bytes, patch.group), (Some(None), None));
        let settings = json!({"size_bytes": 512, "on_full": "stall", "labels": {"a": "b"}});
        let settings = DiskSettings::deserialize(Strict(settings)).unwrap();
        assert_eq!(settings.labels.len(), 1);
    }
}
