//! A rule: which requests it means, and what becomes of them.

use std::time::Duration;

use super::personality::Personality;

/// The most rules of a disk.
pub const MOST_RULES: usize = 32;

/// The most ranges of a rule.
pub const MOST_RANGES: usize = 16;

/// The longest id, in bytes.
const MAX_ID_BYTES: usize = 32;

/// The kinds, for messages.
const KINDS: &str = "error, unsupported, delay=5ms, delay=1ms..20ms, delay=p50:1ms,p99:40ms, \
    stall, torn, torn=3, torn-silent, torn-silent=3, lost, lost-flush, misdirected=+8, corrupt=1, \
    full, disconnect, personality=NAME (hdd-7200, sata-ssd, nvme, ebs-gp3), or rot=1 (at once, \
    on a disk that exists)";

/// The fields, for messages.
const FIELDS: &str = "id=, op=, range=, after-requests=, after-bytes=, after-flushes=, nth=, \
    every=, probability=, times=, for=, seed=";

/// Why a text is no rule, or a rule that could never fire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No fault has this name.
    #[error("{text:?} is not a fault: use {KINDS}")]
    Kind {
        /// What was given.
        text: String,
    },
    /// No field has this name.
    #[error("{text:?} is not a field of a fault: use {FIELDS}")]
    Field {
        /// What was given.
        text: String,
    },
    /// A field can't have this value.
    #[error("{field} of a fault can't be {text:?}: give {wants}")]
    Value {
        /// The field.
        field: &'static str,
        /// What was given.
        text: String,
        /// What is possible.
        wants: &'static str,
    },
    /// Two fields exclude each other, or one was given twice.
    #[error("a fault has one of {fields}: leave out the others")]
    Several {
        /// These fields.
        fields: &'static str,
    },
    /// The rule would never fire.
    #[error("this fault can never fire: {why}")]
    Never {
        /// Why not, and what to do.
        why: String,
    },
}

/// An operation that a rule can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetOperation {
    /// The disk's bytes to the client.
    Read,
    /// The client's bytes to the disk.
    Write,
    /// Earlier writes made stable.
    Flush,
    /// Ranges that are unmapped.
    Discard,
    /// Ranges that read zero afterwards.
    WriteZeroes,
}

impl TargetOperation {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Flush,
        Self::Discard,
        Self::WriteZeroes,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Discard => "discard",
            Self::WriteZeroes => "write-zeroes",
        }
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations(u8);

impl Operations {
    /// Every operation.
    pub fn all() -> Self {
        Self::of(&TargetOperation::ALL)
    }

    /// These operations.
    pub fn of(operations: &[TargetOperation]) -> Self {
        let mut set = Self::default();
        operations.iter().for_each(|&it| set.insert(it));
        set
    }

    /// Add one.
    pub fn insert(&mut self, operation: TargetOperation) {
        self.0 |= 1 << operation as u8;
    }

    /// Whether it has this one.
    pub fn has(self, operation: TargetOperation) -> bool {
        self.0 & 1 << operation as u8 != 0
    }

    /// Its operations, in order.
    pub fn iter(self) -> impl Iterator<Item = TargetOperation> {
        TargetOperation::ALL
            .into_iter()
            .filter(move |&it| self.has(it))
    }
}

/// How long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Always as long.
    Fixed(Duration),
    /// Anything between the two, each as likely.
    Uniform(Duration, Duration),
    /// Log-normal: half of the requests wait no longer than the one, and 99 of 100 no longer than
    /// the other.
    Quantiles {
        /// The median.
        p50: Duration,
        /// The 99th percentile.
        p99: Duration,
    },
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It fails with an I/O error, and nothing is done.
    Error,
    /// The same, with the status "unsupported".
    Unsupported,
    /// It waits, and is then carried out.
    Delay(Delay),
    /// It waits until the rule is released or removed, and is then carried out.
    Stall,
    /// Only its first sectors are written.
    Torn {
        /// How many; without it, chance picks fewer than it has.
        sectors: Option<u64>,
        /// Whether it succeeds nonetheless.
        is_silent: bool,
    },
    /// It succeeds, and nothing is done.
    Lost,
    /// A flush succeeds, and makes nothing stable.
    LostFlush,
    /// It is written elsewhere: this many sectors further on, and from the end on at the disk's
    /// start.
    Misdirected(i64),
    /// This many bits of what is read are wrong.
    Corrupt(u32),
    /// It finds no memory: it fails, or waits like a stalled one, as the disk does when it is full.
    Full,
    /// The connection of its front end ends, and it is not answered.
    Disconnect,
    /// It takes as long as on such a device.
    Personality(Personality),
}

/// The most bits that a rule makes wrong in one request.
pub const MOST_BITS: u32 = 4096;

impl Kind {
    /// The operations that it can be about; by default it is about all of these.
    pub fn operations(self) -> Operations {
        match self {
            Self::Error
            | Self::Unsupported
            | Self::Delay(_)
            | Self::Stall
            | Self::Disconnect
            | Self::Personality(_) => Operations::all(),
            Self::Torn { .. } | Self::Misdirected(_) => Operations::of(&[TargetOperation::Write]),
            Self::Lost => Operations::of(&[
                TargetOperation::Write,
                TargetOperation::Discard,
                TargetOperation::WriteZeroes,
            ]),
            Self::LostFlush => Operations::of(&[TargetOperation::Flush]),
            Self::Corrupt(_) => Operations::of(&[TargetOperation::Read]),
            Self::Full => Operations::of(&[TargetOperation::Write, TargetOperation::WriteZeroes]),
        }
    }

