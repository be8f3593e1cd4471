//! Who uses a disk, in the order in which they came: front ends, and users of other front doors.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A user of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct User(u64);

impl User {
    /// One that is not known, as in tests of a device without sessions.
    pub const UNKNOWN: Self = Self(0);
}

/// The users of a disk.
#[derive(Debug, Default)]
pub(super) struct Users {
    present: Mutex<Present>,
    /// The one of them that came first; 0 without any.
    first: AtomicU64,
}

#[derive(Debug, Default)]
struct Present {
    /// The last number that was taken.
    last: u64,
    numbers: BTreeSet<u64>,
}

/// A user is there for as long as this lives.
#[derive(Debug)]
pub struct Presence {
    users: Arc<Users>,
    user: User,
}

impl Users {
    /// A user comes.
    pub(super) fn arrive(self: &Arc<Self>) -> Presence {
        let mut present = self.present.lock();
        present.last += 1;
        let number = present.last;
        present.numbers.insert(number);
        self.set_first(&present);
        drop(present);
        Presence {
            users: Arc::clone(self),
            user: User(number),
        }
    }

    fn set_first(&self, present: &Present) {
        let first = present.numbers.first().copied().unwrap_or(0);
        self.first.store(first, Ordering::Relaxed);
    }

    /// Whether another user has been there for longer than this one.
    pub(super) fn is_second(&self, user: User) -> bool {
        let first = self.first.load(Ordering::Relaxed);
        user != User::UNKNOWN && first != 0 && first != user.0
    }

    /// Whether there is any.
    pub(super) fn are_any(&self) -> bool {
        self.first.load(Ordering::Relaxed) != 0
    }
}

impl Presence {
    /// Who it is.
    pub fn user(&self) -> User {
        self.user
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = self.users.present.lock();
        present.numbers.remove(&self.user.0);
        self.users.set_first(&present);
    }
}
