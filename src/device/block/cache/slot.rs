//! The place of a disk's cache, which most disks don't have.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::live::Cache;
use super::state::Rule;

/// The cache of a disk, if it has one.
#[derive(Debug, Default)]
pub(in crate::device::block) struct Cached {
    cache: RwLock<Option<Arc<Cache>>>,
    /// Known also while there is no cache.
    rule: Mutex<Rule>,
}

impl Cached {
    /// The cache.
    pub(in crate::device::block) fn get(&self) -> Option<Arc<Cache>> {
        self.cache.read().clone()
    }

    /// Set it, or remove it. Returns the one before.
    pub(in crate::device::block) fn set(&self, cache: Option<Arc<Cache>>) -> Option<Arc<Cache>> {
        let rule = self.rule.lock();
        if let Some(cache) = &cache {
            cache.set_rule(*rule);
        }
        std::mem::replace(&mut *self.cache.write(), cache)
    }

    /// When writes are stable, or would be if there were a cache.
    pub(in crate::device::block) fn rule(&self) -> Rule {
        *self.rule.lock()
    }

    /// From now on writes are stable by this rule.
    pub(in crate::device::block) fn set_rule(&self, rule: Rule) {
        let mut known = self.rule.lock();
        *known = rule;
        if let Some(cache) = self.get() {
            cache.set_rule(rule);
        }
    }
}
