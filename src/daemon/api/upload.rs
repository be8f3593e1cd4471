//! Other content for a disk, as a stream of any length.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio_stream::StreamExt;
use utoipa::{IntoParams, ToSchema};

use crate::image::{Known, Origin, Probe};

use super::super::disks::Writer;
use super::super::model::{Problem, ProblemKind};
use super::download::PLAIN_TYPE;
use super::failure::Failure;
use super::frames::{FRAMES_TYPE, Parser, Step};
use super::input::{Asked, At, Named, content_length, expect_type, media_type};
use super::state::{Api, Place};

/// Whether it is meant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UploadQuery {
    /// Do it though a front end is connected, whose guest sees other bytes from then on.
    force: bool,
    /// What plain bytes are. `raw`: the disk's, whatever they look like. Without it they are
    /// refused if they begin or end like a compressed file, an archive or an image of another
    /// format. A guest may have written such bytes: who sends what guests wrote says `raw`.
    #[param(inline)]
    format: Option<ContentFormat>,
}

/// Formats of content that are taken.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ContentFormat {
    /// Its bytes are the disk's.
    Raw,
}

/// Write content
///
/// As `application/octet-stream` the bytes are written from the beginning of the disk on, and what
/// lies behind them stays. As `application/vnd.ramblk.extents` (see `get_data`) what lies between
/// frames is discarded, up to where the last one says. Plain bytes that are no raw image are
/// refused (see `format`). Of an upload that fails, what came before
/// stays written.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/data",
    tag = "content",
    operation_id = "put_data",
    params(Named, UploadQuery),
    request_body(content(
        (Vec<u8> = "application/octet-stream"),
        (Vec<u8> = "application/vnd.ramblk.extents"),
    )),
    responses(
        (status = 204, description = "it is written"),
        (status = 404, description = "no such disk"),
        (status = 409, description = "a front end uses it, or it is read-only"),
        (status = 507, description = "there is no room for it"),
    ),
)]
pub(super) async fn set_content(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    expect_type(&headers, &[PLAIN_TYPE, FRAMES_TYPE])?;
    let place = api.place(Place::Transfer)?;
    let name = at.name.into_string();
    let writer = api.work(move |disks| disks.writer(&name, query.force));
    let writer = Arc::new(writer.await??);
    let size = writer.size_bytes();
    let mut probe = query.format.is_none().then(Probe::default);
    let mut parser = if media_type(&headers) == FRAMES_TYPE {
        // Whoever makes frames knows where data is: no file has them by mistake.
        probe = None;
        Parser::frames(size)
    } else {
        if let Some(length) = content_length(&headers).filter(|length| *length > size) {
            let detail = format!(
                "the content has {length} bytes and the disk {size}: resize the disk first"
            );
            return Err(Failure::new(ProblemKind::TooLarge, detail));
        }
        Parser::plain(size)
    };
    let mut pieces = body.into_data_stream();
    let idle = api.options().idle_time;
    loop {
        let next = tokio::time::timeout(idle, pieces.next()).await;
        let Some(piece) = next.map_err(|_| nothing_came(idle.as_secs()))? else {
            break;
        };
        let piece: Bytes =
            piece.map_err(|error| Failure::invalid(format!("the content was cut off: {error}")))?;
        if let Some(known) = probe.as_mut().and_then(|probe| probe.take(&piece)) {
            return Err(foreign(known));
        }
        let steps = parser.take(piece).map_err(Failure::invalid)?;
        perform(&writer, steps).await?;
    }
    if let Some(known) = probe.and_then(|probe| probe.end()) {
        return Err(foreign(known));
    }
    let last = parser.end().map_err(Failure::invalid)?;
    perform(&writer, last.into_iter().collect()).await?;
    drop(place);
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn foreign(known: &Known) -> Failure {
    let (name, hint) = (known.name, known.hint(Origin::Request));
    let detail = format!(
        "the content is {name}, not raw; {hint}; send it with format=raw if the disk is to have \
         these very bytes"
    );
    Failure::new(ProblemKind::UnsupportedMediaType, detail).at("format")
}

fn nothing_came(seconds: u64) -> Failure {
    let detail = format!("nothing came for {seconds} s; what came before is written");
    Failure::new(ProblemKind::Timeout, detail)
}

async fn perform(writer: &Arc<Writer>, steps: Vec<Step>) -> Result<(), Failure> {
    if steps.is_empty() {
        return Ok(());
    }
    let writer = Arc::clone(writer);
    let all = move || steps.iter().try_for_each(|step| write(&writer, step));
    let done = tokio::task::spawn_blocking(all).await;
    done.map_err(|error| Failure::internal(&error))??;
    Ok(())
}

fn write(writer: &Writer, step: &Step) -> Result<(), Problem> {
    match step {
        Step::Write(start, data) => writer.write(*start, data),
        Step::Discard(start, length) => writer.discard(*start, *length),
    }
}
