//! The server's side of NBD: the network block device protocol, over any stream of bytes.
//!
//! [`serve`] negotiates with one client and answers its requests, until the client leaves. What it
//! serves is an [`Export`]. This room knows messages and their order. It knows no disks, threads or
//! sockets of any kind: a [`Stream`] waits, and says when the client is gone.
//!
//! Served are fixed newstyle negotiation, structured replies and metadata contexts, as
//! <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md> describes them. TLS and
//! extended headers are not: `docs/guide/nbd.md` has a table.
//!
//! A client is not trusted. Every length that it sends is bounded before anything is allocated,
//! and every wait has an end, except for the wait for its next request.
//!
//! Files import from those above them in this table only.
//!
//! | file | what it holds |
//! |---|---|
//! | `numbers` | the numbers of the protocol |
//! | `error` | why a conversation ends |
//! | `export` | what is served |
//! | `stream` | the bytes of a client: whole messages within their time, and replies |
//! | `options` | options of the negotiation, parsed |
//! | `request` | requests, parsed |
//! | `handshake` | the negotiation |
//! | `transmission` | requests and their replies |
//! | `keep` | a client that only keeps an export |

mod error;
mod export;
mod handshake;
mod keep;
mod numbers;
mod options;
mod request;
mod stream;
mod transmission;

pub use error::Error;
pub use export::{About, Errno, Export, Operation, Run};
pub use keep::keep;
pub use numbers::{ALLOCATION, BITMAP_PREFIX, MOST_PAYLOAD_BYTES};
pub use stream::{Pace, Socket, Stream};

use handshake::Negotiated;
use stream::Wire;

/// Serve `export` to one client until it leaves.
///
/// # Errors
/// Why it was cut off instead.
pub fn serve(stream: &mut dyn Stream, export: &dyn Export, pace: Pace) -> Result<(), Error> {
    let mut wire = Wire::new(stream, pace);
    let ended = converse(&mut wire, export);
    if !matches!(ended, Err(Error::Slow(_) | Error::Socket(_))) {
        // What was asked for before the end is answered, if the client still reads.
        let _ = wire.flush();
    }
    ended
}

fn converse(wire: &mut Wire<'_>, export: &dyn Export) -> Result<(), Error> {
    match handshake::negotiate(wire, export)? {
        Negotiated::Left => Ok(()),
        Negotiated::Go(agreed) => transmission::serve(wire, export, &agreed),
    }
}
