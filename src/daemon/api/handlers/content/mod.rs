//! The handlers of disks' content.
//!
//! | file | what it holds |
//! |---|---|
//! | `download`, `upload` | content of disks, as streams |
//! | `writing` | writing what has arrived while more arrives |
//! | `apart` | what is dropped on a work thread |
//! | `delta` | how content differs from a base, as a stream |
//! | `look`, `write` | digests and differences of content; writing a part of it |

pub(super) mod apart;
pub(crate) mod delta;
pub(crate) mod download;
pub(crate) mod look;
pub(crate) mod upload;
pub(crate) mod write;
pub(super) mod writing;
