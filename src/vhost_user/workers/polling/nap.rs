//! How long to sleep between two looks at a ring whose driver can't kick.

use std::time::Duration;

/// The first pause between two looks at a ring whose driver can't kick, and the longest.
const FIRST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// The pause before the next look at a ring whose driver can't kick ("SET_VRING_KICK", bit 8): each
/// twice as long as the one before, from the last request on.
#[derive(Clone, Copy, Debug)]
pub(in crate::vhost_user::workers) struct Nap(Duration);

impl Default for Nap {
    fn default() -> Self {
        Self(FIRST_NAP)
    }
}

impl Nap {
    /// There was nothing: how long to sleep.
    pub(in crate::vhost_user::workers) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST_NAP);
        now
    }
}
