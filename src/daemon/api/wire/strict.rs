//! Reading JSON strictly by its schemas, from which serde differs in two ways: it accepts an array
//! of fields for an object, and refuses `1.0` as a whole number. What is refused is named by its
//! path.
//!
//! `serde_path_to_error` names paths for any format. It wraps each visitor and each value of every
//! type, which made 300 KB of the program.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::vec;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value, map};

/// Whole numbers from here on are not exact as floating point.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Why a value was not read.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Where in the value, as in `disks[1].name`; empty if it is the whole value.
    pub(crate) path: String,
    pub(crate) error: Error,
}

/// Read a value strictly.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    let place = Place::default();
    T::deserialize(Strict(value, &place)).map_err(|error| place.refused(error))
}

/// Where reading has failed: keys and indexes, the innermost first. Each level adds its own to the
/// error that comes from below.
#[derive(Debug, Default)]
struct Place(RefCell<Vec<Step>>);

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    fn add(&self, step: Step) {
        self.0.borrow_mut().push(step);
    }

    fn refused(self, error: Error) -> Refused {
        let mut path = String::new();
        for step in self.0.into_inner().into_iter().rev() {
            let _ = match step {
                Step::Key(key) if path.is_empty() => write!(path, "{key}"),
                Step::Key(key) => write!(path, ".{key}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        Refused { path, error }
    }
}

/// A value that is read strictly.
struct Strict<'a>(Value, &'a Place);

impl<'de> Deserializer<'de> for Strict<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(values) => {
                let mut items = Items::new(values, self.1);
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let mut fields = Fields::new(fields, self.1);
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
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (name, content) = match self.0 {
            Value::String(name) => (name, None),
            Value::Object(fields) => match single(fields) {
                Some((name, content)) => (name, Some(content)),
                None => return Err(Error::invalid_value(Unexpected::Map, &ONE_KEY)),
            },
            other => return Err(Error::invalid_type(unexpected(&other), &"string or map")),
        };
        visitor.visit_enum(Variant {
            name,
            content,
            place: self.1,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier ignored_any
    }
}

const ONE_KEY: &str = "map with a single key";

/// The only field of an object.
fn single(fields: Map<String, Value>) -> Option<(String, Value)> {
    let mut fields = fields.into_iter();
    fields.next().filter(|_| fields.len() == 0)
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Unexpected::Unsigned(value),
            (_, Some(value)) => Unexpected::Signed(value),
            _ => Unexpected::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
    }
}

/// The fields of an object.
struct Fields<'a> {
    left: map::IntoIter,
    /// The key and the value whose key was read last.
    field: Option<(String, Value)>,
    place: &'a Place,
}

impl<'a> Fields<'a> {
    fn new(fields: Map<String, Value>, place: &'a Place) -> Self {
        Self {
            left: fields.into_iter(),
            field: None,
            place,
        }
    }

    fn end(self) -> Result<(), Error> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(Error::invalid_length(left, &"fewer elements in map")),
        }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        match seed.deserialize(key.as_str().into_deserializer()) {
            Ok(read) => {
                self.field = Some((key, value));
                Ok(Some(read))
            }
            Err(error) => {
                self.place.add(Step::Key(key));
                Err(error)
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, value)) = self.field.take() else {
            return Err(Error::custom("a value is read before its key"));
        };
        let read = seed.deserialize(Strict(value, self.place));
        read.inspect_err(|_| self.place.add(Step::Key(key)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The values of an array.
struct Items<'a> {
    left: vec::IntoIter<Value>,
    next: usize,
    place: &'a Place,
}

impl<'a> Items<'a> {
    fn new(values: Vec<Value>, place: &'a Place) -> Self {
        Self {
            left: values.into_iter(),
            next: 0,
            place,
        }
    }

    fn end(self) -> Result<(), Error> {
        match self.left.len() {
            0 => Ok(()),
            left => {
                let all = self.next + left;
                Err(Error::invalid_length(all, &"fewer elements in sequence"))
            }
        }
    }
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.left.next() else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        let read = seed.deserialize(Strict(value, self.place)).map(Some);
        read.inspect_err(|_| self.place.add(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// One of several kinds of value: its name, and what belongs to it.
struct Variant<'a> {
    name: String,
    content: Option<Value>,
    place: &'a Place,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let read = seed.deserialize(self.name.as_str().into_deserializer())?;
        Ok((read, self))
    }
}

impl Variant<'_> {
    /// Read the content, which must be there.
    fn read<T>(
        self,
        wanted: &'static str,
        read: impl FnOnce(Strict) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(content) = self.content else {
            return Err(Error::invalid_type(Unexpected::UnitVariant, &wanted));
        };
        let read = read(Strict(content, self.place));
        read.inspect_err(|_| self.place.add(Step::Key(self.name)))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match &self.content {
            None | Some(Value::Null) => Ok(()),
            Some(other) => {
                let error = Error::invalid_type(unexpected(other), &"unit");
                self.place.add(Step::Key(self.name));
                Err(error)
            }
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.read("newtype variant", |content| seed.deserialize(content))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, Error> {
        self.read("tuple variant", |content| content.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.read("struct variant", |content| {
            content.deserialize_struct("", fields, visitor)
        })
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
        let limits = |value| read::<Limits>(value);
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
        let patch = read::<DiskPatch>(json!({"quota_bytes": null})).unwrap();
        assert_eq!((patch.quota_bytes, patch.group), (Some(None), None));
        let settings = json!({"size_bytes": 512, "on_full": "stall", "labels": {"a": "b"}});
        let settings = read::<DiskSettings>(settings).unwrap();
        assert_eq!(settings.labels.len(), 1);
    }
    #[test]
    fn a_value_that_is_refused_is_named_by_its_path() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        #[expect(dead_code, reason = "only whether it is read counts")]
        enum Shape {
            Round,
            Sides(Vec<u8>),
            Box { wide: u8 },
        }
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only whether it is read counts")]
        struct Thing {
            name: Option<String>,
            shapes: Vec<Shape>,
        }
        let place = |value| read::<Thing>(value).err().map(|refused| refused.path);
        let shapes = |shape: Value| place(json!({"shapes": [{"sides": [1]}, shape]}));
        assert_eq!(shapes(json!("round")), None);
        assert_eq!(shapes(json!({"box": {"wide": 1.0}})), None);
        for (wrong, at) in [
            (json!({"sides": [1, 300]}), "shapes[1].sides[1]"),
            (json!({"box": {"wide": -1}}), "shapes[1].box.wide"),
            (json!({"box": {"high": 1}}), "shapes[1].box.high"),
            (json!({"box": {}}), "shapes[1].box"),
            (json!("square"), "shapes[1]"),
            (json!("sides"), "shapes[1]"),
            (json!({"round": 1}), "shapes[1].round"),
            (json!({"round": null, "box": {}}), "shapes[1]"),
            (json!(7), "shapes[1]"),
        ] {
            let said = shapes(wrong.clone());
            assert!(
                said.as_deref().is_some_and(|it| it.starts_with(at)),
                "{wrong}: {said:?}"
            );
        }
        assert_eq!(
            place(json!({"shapes": [], "name": 1})).as_deref(),
            Some("name")
        );
        assert_eq!(
            place(json!({"shapes": [], "size": 1})).as_deref(),
            Some("size")
        );
        assert_eq!(place(json!({})).as_deref(), Some(""));
    }
}
