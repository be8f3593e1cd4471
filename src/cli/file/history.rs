//! The history of a disk in the configuration file: `{ every = "flush", keep = 1000 }`, or
//! `"none"`.

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::Size;
use crate::cli::values::every::{every, parse_every};
use crate::model::{HistorySettings, USUAL_POINTS};

/// A history, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct FileHistory(pub(in crate::cli) Option<HistorySettings>);

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Size>,
}

impl<'de> Deserialize<'de> for FileHistory {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = FileHistory;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table with every, keep and limit, or \"none\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<FileHistory, E> {
                match text {
                    "none" => Ok(FileHistory(None)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FileHistory, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let every = table.every.as_deref().unwrap_or("flush");
                let settings = HistorySettings {
                    keep: table.keep.unwrap_or(USUAL_POINTS),
                    limit_bytes: table.limit.map(|Size(bytes)| bytes),
                    ..parse_every(every).map_err(de::Error::custom)?.into()
                };
                Ok(FileHistory(Some(settings)))
            }
        }
        from.deserialize_any(Words)
    }
}

impl Serialize for FileHistory {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        let Some(settings) = &self.0 else {
            return into.serialize_str("none");
        };
        let table = Table {
            every: Some(every(settings)),
            keep: Some(settings.keep),
            limit: settings.limit_bytes.map(Size),
        };
        table.serialize(into)
    }
}
