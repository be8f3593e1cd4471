//! A group of disks, whose limits they share.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::device::Limiter;
use crate::model::Limits;

/// A group.
#[derive(Debug)]
pub(crate) struct LimitGroup {
    pub(crate) name: String,
    limits: Mutex<Limits>,
    limiter: Arc<Limiter>,
}

impl LimitGroup {
    pub(crate) fn new(name: &str, limits: Limits) -> Self {
        Self {
            name: name.to_owned(),
            limits: Mutex::new(limits),
            limiter: Limiter::new(&(&limits).into()),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Change the limits. Waiting requests notice this.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.lock() = limits;
        self.limiter.set(&(&limits).into());
    }

    /// The limiter that its disks share.
    pub(crate) fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(&self.limiter)
    }
}
