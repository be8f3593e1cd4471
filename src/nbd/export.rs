//! What is served.

use std::fmt;

/// What a server serves to its clients.
pub trait Export: Send + Sync + fmt::Debug {
    /// What it is. This never changes.
    fn about(&self) -> &About;

    /// Execute an operation, whose range lies inside [`About::size_bytes`]. It may wait, but no
    /// longer than until `is_gone` returns that there is no client any more.
    ///
    /// # Errors
    /// What to answer instead.
    fn execute(&self, operation: Operation<'_>, is_gone: &dyn Fn() -> bool) -> Result<(), Errno>;

    /// The run of bytes from `at_bytes` on that are all mapped or all not. It may end at
    /// `end_bytes` although the bytes there are the same.
    ///
    /// # Errors
    /// What to answer instead.
    fn allocation(&self, at_bytes: u64, end_bytes: u64) -> Result<Run, Errno>;

    /// The names after which [`Export::changes`] can be asked, sorted.
    fn bitmaps(&self) -> Vec<String>;

    /// Whether [`Export::changes`] can be asked after this name.
    fn has_bitmap(&self, name: &str) -> bool;

    /// What has changed since `name` was taken: at most `most` runs, from `at_bytes` on without
    /// gaps, at least one of them, and none of them beyond `end_bytes`.
    ///
    /// # Errors
    /// What to answer instead.
    fn changes(
        &self,
        name: &str,
        at_bytes: u64,
        end_bytes: u64,
        most: usize,
    ) -> Result<Vec<Run>, Errno>;
}

/// What an export is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its name. The empty name means it too.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// Its size in bytes, a multiple of `block_bytes`.
    pub size_bytes: u64,
    /// Offsets and lengths must be multiples of this power of two.
    pub block_bytes: u32,
    /// Whether clients may write.
    pub is_writable: bool,
    /// Whether all clients of it see the same content, so that one may use several connections.
    pub is_shared: bool,
}

/// An operation on an export.
#[derive(Debug)]
pub enum Operation<'a> {
    /// Fill the buffer from this offset on.
    Read {
        /// From where.
        at_bytes: u64,
        /// To where.
        into: &'a mut [u8],
    },
    /// Write the buffer to this offset.
    Write {
        /// To where.
        at_bytes: u64,
        /// From where.
        from: &'a [u8],
    },
    /// Have a range read zero.
    Zero {
        /// From where.
        at_bytes: u64,
        /// How much.
        len_bytes: u32,
        /// Whether that may unmap it.
        may_unmap: bool,
    },
    /// Give a range back.
    Discard {
        /// From where.
        at_bytes: u64,
        /// How much.
        len_bytes: u32,
    },
    /// Make earlier writes stable.
    Flush,
}

/// Bytes that have something in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many, at least one.
    pub len_bytes: u64,
    /// Whether they are mapped, or have changed.
    pub is_set: bool,
}

/// The error numbers of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// The export is read-only.
    Perm,
    /// It failed.
    Io,
    /// The request is wrong.
    Inval,
    /// There is no memory for it, or it lies beyond the end.
    NoSpace,
    /// It isn't supported.
    NotSup,
    /// The export is gone.
    Shutdown,
}

impl Errno {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Perm => 1,
            Self::Io => 5,
            Self::Inval => 22,
            Self::NoSpace => 28,
            Self::NotSup => 95,
            Self::Shutdown => 108,
        }
    }
}
