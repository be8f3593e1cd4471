//! Which rules fired for which requests: the last ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::rule::{Kind, Span, TargetOperation};

/// How many firings a disk's log keeps.
pub const LOG_FIRINGS: usize = 4096;

/// A rule that fired for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The rule's id.
    pub rule: Arc<str>,
    /// How often that rule had fired, this time included.
    pub number: u64,
    /// The rule's kind.
    pub kind: Kind,
    /// How long the request waits for it, unless it waits for a release.
    pub wait: Option<Duration>,
    /// The request's operation.
    pub operation: TargetOperation,
    /// Its first range; that of a flush is empty.
    pub range: Span,
    /// How often this operation asked for this start since the rule was armed, if the rule counts
    /// that.
    pub asked: Option<u64>,
}

/// The last firings of a disk's rules.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The last ones, at most [`LOG_FIRINGS`], the oldest first.
    pub firings: VecDeque<Firing>,
    /// How many there were before these.
    pub dropped: u64,
}

impl Log {
    pub(super) fn add(&mut self, firing: Firing) {
        if self.firings.len() == LOG_FIRINGS {
            self.firings.pop_front();
            self.dropped += 1;
        }
        self.firings.push_back(firing);
    }
}
