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
//! | `outline` | where an image will have data |
//! | `assembly` | putting clusters together |
//! | `writer` | writing an image of which nothing is known before: its header is changed last |
//! | `front` | writing an image with an outline into a pipe, its tables first |

mod assembly;
mod chain;
mod front;
mod header;
mod layer;
mod layout;
mod outline;
mod reader;
mod unpack;
mod writer;

pub(super) use chain::Chain;
pub(super) use front::FrontWriter;
pub(super) use layout::CLUSTER_BYTES as WRITTEN_CLUSTER_BYTES;
pub use outline::Outline;
pub(super) use reader::Qcow2Reader;
pub(super) use writer::Qcow2Writer;
