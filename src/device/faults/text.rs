//! A rule as text: `KIND,field=value,…`, as options, files and the API have it.

use std::fmt;
use std::str::FromStr;

use super::kinds::value;
use super::rule::{After, MOST_RANGES, Operations, Pick, Rule, RuleError, TargetOperation};
use super::units;

/// What a count must be.
const COUNT: &str = "a whole number above 0";
/// What a time must be.
const TIME: &str = "a time from 1ns to 24h, as in 5ms";

/// A number that isn't 0.
fn count(field: &'static str, text: &str) -> Result<u64, RuleError> {
    let count = units::parse_count(text).filter(|&count| count > 0);
    count.ok_or_else(|| value(field, text, COUNT))
}

fn time(field: &'static str, text: &str) -> Result<std::time::Duration, RuleError> {
    let time = units::parse_time(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| value(field, text, TIME))
}

/// Operations: their names with `+` between.
fn operations(text: &str) -> Result<Operations, RuleError> {
    const WANTS: &str = "read, write, flush, discard or write-zeroes, several with + between";
    let mut set = Operations::default();
    for name in text.split('+') {
        let found = TargetOperation::ALL.into_iter();
        let found = found.into_iter().find(|it| it.name() == name);
        set.insert(found.ok_or_else(|| value("op", text, WANTS))?);
    }
    Ok(set)
}

/// A rule whose fields are being read.
struct Reading {
    rule: Rule,
    operations: Option<Operations>,
}

impl Reading {
    fn field(&mut self, text: &str) -> Result<(), RuleError> {
        let unknown = || RuleError::Field {
            text: text.to_owned(),
        };
        let (name, given) = text.split_once('=').ok_or_else(unknown)?;
        match name {
            "id" => {
                Rule::check_id(given)?;
                once("id", &mut self.rule.id, given.to_owned())
            }
            "op" => {
                let set = operations(given)?;
                let had = self.operations.get_or_insert_default();
                set.iter().for_each(|it| had.insert(it));
                Ok(())
            }
            "range" => self.range(given),
            "after-requests" => self.after(After::Requests(count("after-requests", given)?)),
            "after-bytes" => {
                let bytes = units::parse_size(given).filter(|&bytes| bytes > 0);
                let wants = "a size above 0, as in 1M";
                let bytes = bytes.ok_or_else(|| value("after-bytes", given, wants))?;
                self.after(After::Bytes(bytes))
            }
            "after-flushes" => self.after(After::Flushes(count("after-flushes", given)?)),
            "nth" => self.pick(Pick::Nth(count("nth", given)?)),
            "every" => self.pick(Pick::Every(count("every", given)?)),
            "probability" => {
                let wants = "a number above 0 and at most 1, as in 0.01, with at most 6 digits \
                             behind the point";
                let chance = units::parse_probability(given);
                let chance = chance.ok_or_else(|| value("probability", given, wants))?;
                self.pick(Pick::Chance(chance))
            }
            "times" => once("times", &mut self.rule.times, count("times", given)?),
            "for" => once("for", &mut self.rule.lasts, time("for", given)?),
            "seed" => {
                let seed = units::parse_count(given);
                self.rule.seed = seed.ok_or_else(|| value("seed", given, "a whole number"))?;
                Ok(())
            }
            _ => Err(unknown()),
        }
    }

    fn range(&mut self, given: &str) -> Result<(), RuleError> {
        let wants = "START+LEN in whole sectors of 512 bytes, as in 1M+4K";
        let range = units::parse_span(given).ok_or_else(|| value("range", given, wants))?;
        if self.rule.ranges.len() == MOST_RANGES {
            return Err(value("range", given, "at most 16 ranges"));
        }
        self.rule.ranges.push(range);
        Ok(())
    }

    fn after(&mut self, after: After) -> Result<(), RuleError> {
        let fields = "after-requests, after-bytes and after-flushes";
        once(fields, &mut self.rule.after, after)
    }

    fn pick(&mut self, pick: Pick) -> Result<(), RuleError> {
        if self.rule.pick != Pick::All {
            let fields = "nth, every and probability";
            return Err(RuleError::Several { fields });
        }
        self.rule.pick = pick;
        Ok(())
    }
}

/// Set what may be given once.
fn once<T>(fields: &'static str, to: &mut Option<T>, value: T) -> Result<(), RuleError> {
    match to.replace(value) {
        Some(_) => Err(RuleError::Several { fields }),
        None => Ok(()),
    }
}

