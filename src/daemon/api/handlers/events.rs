//! The handler that streams server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::HeaderMap;
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
use crate::daemon::disks::events::{Past, Since};
use crate::model::{Event, EventId};

/// Which events to send.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventsQuery {
    /// Only events of this disk. It must exist, unless past events of it are kept.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    disk: Option<Name>,
    /// Begin with the past events of that many seconds.
    since_seconds: Option<u32>,
    /// Begin with the event after this one, which is `RUN-ID` of an event. The header
    /// `Last-Event-ID` means the same, and is stronger.
    #[param(pattern = "^[0-9a-f]{8}-[0-9]{1,19}$")]
    after: Option<String>,
    /// Whether to go on after the past events.
    follow: bool,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self {
            disk: None,
            since_seconds: None,
            after: None,
            follow: true,
        }
    }
}

/// The header of a client that has reconnected.
const LAST_EVENT_ID: &str = "last-event-id";

impl EventsQuery {
    /// From when on to send events, if past ones are wanted.
    fn since(&self, headers: &HeaderMap) -> Result<Option<Since>, Failure> {
        let header = headers.get(LAST_EVENT_ID);
        let header = header.map(|id| (LAST_EVENT_ID, String::from_utf8_lossy(id.as_bytes())));
        let after = self.after.as_ref().map(|id| ("after", id.into()));
        // Browsers send an empty one if they have none.
        let named = header.filter(|(_, id)| !id.is_empty()).or(after);
        if let Some((field, id)) = named {
            let id: Result<EventId, String> = id.parse();
            let id = id.map_err(|refused| Failure::invalid(refused).at(field))?;
            return Ok(Some(Since::After(id)));
        }
        Ok(self.since_seconds.map(|seconds| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let since = since.unwrap_or_default();
            let since = since.saturating_sub(Duration::from_secs(seconds.into()));
            Since::Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        }))
    }
}

/// Listen to events
///
/// A stream of server-sent events. Each has `RUN-ID` as `id`, its type as `event`, and the event
/// itself as `data`. It begins now, or with past events if the query or `Last-Event-ID` says so.
/// The daemon keeps the last 4096 of its run, and fewer if they are long. An event `missed` says
/// how many you missed (`{"missed":12}`), because you read too slowly or because they are no longer
/// kept. If the daemon was started again since the event that you name, an event `restarted`
/// (`{"restarted":true}`) comes first, and then all events of the present run. After 15 seconds
/// without an event there is a comment. A stream of one disk's events ends with the disk, or when
/// the disk gets another name.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "daemon",
    operation_id = "get_events",
    params(
        EventsQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "the last event that you have \
            seen, as `RUN-ID`", pattern = "^([0-9a-f]{8}-[0-9]{1,19})?$"),
    ),
    responses(
        (status = 200, description = "events, each an `Event`", body = String,
            content_type = "text/event-stream"),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn listen(
    State(api): State<Api>,
    headers: HeaderMap,
    Asked(query): Asked<EventsQuery>,
) -> Result<Response, Failure> {
    let permit = api.permit(Permit::Listener)?;
    let since = query.since(&headers)?;
    let only = query.disk.map(Name::into_string);
    // Listen before checking that the disk exists, so that no event after the check is missed.
    let (past, events) = match since {
        Some(since) => api.disks().events().listen_from(since),
        None => (Past::default(), api.disks().events().listen()),
    };
    let past = Before::new(past, only.as_deref());
    let gone = match &only {
        Some(name) => api.disks().expect(name),
        None => Ok(()),
    };
    if past.is_empty() {
        gone.clone()?;
    }
    let events = Events {
        events: BroadcastStream::new(events),
        disks: Arc::clone(api.disks()),
        over: !query.follow || gone.is_err(),
        only: only.clone(),
    };
    let events = events.filter_map(move |event| {
        let _held = &permit;
        message(event, only.as_deref())
    });
    let messages = tokio_stream::iter(past.messages()).chain(events);
    let keep_alive = KeepAlive::new().interval(api.options().keep_alive_time);
    let stream = until_stopped(messages, api.stopped());
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// Past events, as messages.
#[derive(Debug, Default)]
struct Before {
    restarted: bool,
    missed: u64,
    events: Vec<Event>,
}

impl Before {
    /// Past events, or those of one disk.
    fn new(mut past: Past, only: Option<&str>) -> Self {
        let is_wanted = |it: &Event| only.is_none_or(|only| it.is_about(only));
        past.events.retain(is_wanted);
        Self {
            restarted: past.restarted,
            missed: past.missed,
            events: past.events,
        }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn messages(self) -> impl Iterator<Item = Message> {
        let restarted = self.restarted.then(|| {
            let data = "{\"restarted\":true}";
            Message::default().event("restarted").data(data)
        });
        let missed = (self.missed > 0).then(|| missed(self.missed));
        let events = self.events.into_iter();
        let events = events.filter_map(|event| message(Ok(event), None));
        restarted.into_iter().chain(missed).chain(events)
    }
}

fn missed(count: u64) -> Message {
    let data = format!("{{\"missed\":{count}}}");
    Message::default().event("missed").data(data)
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
            (Some(Ok(event)), Some(only)) => event.ends(only),
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
            return Some(self::missed(missed));
        }
    };
    if only.is_some_and(|only| !event.is_about(only)) {
        return None;
    }
    let data = serde_json::to_string(&event).ok()?;
    let kind = serde_json::to_value(event.kind).ok()?;
    let message = Message::default().id(format!("{}-{}", event.run, event.id));
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
