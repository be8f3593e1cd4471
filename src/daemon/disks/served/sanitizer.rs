//! The sanitizer of a disk's device, as the API describes it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::device::{self, Volume};
use crate::model::{Finding, FindingKind, Findings, Sanitize, SanitizerCounts};

impl From<Sanitize> for device::Sanitize {
    fn from(sanitize: Sanitize) -> Self {
        match sanitize {
            Sanitize::Off => Self::Off,
            Sanitize::Count => Self::Count,
            Sanitize::Log => Self::Log,
            Sanitize::Fail => Self::Fail,
        }
    }
}

impl From<device::FindingKind> for FindingKind {
    fn from(kind: device::FindingKind) -> Self {
        match kind {
            device::FindingKind::UnwrittenRead => Self::UnwrittenRead,
            device::FindingKind::NoFlush => Self::NoFlush,
            device::FindingKind::SecondWriter => Self::SecondWriter,
        }
    }
}

impl From<device::SanitizerCounts> for SanitizerCounts {
    fn from(counts: device::SanitizerCounts) -> Self {
        Self {
            unwritten_reads: counts.unwritten_reads,
            no_flush: counts.no_flush,
            second_writer: counts.second_writer,
        }
    }
}

/// What it has counted, if it is on or has found something.
pub(crate) fn counts(volume: &Volume) -> Option<SanitizerCounts> {
    let counts = SanitizerCounts::from(volume.sanitizer_counts());
    let was_on = counts != SanitizerCounts::default();
    (was_on || volume.sanitize() != device::Sanitize::Off).then_some(counts)
}

/// What it has found on disk `name`.
pub(crate) fn findings(name: &str, sanitize: Sanitize, volume: &Volume) -> Findings {
    let findings = volume.findings().into_iter().map(|it| Finding {
        number: it.number,
        at_ms: unix_ms(it.at),
        kind: it.kind.into(),
        request_start_bytes: it.request_start_bytes,
        request_length_bytes: it.request_length_bytes,
        start_bytes: it.start_bytes,
        length_bytes: it.length_bytes,
    });
    Findings {
        disk: name.to_owned(),
        sanitize,
        counts: volume.sanitizer_counts().into(),
        findings: findings.collect(),
    }
}

fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
