//! A refused system call: which one, by which thread.

use syscalls::Sysno;

use super::kind::Kind;
use crate::store::OwnerWords;

/// The index of the owner word that has the refusal which ended the last process. The crash handler
/// has those before it.
const WORD: usize = 3;
const NOTED: u64 = 1 << 63;
const IS_FOREIGN: u64 = 1 << 62;

/// A system call that was refused, as 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(u64);

impl Refusal {
    /// The call with this number, by a thread of this kind. `is_foreign`: it was made as programs
    /// of another architecture make it, so that its number means another call.
    pub(super) fn new(kind: u8, number: u32, is_foreign: bool) -> Self {
        let foreign = if is_foreign { IS_FOREIGN } else { 0 };
        Self(NOTED | foreign | u64::from(kind) << 32 | u64::from(number))
    }

    /// A refusal from its bits.
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        (bits & NOTED != 0).then_some(Self(bits))
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The refusal that ended the process before this one, if one did. It is forgotten.
    pub(super) fn take(words: &OwnerWords) -> Option<Self> {
        let found = Self::from_bits(words.get(WORD))?;
        words.set(WORD, 0);
        Some(found)
    }

    /// Keep it for the next process, unless another one is kept. Safe in a signal handler.
    pub(super) fn keep(self, words: &OwnerWords) {
        if words.get(WORD) == 0 {
            words.set(WORD, self.0);
        }
    }

    /// The kind of the thread, in one word.
    pub(crate) fn thread(self) -> &'static str {
        let number = usize::try_from(self.0 >> 32 & 0xff).unwrap_or(0);
        Kind::ALL.get(number).map_or("unknown", |kind| kind.name())
    }

    /// The number of the call.
    pub(crate) fn number(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(u32::MAX)
    }

    /// The name of the call.
    pub(crate) fn call(self) -> &'static str {
        let known = usize::try_from(self.number()).ok().and_then(Sysno::new);
        match known {
            _ if self.0 & IS_FOREIGN != 0 => "of another architecture",
            Some(call) => call.name(),
            None => "unknown",
        }
    }
}
