//! Bodies whose request is answered before all of them has come.
//!
//! A refusal comes while its client still sends. If the connection ended at once, many clients
//! would fail with "broken pipe" and never read why. So the rest is read for a while, and dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Error;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;

/// For how long: a client that hasn't read the answer by then has to do with its error.
const LONGEST: Duration = Duration::from_secs(2);

/// A body whose rest is read when it was dropped before its end and the answer is there. Until then
/// its client waits: it must not send all of it before it hears that it is refused.
struct Lingering {
    body: Option<Body>,
    rest: Arc<Mutex<Rest>>,
}

enum Rest {
    /// There is no answer yet; the body, if it was dropped.
    Waits(Option<Body>),
    Answered,
}

/// Answer a request whose body may be dropped before its end.
pub(crate) async fn linger(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let rest = Arc::new(Mutex::new(Rest::Waits(None)));
    let lingering = |body| Lingering {
        body: Some(body),
        rest: Arc::clone(&rest),
    };
    let response = next
        .run(request.map(|body| Body::new(lingering(body))))
        .await;
    let before = std::mem::replace(&mut *rest.lock(), Rest::Answered);
    if let Rest::Waits(Some(body)) = before {
        read_on(body);
    }
    response
}

fn read_on(mut body: Body) {
    // Outside of the event loop there is no connection any more.
    let Ok(event_loop) = Handle::try_current() else {
        return;
    };
    event_loop.spawn(tokio::time::timeout(LONGEST, async move {
        while let Some(Ok(_)) = body.frame().await {}
    }));
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(none, HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        let mut rest = self.rest.lock();
        match &mut *rest {
            Rest::Waits(waits) => *waits = Some(body),
            Rest::Answered => read_on(body),
        }
    }
}
