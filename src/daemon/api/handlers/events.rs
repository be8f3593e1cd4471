//! The handler that streams server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, Name};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::Disks;
use crate::model::{Event, EventKind};

/// Which events to send.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Only events of this disk, which must exist.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    disk: Option<Name>,
}

/// Listen to events
///
/// A stream of server-sent events that begins now. Each has the event's number as `id`, its type as
/// `event`, and the event itself as `data`. If you read too slowly, an event `missed` says how many
/// you missed (`{"missed":12}`). Past events are not kept, so `Last-Event-ID` is ignored. After 15
/// seconds without an event there is a comment. A stream of one disk's events ends with the disk.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "daemon",
    operation_id = "get_events",
    params(EventsQuery),
    responses(
        (status = 200, description = "events, each an `Event`", body = String,
            content_type = "text/event-stream"),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn listen(
    State(api): State<Api>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, Failure> {
    let permit = api.permit(Permit::Listener)?;
    let only = query.disk.map(Name::into_string);
    // Listen before checking that the disk exists, so that no event after the check is missed.
    let events = BroadcastStream::new(api.disks().events().listen());
    if let Some(name) = &only {
        api.disks().expect(name)?;
    }
    let events = Events {
        events,
        disks: Arc::clone(api.disks()),
        only: only.clone(),
        over: false,
    };
    let messages = events.filter_map(move |event| {
        let _held = &permit;
        message(event, only.as_deref())
    });
    let keep_alive = KeepAlive::new().interval(api.options().keep_alive_time);
    let stream = until_stopped(messages, api.stopped());
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

type Heard = Result<Event, BroadcastStreamRecvError>;

/// All events, or those up to the end of one disk.
struct Events {
    events: BroadcastStream<Event>,
    disks: Arc<Disks>,
    only: Option<String>,
    over: bool,
}

impl Stream for Events {
    type Item = Heard;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        if self.over {
            return Poll::Ready(None);
        }
        let event = ready!(Pin::new(&mut self.events).poll_next(cx));
        self.over = match (&event, &self.only) {
            (Some(Ok(event)), Some(only)) => {
                event.kind == EventKind::Destroyed && event.disk.as_ref() == Some(only)
            }
            // The event of its end may be among those that were missed.
            (Some(Err(_)), Some(only)) => self.disks.expect(only).is_err(),
            (_, _) => false,
        };
        Poll::Ready(event)
    }
}

fn message(event: Heard, only: Option<&str>) -> Option<Message> {
    let event = match event {
        Ok(event) => event,
        Err(BroadcastStreamRecvError::Lagged(missed)) => {
            let data = format!("{{\"missed\":{missed}}}");
            return Some(Message::default().event("missed").data(data));
        }
    };
    if only.is_some_and(|only| event.disk.as_deref() != Some(only)) {
        return None;
    }
    let data = serde_json::to_string(&event).ok()?;
    let kind = serde_json::to_value(event.kind).ok()?;
    let message = Message::default().id(event.id.to_string());
    Some(message.event(kind.as_str()?).data(data))
}

/// The messages, until they or the server end.
fn until_stopped(
    messages: impl Stream<Item = Message>,
    stopped: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Message, Infallible>> {
    let end = WatchStream::new(stopped).filter(|stopped| *stopped);
    messages
        .map(Some)
        .chain(tokio_stream::once(None))
        .merge(end.map(|_| None))
        .map_while(|message| message.map(Ok))
}
