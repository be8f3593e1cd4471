//! Bodies whose request is answered before all of them has come.
//!
//! A refusal comes while its client still sends. If the connection ended at once, many clients
//! would fail with "broken pipe" and never read why. So the rest is read for a while, and dropped.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;

/// For how long: a client that hasn't read the answer by then has to do with its error.
const LONGEST: Duration = Duration::from_secs(2);

/// A body that is read on when it is dropped before its end.
struct Lingering(Option<Body>);

/// Have the body of a request be one.
pub(crate) async fn linger(request: Request) -> Request {
    request.map(|body| match body.is_end_stream() {
        true => body,
        false => Body::new(Lingering(Some(body))),
    })
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.0.as_ref().map_or_else(none, HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        // Outside of the event loop there is no connection any more.
        let Ok(event_loop) = Handle::try_current() else {
            return;
        };
        event_loop.spawn(tokio::time::timeout(LONGEST, async move {
            while let Some(Ok(_)) = body.frame().await {}
        }));
    }
}
