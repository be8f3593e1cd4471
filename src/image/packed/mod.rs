//! Compressed images: gzip, xz and zstd as streams, and zstd in frames that can be found.
//!
//! | file | what it holds |
//! |---|---|
//! | `holes` | zstd frames that are nothing but zeros |
//! | `labels` | what ramblk writes into skippable frames: labels in front, an index behind |
//! | `table` | the seek table, which says where each frame is |
//! | `frames` | writing an image in frames |
//! | `seekable` | reading frames, several at the same time |
//! | `stream` | decompressing a stream on a thread of its own |

mod frames;
mod holes;
mod labels;
mod seekable;
mod stream;
mod table;

pub(super) use frames::FrameWriter;
pub(super) use labels::Front;
pub(super) use seekable::{SeekableReader, is_a_change};
pub(super) use stream::{PackedReader, Sequential, Unpacked, unpack};