    /// Whether a request's dice are cast for it.
    pub(super) fn takes_chances(self) -> bool {
        match self {
            Self::Delay(delay) => !matches!(delay, Delay::Fixed(_)),
            Self::Torn { sectors, .. } => sectors.is_none(),
            Self::Corrupt(_) | Self::Personality(Personality::Hdd7200) => true,
            _ => false,
        }
    }

    /// Whether it only makes requests wait, so that another rule may decide what becomes of them.
    pub fn only_waits(self) -> bool {
        matches!(self, Self::Delay(_) | Self::Stall | Self::Personality(_))
    }
}

/// A range of bytes: whole sectors of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start_bytes: u64,
    /// Length, not 0.
    pub len_bytes: u64,
}

impl Span {
    /// First byte after it.
    pub fn end_bytes(self) -> u64 {
        self.start_bytes.saturating_add(self.len_bytes)
    }

    /// Whether both have a byte in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.start_bytes < other.end_bytes() && other.start_bytes < self.end_bytes()
    }
}

/// How much must have happened before a rule is armed, since it was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// This many requests that it is about.
    Requests(u64),
    /// This many bytes in requests that it is about.
    Bytes(u64),
    /// This many flushes of the disk.
    Flushes(u64),
}

/// A probability in millionths: at least one, and at most a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probability(pub(super) u32);

impl Probability {
    /// A certainty.
    pub(super) const WHOLE: u32 = 1_000_000;

    /// From millionths. `None` if it is 0 or more than a certainty.
    pub fn from_millionths(millionths: u32) -> Option<Self> {
        (1..=Self::WHOLE)
            .contains(&millionths)
            .then_some(Self(millionths))
    }
}

/// Which of the requests that a rule is about it fires for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// All.
    #[default]
    All,
    /// The one that asks for its first sector for the N-th time.
    Nth(u64),
    /// Those that ask for their first sector for the N-th time, the 2N-th, and so on.
    Every(u64),
    /// Each with this probability.
    Chance(Probability),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called. `None` until it belongs to a disk.
    pub id: Option<String>,
    /// What becomes of the requests that it fires for.
    pub kind: Kind,
    /// The operations that it is about.
    pub operations: Operations,
    /// The ranges that it is about: a request matches that has a byte in one of them. Without any,
    /// all do.
    pub ranges: Vec<Span>,
    /// When it is armed.
    pub after: Option<After>,
    /// Which requests it fires for.
    pub pick: Pick,
    /// How often it fires at most.
    pub times: Option<u64>,
    /// How long it fires, from its first firing on.
    pub lasts: Option<Duration>,
    /// What its chances depend on.
    pub seed: u64,
}

impl Rule {
    /// A rule of this kind for all requests that it can be about.
    pub fn new(kind: Kind) -> Self {
        Self {
            id: None,
            kind,
            operations: kind.operations(),
            ranges: Vec::new(),
            after: None,
            pick: Pick::All,
            times: None,
            lasts: None,
            seed: 0,
        }
    }

    /// Check an id: 1 to 32 of `A-Za-z0-9._-`, the first of which is a letter or digit.
    ///
    /// # Errors
    /// [`RuleError::Value`].
    pub fn check_id(id: &str) -> Result<(), RuleError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        if begins && id.len() <= MAX_ID_BYTES && id.chars().all(fits) {
            return Ok(());
        }
        Err(RuleError::Value {
            field: "id",
            text: id.to_owned(),
            wants: "1 to 32 of A-Z a-z 0-9 . _ - that begin with a letter or digit",
        })
    }

    /// Check that it can fire at all.
    ///
    /// # Errors
    /// [`RuleError::Never`].
    pub fn check(&self) -> Result<(), RuleError> {
        let never = |why: String| Err(RuleError::Never { why });
        let possible = self.kind.operations();
        let names = |set: Operations| set.iter().map(TargetOperation::name).collect::<Vec<_>>();
        if let Some(other) = self.operations.iter().find(|&it| !possible.has(it)) {
            let (kind, names) = (self.kind, names(possible).join(", "));
            return never(format!("{kind} is for {names}, not for {}", other.name()));
        }
        if self.operations == Operations::of(&[TargetOperation::Flush]) && !self.ranges.is_empty() {
            return never("a flush has no range: leave out range, or name other operations".into());
        }
        Ok(())
    }

    /// Check that its ranges are inside a disk of this size.
    ///
    /// # Errors
    /// [`RuleError::Never`].
    pub fn check_size(&self, size_bytes: u64) -> Result<(), RuleError> {
        check_size(&self.ranges, size_bytes)
    }

    /// Whether it is about a request of this kind for these ranges.
    pub(super) fn is_about(&self, operation: TargetOperation, spans: &[Span]) -> bool {
        self.operations.has(operation)
            && (self.ranges.is_empty()
                || self
                    .ranges
                    .iter()
                    .any(|range| spans.iter().any(|span| span.overlaps(*range))))
    }
}

/// Check that ranges are inside a disk of this size.
pub(super) fn check_size(ranges: &[Span], size_bytes: u64) -> Result<(), RuleError> {
    let outside = ranges.iter().find(|it| it.end_bytes() > size_bytes);
    outside.map_or(Ok(()), |range| {
        let (start, len) = (range.start_bytes, range.len_bytes);
        Err(RuleError::Never {
            why: format!(
                "range {start}+{len} does not lie on the disk, which has {size_bytes} bytes"
            ),
        })
    })
}
