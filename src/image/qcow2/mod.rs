//! qcow2, the format of QEMU: versions 2 and 3, clusters that are compressed with zlib or zstd,
//! subclusters, and chains of images.
//!
//! Nothing that an image says is believed: each offset is checked against the file's size before
//! it is read, tables are read in pieces of a fixed size, and what is read in all can't be more
//! than the file has.
//!
//! | file | what it holds |
//! |---|---|
//! | `header` | the header and its extensions, parsed |
//! | `layer` | one image of a chain: where the bytes of a place are |
//! | `chain` | images, each a change of the next one |
//! | `unpack` | decompressing clusters |
//! | `reader` | reading a chain, several parts at the same time |
//! | `layout` | where everything is in an image that is written |
//! | `writer` | writing an image front to back |

mod chain;
mod header;
mod layer;
mod layout;
mod reader;
mod unpack;
mod writer;

pub(super) use chain::Chain;
pub(super) use layout::CLUSTER_BYTES as WRITTEN_CLUSTER_BYTES;
pub(super) use reader::Qcow2Reader;
pub(super) use writer::Qcow2Writer;
