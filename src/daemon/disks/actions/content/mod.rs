//! Looking at the content of a disk, and changing a part of it, without a front end.
//!
//! | file | what it holds |
//! |---|---|
//! | `reader` | the content of a disk at one moment, and its map |
//! | `digest` | the digest of content |
//! | `compare` | where two contents differ |
//! | `staged` | content beside a disk that becomes the disk's at one instant |
//! | `write` | writing a part of a disk |
//!
//! Each imports only from those above it.

pub mod compare;
pub mod digest;
mod reader;
pub(crate) mod staged;
pub mod write;

pub use reader::{Reader, map, reader};
