//! A request of a log, with its data and both of its moments.

/// The moment of completion of what never completed.
pub const NEVER: u64 = u64::MAX;

/// What a request did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Its data was written.
    Write,
    /// Its range reads zero.
    WriteZeroes {
        /// Whether it was unmapped.
        unmap: bool,
    },
    /// Its range was given back, and reads zero.
    Discard,
    /// What had completed when it was submitted is stable when it has completed.
    Flush,
    /// A mark, which changes nothing: its text.
    Mark(String),
}

/// A request of a log, or a part of a long one.
///
/// Moments are the ticks of one clock of the log, whatever time passed between them: of two
/// moments the smaller one was earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it did.
    pub what: What,
    /// Where its range begins; 0 without one.
    pub start_bytes: u64,
    /// The length of its range; 0 without one.
    pub length_bytes: u64,
    /// When it was submitted.
    pub submitted: u64,
    /// When it completed, or [`NEVER`].
    pub completed: u64,
    /// Whether it was stable as soon as it had completed.
    pub at_once: bool,
    /// When it reached the disk, in nanoseconds since 1970; 0 if the log doesn't say.
    pub time_ns: u64,
    /// Where its data is in the log, if it is a write.
    pub data_at: u64,
}

impl Request {
    /// Whether it changes the disk.
    pub fn changes(&self) -> bool {
        !matches!(self.what, What::Flush | What::Mark(_))
    }

    /// The end of its range.
    pub fn end_bytes(&self) -> u64 {
        self.start_bytes + self.length_bytes
    }

    /// The text, if it is a mark.
    pub fn mark(&self) -> Option<&str> {
        match &self.what {
            What::Mark(text) => Some(text),
            _ => None,
        }
    }
}