/// Where the kind ends: at the first comma, but `delay=p50:1ms,p99:40ms` has one in it.
fn split_kind(text: &str) -> (&str, &str) {
    let inside = text
        .find(",p99:")
        .filter(|_| text.starts_with("delay=p50:"));
    let from = inside.map_or(0, |at| at + 1);
    let end = text.get(from..).and_then(|rest| rest.find(','));
    match end {
        Some(end) => (&text[..from + end], &text[from + end + 1..]),
        None => (text, ""),
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (kind, fields) = split_kind(text);
        let mut reading = Reading {
            rule: Self::new(kind.parse()?),
            operations: None,
        };
        for field in fields.split(',').filter(|_| !fields.is_empty()) {
            reading.field(field)?;
        }
        let mut rule = reading.rule;
        rule.operations = reading.operations.unwrap_or(rule.operations);
        rule.check()?;
        Ok(rule)
    }
}

impl fmt::Display for Rule {
    /// The text that is read as exactly this rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(id) = &self.id {
            write!(f, ",id={id}")?;
        }
        if self.operations != self.kind.operations() {
            let names: Vec<_> = self.operations.iter().map(TargetOperation::name).collect();
            write!(f, ",op={}", names.join("+"))?;
        }
        for range in &self.ranges {
            write!(f, ",range={}", units::span(*range))?;
        }
        match self.after {
            Some(After::Requests(count)) => write!(f, ",after-requests={count}")?,
            Some(After::Bytes(bytes)) => write!(f, ",after-bytes={}", units::size(bytes))?,
            Some(After::Flushes(count)) => write!(f, ",after-flushes={count}")?,
            None => {}
        }
        match self.pick {
            Pick::All => {}
            Pick::Nth(count) => write!(f, ",nth={count}")?,
            Pick::Every(count) => write!(f, ",every={count}")?,
            Pick::Chance(chance) => write!(f, ",probability={}", units::probability(chance))?,
        }
        if let Some(times) = self.times {
            write!(f, ",times={times}")?;
        }
        if let Some(lasts) = self.lasts {
            write!(f, ",for={}", units::time(lasts))?;
        }
        if self.seed != 0 {
            write!(f, ",seed={}", self.seed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::personality::Personality;
    use super::super::rule::{Delay, Kind, MOST_BITS, Probability, Span};
    use super::*;

    fn kinds() -> impl Strategy<Value = Kind> {
        let time = || (1_u64..3_000_000).prop_map(Duration::from_nanos);
        let two = (time(), time()).prop_map(|(one, two)| (one.min(two), one.max(two)));
        prop_oneof![
            Just(Kind::Error),
            Just(Kind::Unsupported),
            Just(Kind::Stall),
            Just(Kind::Lost),
            Just(Kind::LostFlush),
            Just(Kind::Full),
            Just(Kind::Disconnect),
            (0_usize..4).prop_map(|at| Kind::Personality(Personality::ALL[at])),
            (1_u32..=MOST_BITS).prop_map(Kind::Corrupt),
            (1_i64..1 << 37).prop_map(Kind::Misdirected),
            (1_i64..1 << 37).prop_map(|sectors| Kind::Misdirected(-sectors)),
            (proptest::option::of(any::<u64>()), any::<bool>())
                .prop_map(|(sectors, is_silent)| Kind::Torn { sectors, is_silent }),
            time().prop_map(|time| Kind::Delay(Delay::Fixed(time))),
            two.prop_map(|(p50, p99)| Kind::Delay(Delay::Quantiles { p50, p99 })),
            (time(), time())
                .prop_map(|(least, more)| Kind::Delay(Delay::Uniform(least, least + more))),
        ]
    }

    fn afters() -> impl Strategy<Value = Option<After>> {
        let kinds = [After::Requests, After::Bytes, After::Flushes];
        let some = (0_usize..3, 1_u64..1 << 40).prop_map(move |(at, count)| kinds[at](count));
        proptest::option::of(some)
    }

    fn picks() -> impl Strategy<Value = Pick> {
        prop_oneof![
            Just(Pick::All),
            (1_u64..u64::MAX).prop_map(Pick::Nth),
            (1_u64..u64::MAX).prop_map(Pick::Every),
            (1_u32..=1_000_000).prop_map(|it| Pick::Chance(Probability(it))),
        ]
    }

    fn some_rules() -> impl Strategy<Value = Rule> {
        let span = (0_u64..1 << 40, 1_u64..1 << 40).prop_map(|(start, len)| Span {
            start_bytes: start * 512,
            len_bytes: len * 512,
        });
        let about = (proptest::collection::vec(span, 0..MOST_RANGES), 1_u8..32);
        let bounds = (
            proptest::option::of(1_u64..u64::MAX),
            proptest::option::of((1_u64..86_400_000_000_000).prop_map(Duration::from_nanos)),
            proptest::option::of("[a-z0-9][a-z0-9._-]{0,31}"),
            any::<u64>(),
        );
        let all = (kinds(), about, afters(), picks(), bounds);
        all.prop_map(|(kind, (ranges, bits), after, pick, bounds)| {
            let possible = kind.operations().iter();
            let chosen = possible
                .filter(|&it| bits & 1 << it as u8 != 0)
                .collect::<Vec<_>>();
            let operations = match chosen.is_empty() {
                true => kind.operations(),
                false => Operations::of(&chosen),
            };
            let (times, lasts, id, seed) = bounds;
            let is_flush = operations == Operations::of(&[TargetOperation::Flush]);
            Rule {
                id,
                operations,
                ranges: if is_flush { Vec::new() } else { ranges },
                after,
                pick,
                times,
                lasts,
                seed,
                ..Rule::new(kind)
            }
        })
    }

    proptest! {
        #[test]
        fn a_rule_is_read_as_it_was_written(rule in some_rules()) {
            let text = rule.to_string();
            let read: Rule = text.parse().unwrap();
            prop_assert_eq!(&read, &rule, "{}", text);
            prop_assert_eq!(read.to_string(), text);
        }

        #[test]
        fn any_text_is_a_rule_or_refused(text in "\\PC{0,60}", cut in 0_usize..60) {
            let _ = text.parse::<Rule>();
            let known = "delay=p50:1ms,p99:2ms,id=a,op=read+write,range=0+4K,nth=3,times=1,for=5s";
            let text = format!("{}{text}", &known[..cut.min(known.len())]);
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>().unwrap(), rule);
            }
        }
    }

    #[test]
    fn a_mistake_is_named_with_what_is_possible() {
        for (text, said) in [
            ("", "\"\" is not a fault: use error"),
            (
                "crash",
                "\"crash\" is not a fault: use error, unsupported, delay=5ms",
            ),
            ("delay", "\"delay\" is not a fault"),
            ("delay=1mins", "can't be \"1mins\": give a time"),
            ("delay=5", "can't be \"5\": give a time as in 5ms"),
            ("delay=0ms", "can't be \"0ms\""),
            ("delay=2ms..1ms", "two as in 1ms..20ms"),
            ("delay=p50:1ms", "quantiles as in p50:1ms,p99:40ms"),
            (
                "personality=tape",
                "give hdd-7200, sata-ssd, nvme or ebs-gp3",
            ),
            ("torn=x", "how many sectors of 512 bytes are written"),
            ("misdirected=8", "misdirected=+8 or misdirected=-8"),
            ("misdirected=+0", "misdirected=+8 or misdirected=-8"),
            ("corrupt=0", "a number of bits, 1 to 4096"),
            ("lost=1", "\"lost=1\" is not a fault"),
            (
                "corrupt=1,op=write",
                "can never fire: corrupt=1 is for read, not for write",
            ),
            (
                "lost-flush,range=0+512",
                "can never fire: a flush has no range",
            ),
            (
                "error,colour=red",
                "\"colour=red\" is not a field of a fault: use id=",
            ),
            (
                "error,op=erase",
                "read, write, flush, discard or write-zeroes",
            ),
            (
                "error,nth=0",
                "nth of a fault can't be \"0\": give a whole number above 0",
            ),
            ("error,every=0", "every of a fault can't be \"0\""),
            ("error,times=0", "times of a fault can't be \"0\""),
            ("error,nth=1,every=2", "one of nth, every and probability"),
            (
                "error,after-bytes=1K,after-flushes=2",
                "one of after-requests, after-bytes",
            ),
            ("error,probability=0", "above 0 and at most 1"),
            ("error,probability=1.1", "above 0 and at most 1"),
            ("error,probability=0.0000001", "at most 6 digits"),
            ("error,range=1+512", "whole sectors of 512 bytes"),
            ("error,range=0+0", "whole sectors of 512 bytes"),
            (
                "error,op=flush,range=0+512",
                "can never fire: a flush has no range",
            ),
            ("error,id=a b", "1 to 32 of A-Z a-z 0-9"),
            ("error,for=0s", "a time from 1ns to 24h"),
            ("error,for=25h", "a time from 1ns to 24h"),
        ] {
            let error = text.parse::<Rule>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_lies_on_the_disk() {
        let rule: Rule = "error,range=1M+4K".parse().unwrap();
        assert!(rule.check_size((1 << 20) + 4096).is_ok());
        let error = rule.check_size(1 << 20).unwrap_err().to_string();
        assert!(
            error.contains("range 1048576+4096 does not lie on the disk"),
            "{error}"
        );
    }
}
