//! Values of the configuration file.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::values::cpus::{Cpus, parse_cpus};
use crate::cli::values::mode::parse_mode;
use crate::cli::values::sandbox::parse_sandbox;
use crate::cli::values::size::{exact, parse_size};
use crate::cli::values::time::{parse_time_or_none, time};
use crate::daemon::SandboxMode;

/// A number of bytes, or a string such as `"10G"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Size(pub(in crate::cli) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a size as in \"10G\"")
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let bytes = u64::try_from(bytes);
                bytes
                    .map(Size)
                    .map_err(|_| E::custom("a size can't be negative"))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }
        }
        from.deserialize_any(Words)
    }
}

/// A time as in `"1h"`, in milliseconds, or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Time(pub(in crate::cli) Option<u64>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parsed = parse_time_or_none(&text).map_err(de::Error::custom)?;
        Ok(Self(parsed.option()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(ms) => into.serialize_str(&time(ms)),
            None => into.serialize_str("none"),
        }
    }
}

/// Permission bits, in octal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Mode(pub(in crate::cli) u32);

/// Processors, as in `"2,4-7"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Pin(pub(in crate::cli) Cpus);

/// How far the daemon confines itself, as in `"strict"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Sandbox(pub(in crate::cli) SandboxMode);

impl<'de> Deserialize<'de> for Sandbox {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_sandbox(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_mode(&text).map(Mode).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        parse_cpus(&text).map(Pin).map_err(de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.serialize_str(&exact(self.0))
    }
}
