//! A body that work threads make, chunk by chunk, as the client reads it.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::model::Problem;

/// How many chunks may wait to be sent.
const WAITING: usize = 1;

/// A body of the chunks that `next` makes of `source`, each on a work thread. An empty chunk says
/// that `next` needs another turn. The body breaks off if `next` fails, and nothing more is made
/// once the client has disconnected, or has read nothing for `idle`.
pub(crate) fn produced<S: Send + 'static>(
    source: S,
    next: fn(&mut S) -> Result<Option<Bytes>, Problem>,
    permit: OwnedSemaphorePermit,
    idle: Duration,
) -> Body {
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _permit = permit;
        let mut source = Some(source);
        while let Some(mut current) = source.take()
            && !send.is_closed()
        {
            let made = tokio::task::spawn_blocking(move || (next(&mut current), current)).await;
            let chunk = match made {
                Ok((Ok(Some(chunk)), current)) => {
                    source = Some(current);
                    Ok(chunk)
                }
                Ok((Ok(None), _)) => break,
                Ok((Err(problem), _)) => Err(io::Error::other(problem.detail)),
                Err(error) => Err(io::Error::other(error)),
            };
            if chunk.as_ref().is_ok_and(Bytes::is_empty) {
                continue;
            }
            match tokio::time::timeout(idle, send.send(chunk)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receive))
}
