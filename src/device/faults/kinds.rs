//! Kinds of faults as text: `delay=1ms..20ms`, `torn=3`.

use std::fmt;
use std::str::FromStr;

use super::rule::{Delay, Kind, MOST_BITS, RuleError};
use super::units;
use crate::store::MAX_CAPACITY_BYTES;

/// A field that can't have this value.
pub(super) fn value(field: &'static str, text: &str, wants: &'static str) -> RuleError {
    RuleError::Value {
        field,
        text: text.to_owned(),
        wants,
    }
}

impl FromStr for Delay {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        const WANTS: &str =
            "a time as in 5ms, two as in 1ms..20ms, or quantiles as in p50:1ms,p99:40ms";
        let wrong = || value("delay", text, WANTS);
        let time = |text: &str| units::parse_time(text).ok_or_else(wrong);
        if let Some(rest) = text.strip_prefix("p50:") {
            let (p50, p99) = rest.split_once(",p99:").ok_or_else(wrong)?;
            let (p50, p99) = (time(p50)?, time(p99)?);
            return match !p50.is_zero() && p50 <= p99 {
                true => Ok(Self::Quantiles { p50, p99 }),
                false => Err(wrong()),
            };
        }
        if let Some((least, most)) = text.split_once("..") {
            let (least, most) = (time(least)?, time(most)?);
            return match least < most {
                true => Ok(Self::Uniform(least, most)),
                false => Err(wrong()),
            };
        }
        match time(text)? {
            none if none.is_zero() => Err(wrong()),
            fixed => Ok(Self::Fixed(fixed)),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = units::time;
        match *self {
            Self::Fixed(always) => f.write_str(&time(always)),
            Self::Uniform(least, most) => write!(f, "{}..{}", time(least), time(most)),
            Self::Quantiles { p50, p99 } => write!(f, "p50:{},p99:{}", time(p50), time(p99)),
        }
    }
}

fn torn(field: &'static str, sectors: Option<&str>, is_silent: bool) -> Result<Kind, RuleError> {
    let wants = "how many sectors of 512 bytes are written, as in torn=3, or leave it out";
    let count = |text| units::parse_count(text).ok_or_else(|| value(field, text, wants));
    let sectors = sectors.map(count).transpose()?;
    Ok(Kind::Torn { sectors, is_silent })
}

/// How far a write is misdirected, in sectors: with its sign, and no further than any disk is long.
fn shift(text: &str) -> Result<i64, RuleError> {
    let wants = "how many sectors of 512 bytes further on, as in misdirected=+8 or misdirected=-8";
    let (sign, count) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(count), _) => (1, count),
        (_, Some(count)) => (-1, count),
        _ => (0, text),
    };
    let count = units::parse_count(count).filter(|&count| count <= MAX_CAPACITY_BYTES / 512);
    let sectors = count.and_then(|count| i64::try_from(count).ok());
    let sectors = sectors.map(|sectors| sign * sectors);
    let sectors = sectors.filter(|&sectors| sectors != 0);
    sectors.ok_or_else(|| value("misdirected", text, wants))
}

/// A number of bits.
fn bits(field: &'static str, text: &str) -> Result<u32, RuleError> {
    let bits = units::parse_count(text).and_then(|bits| u32::try_from(bits).ok());
    let bits = bits.filter(|bits| (1..=MOST_BITS).contains(bits));
    bits.ok_or_else(|| value(field, text, "a number of bits, 1 to 4096"))
}

impl FromStr for Kind {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let refused = value;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        Ok(match (name, value) {
            ("error", None) => Self::Error,
            ("unsupported", None) => Self::Unsupported,
            ("delay", Some(delay)) => Self::Delay(delay.parse()?),
            ("stall", None) => Self::Stall,
            ("torn", sectors) => torn("torn", sectors, false)?,
            ("torn-silent", sectors) => torn("torn-silent", sectors, true)?,
            ("lost", None) => Self::Lost,
            ("lost-flush", None) => Self::LostFlush,
            ("misdirected", Some(text)) => Self::Misdirected(shift(text)?),
            ("corrupt", Some(text)) => Self::Corrupt(bits("corrupt", text)?),
            ("full", None) => Self::Full,
            ("disconnect", None) => Self::Disconnect,
            ("personality", Some(name)) => {
                let wants = "hdd-7200, sata-ssd, nvme or ebs-gp3";
                let known = name.parse();
                Self::Personality(known.map_err(|()| refused("personality", name, wants))?)
            }
            _ => {
                return Err(RuleError::Kind {
                    text: text.to_owned(),
                });
            }
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("error"),
            Self::Unsupported => f.write_str("unsupported"),
            Self::Delay(delay) => write!(f, "delay={delay}"),
            Self::Stall => f.write_str("stall"),
            Self::Torn { sectors, is_silent } => {
                f.write_str(if *is_silent { "torn-silent" } else { "torn" })?;
                sectors.map_or(Ok(()), |sectors| write!(f, "={sectors}"))
            }
            Self::Lost => f.write_str("lost"),
            Self::LostFlush => f.write_str("lost-flush"),
            Self::Misdirected(sectors) => write!(f, "misdirected={sectors:+}"),
            Self::Corrupt(bits) => write!(f, "corrupt={bits}"),
            Self::Full => f.write_str("full"),
            Self::Disconnect => f.write_str("disconnect"),
            Self::Personality(personality) => write!(f, "personality={personality}"),
        }
    }
}
