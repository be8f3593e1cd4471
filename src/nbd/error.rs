//! Why a conversation with a client ends, other than because the client leaves.

use std::io;

/// Why a client was cut off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed.
    #[error("socket: {0}")]
    Socket(io::Error),
    /// The client closed the connection within a message.
    #[error("the client closed the connection within a message")]
    CutOff,
    /// A message or the reading of a reply took too long.
    #[error("the client was too slow with {0}")]
    Slow(&'static str),
    /// What came is not the protocol.
    #[error("{what} begins with {found:#x}, which is not NBD")]
    Magic {
        /// What it should have been.
        what: &'static str,
        /// What stood there.
        found: u64,
    },
    /// The client needs something that no version of the protocol has here.
    #[error("unknown client flags {0:#x}")]
    ClientFlags(u32),
    /// An option has more data than any may have.
    #[error("option {option} announces {len_bytes} bytes")]
    LongOption {
        /// Its number.
        option: u32,
        /// The length that it announces.
        len_bytes: u32,
    },
    /// A negotiation without an end.
    #[error("more than {0} options in one negotiation")]
    ManyOptions(u32),
    /// The client wants another export, with an option that has no reply for that.
    #[error("there is no export {0:?}")]
    NoExport(String),
    /// A write has more data than any may have.
    #[error("a write announces {0} bytes")]
    LongWrite(u32),
    /// Reading failed after a part of the reply was sent.
    #[error("reading failed after a part of the reply was sent")]
    HalfRead,
}
