//! What was decided about one request.

use std::time::Instant;

/// What becomes of a request once it no longer waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out.
    #[default]
    Run,
    /// It fails with an I/O error.
    Fail,
    /// It fails as unsupported.
    Unsupported,
    /// It fails for lack of memory.
    Full,
    /// It succeeds, and nothing is done.
    Lost,
    /// Its first sectors are written.
    Torn {
        /// How many.
        sectors: u64,
        /// Whether it succeeds nonetheless.
        is_silent: bool,
    },
    /// It is written this many sectors further on.
    Misdirected(i64),
    /// Some bits of what is read are wrong: those of [`Flips`](super::Flips).
    Corrupt {
        /// How many.
        bits: u32,
        /// Which ones.
        seed: u64,
    },
}

/// The rule that holds a request until it is released, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The rule's number.
    pub(super) rule: u32,
    /// How often that rule had been released.
    pub(super) released: u32,
}

/// How long a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until this moment.
    pub until: Instant,
    /// The rule that may let it go earlier. `None` if it waits for the moment only.
    pub holder: Option<Holder>,
    /// Whether the connection of its front end ends, and it is never answered over that one.
    pub disconnects: bool,
}

/// What was decided about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How long it waits first, if it does.
    pub hold: Option<Hold>,
    /// What becomes of it then.
    pub fate: Fate,
    /// Whether there were no rules to ask.
    pub is_unruled: bool,
}
