//! The bodies of requests: none, JSON, or a stream of any length.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};

/// How much of a body may be on its way: the daemon and this program rarely wait for each other.
pub(super) const AHEAD_BYTES: usize = 1 << 20;

/// A request's body.
pub(super) type Content = UnsyncBoxBody<Bytes, io::Error>;

pub(super) fn empty() -> Content {
    full(Vec::new())
}

pub(super) fn full(bytes: Vec<u8>) -> Content {
    let body = Full::new(Bytes::from(bytes));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A body that is made part by part. Making a part may block, since nothing else runs on this
/// thread.
pub(super) struct Parts<I>(pub(super) I);

impl<I: Iterator<Item = io::Result<Bytes>> + Unpin> Body for Parts<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|part| part.map(Frame::data)))
    }
}
