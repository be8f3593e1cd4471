//! Reading the parameters of a query: each is a text, which becomes what its field is.
//!
//! axum's `Query` reads into any type and says which parameter is wrong. For that it wraps each
//! visitor of every type, which is several times as much code as the types' own.

use std::cell::RefCell;
use std::vec;

use serde::de::value::{Error, MapDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Read parameters. The error comes with the name of the parameter; `"."` is all of them.
pub(crate) fn read<T: DeserializeOwned>(
    parameters: Vec<(String, String)>,
) -> Result<T, (String, Error)> {
    let place = RefCell::new(String::new());
    let parameters = Parameters(parameters.into_iter(), &place);
    let read = T::deserialize(MapDeserializer::new(parameters));
    read.map_err(|error| match place.take() {
        place if place.is_empty() => (".".into(), error),
        place => (place, error),
    })
}

/// Parameters, and the name of the one that is read now.
struct Parameters<'a>(vec::IntoIter<(String, String)>, &'a RefCell<String>);

impl Iterator for Parameters<'_> {
    type Item = (String, Text);

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.0.next();
        let name = next.as_ref().map(|(name, _)| name.clone());
        self.1.replace(name.unwrap_or_default());
        next.map(|(name, value)| (name, Text(value)))
    }
}

/// The value of a parameter.
struct Text(String);

impl IntoDeserializer<'_, Error> for Text {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.parse().map_err(Error::custom)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u32(self.0.parse().map_err(Error::custom)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.0.parse().map_err(Error::custom)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    // No parameter is a number of another kind.
    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Raw,
        AllOfIt,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Asked {
        name: String,
        size: Option<u64>,
        queues: Option<u32>,
        #[serde(default)]
        all: bool,
        kind: Option<Kind>,
    }

    fn of(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let pairs = pairs.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        read(pairs.collect()).map_err(|(name, error)| format!("{name}: {error}"))
    }

    #[test]
    fn each_parameter_becomes_what_its_field_is() {
        let all = [
            ("size", "18446744073709551615"),
            ("name", "7"),
            ("all", "true"),
            ("queues", "4294967295"),
            ("kind", "all_of_it"),
        ];
        let wanted = Asked {
            name: "7".into(),
            size: Some(u64::MAX),
            queues: Some(u32::MAX),
            all: true,
            kind: Some(Kind::AllOfIt),
        };
        assert_eq!(of(&all), Ok(wanted));
        let least = of(&[("name", "")]).unwrap();
        assert_eq!((least.size, least.kind, least.all), (None, None, false));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |name, value| of(&[("name", "a"), (name, value), ("all", "true")]).unwrap_err();
        for (name, value) in [
            ("size", "1G"),
            ("size", "-1"),
            ("size", "18446744073709551616"),
            ("queues", "4294967296"),
            ("kind", "qcow2"),
        ] {
            assert!(
                wrong(name, value).starts_with(&format!("{name}: ")),
                "{value}"
            );
        }
        assert!(
            of(&[("name", "a"), ("all", "yes")])
                .unwrap_err()
                .starts_with("all: ")
        );
        assert_eq!(
            of(&[("all", "true")]).unwrap_err(),
            ".: missing field `name`"
        );
    }
}
