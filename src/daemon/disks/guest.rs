//! What a disk's device is told, and asked.

use std::sync::Arc;

use super::super::model::{Limits, OnFull, Stats};
use super::entry::Entry;

/// TODO of this branch: the device's.
#[derive(Debug)]
pub(super) struct Limiter;
impl Limiter {
    pub(super) fn new(_: &Limits) -> Arc<Self> {
        Arc::new(Self)
    }
    pub(super) fn set(&self, _: &Limits) {}
}

impl Entry {
    pub(super) fn limit(&self, _limits: &Limits, _group: Option<Arc<Limiter>>) {}
    pub(super) fn set_on_full(&self, _on_full: OnFull) {}
    pub(super) fn full_events(&self) -> u64 {
        0
    }
    pub(super) fn stalled(&self) -> u64 {
        0
    }
    pub(super) fn stats(&self) -> Stats {
        Stats {
            disk: self.name.clone(),
            ..Stats::default()
        }
    }
    pub(super) fn mapped_bytes(&self) -> u64 {
        self.disk.get_info().map_or(0, |info| info.mapped_bytes)
    }
}
