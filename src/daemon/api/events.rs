//! What happens, as it happens: server-sent events.

use std::convert::Infallible;

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

use super::super::model::Event;
use super::failure::Failure;
use super::input::{Asked, Name};
use super::state::{Api, Place};

/// Whose events are wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Only what happens to this disk.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    disk: Option<Name>,
}

/// Listen to events
///
/// A stream of server-sent events, from now on. Each has the number of the event as `id`, its type
/// as `event`, and the event itself as `data`. Who reads too slowly gets an event `missed`, whose
/// data says how many were left out (`{"missed":12}`). Past events are not kept: `Last-Event-ID` is
/// not looked at. A comment comes every 15 seconds if nothing else does.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "daemon",
    operation_id = "get_events",
    params(EventsQuery),
    responses(
        (status = 200, description = "events", body = Event, content_type = "text/event-stream"),
    ),
)]
pub(super) async fn listen(
    State(api): State<Api>,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, Failure> {
    let place = api.place(Place::Listener)?;
    let only = query.disk.map(Name::into_string);
    let events = BroadcastStream::new(api.disks().events().listen());
    let messages = events.filter_map(move |event| {
        let _held = &place;
        message(event, only.as_deref())
    });
    let keep_alive = KeepAlive::new().interval(api.options().keep_alive_time);
    let stream = until_stopped(messages, api.stopped());
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

fn message(event: Result<Event, BroadcastStreamRecvError>, only: Option<&str>) -> Option<Message> {
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

/// The messages, as long as the server runs.
fn until_stopped(
    messages: impl Stream<Item = Message>,
    stopped: watch::Receiver<bool>,
) -> impl Stream<Item = Result<Message, Infallible>> {
    let end = WatchStream::new(stopped).filter(|stopped| *stopped);
    messages
        .map(Some)
        .merge(end.map(|_| None))
        .map_while(|message| message.map(Ok))
}
