//! Handlers for recordings.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::content::apart::Apart;
use super::content::download::{ContentStream, PLAIN_TYPE};
use super::content::upload::{Arriving, ContentFormat, receive};
use super::content::writing::Receiver;
use crate::daemon::api::input::{Asked, At, Json, Named, expect_type};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::produced::produced;
use crate::daemon::api::wire::upgrade;
use crate::daemon::disks::crash_state::Held;
use crate::daemon::disks::record::{self, LogUpload};
use crate::daemon::disks::{Disks, crash_state};
use crate::model::{Disk, MarkRequest, Problem, RecordRequest, Recording, StateRequest};

/// The protocol of a connection that holds a disk.
const HOLD: &str = "ramblk-hold";

/// Show a recording
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/recording",
    tag = "recordings",
    operation_id = "get_recording",
    params(Named),
    responses(
        (status = 200, description = "the recording", body = Recording),
        (status = 404, description = "no such disk, or it has no recording"),
    ),
)]
pub(crate) async fn get(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| record::show(disks, &at.name.into_string()))
        .await
}

/// Record a disk
///
/// From now on everything that changes the disk is logged, with its data and with the moments of
/// its submission and completion, beside a front end or not. The content at this moment is kept as
/// the snapshot `recording`. Anything else that replaces content (a reset, an upload, a resize)
/// ends the recording.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/recording",
    tag = "recordings",
    operation_id = "put_recording",
    params(Named),
    request_body = RecordRequest,
    responses(
        (status = 201, description = "the disk is being recorded", body = Recording),
        (status = 404, description = "no such disk"),
        (status = 409, description = "it has a recording, or a snapshot of this name"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn start(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(request): Json<RecordRequest>,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    api.answer(move |disks| Ok((StatusCode::CREATED, record::start(disks, &name, &request)?)))
        .await
}

/// End a recording
///
/// What was recorded is kept.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/recording/stop",
    tag = "recordings",
    operation_id = "stop_recording",
    params(Named),
    responses(
        (status = 200, description = "the recording, which has ended", body = Recording),
        (status = 404, description = "no such disk, or it has no recording"),
    ),
)]
pub(crate) async fn stop(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| record::stop(disks, &at.name.into_string()))
        .await
}

/// Add a mark
///
/// Puts a line of text between the requests that have completed and those that follow.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/recording/marks",
    tag = "recordings",
    operation_id = "mark_recording",
    params(Named),
    request_body = MarkRequest,
    responses(
        (status = 201, description = "the recording, with the mark", body = Recording),
        (status = 404, description = "no such disk, or it has no recording"),
        (status = 409, description = "the recording has ended"),
    ),
)]
pub(crate) async fn mark(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(request): Json<MarkRequest>,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    let mark = move |disks: &Disks| record::mark(disks, &name, &request.text);
    api.answer(move |disks| Ok((StatusCode::CREATED, mark(disks)?)))
        .await
}

/// Make a crash state
///
/// Creates a disk with a state that a crash may have left of the recorded disk. It takes memory
/// only for what differs from the base. With `Connection: Upgrade` and `Upgrade: ramblk-hold` it is
/// destroyed when the connection ends, on which you send nothing more, or when the daemon ends.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/recording/states",
    tag = "recordings",
    operation_id = "make_state",
    params(Named),
    request_body = StateRequest,
    responses(
        (status = 101, description = "the new disk is there as long as the connection"),
        (status = 201, description = "the new disk", body = Disk),
        (status = 404, description = "no such disk, or it has no recording"),
        (status = 409, description = "a disk of the new name exists"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn state(
    State(api): State<Api>,
    At(at): At<Named>,
    mut request: Request,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    let upgraded = upgrade::asked(&mut request, HOLD);
    let Json(request) = Json::<StateRequest>::from_request(request, &api).await?;
    if let Some(upgraded) = upgraded {
        let permit = api.permit(Permit::Held)?;
        let disks = Arc::clone(api.disks());
        let make = move |_: &Disks| crash_state::hold(&disks, &name, &request).map(Apart::new);
        let held = api.work(make).await??;
        tokio::spawn(hold(upgraded, held, api.stopped(), permit));
        return Ok(upgrade::switching(HOLD));
    }
    let make = move |disks: &Disks| crash_state::make(disks, &name, &request);
    api.answer(move |disks| Ok((StatusCode::CREATED, make(disks)?)))
        .await
}

/// Keep a disk for as long as a connection.
async fn hold(
    upgraded: OnUpgrade,
    held: Apart<Held>,
    mut stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    let connection_ends = async {
        if let Ok(upgraded) = upgraded.await {
            // Whatever comes ends it too: there is nothing to send.
            let _ = TokioIo::new(upgraded).read(&mut [0; 1]).await;
        }
    };
    let daemon_ends = async { stopped.wait_for(|stopped| *stopped).await.map(drop) };
    tokio::select! {
        () = connection_ends => {}
        _ = daemon_ends => {}
    }
    held.end().await;
    drop(permit);
}

/// Which recordings may be removed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    /// Remove it even if disks were forked from its base, which can't be reset to it any more.
    force: bool,
}

/// Remove a recording
///
/// Its log and its base are gone, and the disk stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/disks/{name}/recording",
    tag = "recordings",
    operation_id = "delete_recording",
    params(Named, RemoveQuery),
    responses(
        (status = 204, description = "the recording was removed"),
        (status = 404, description = "no such disk, or it has no recording"),
        (status = 409, description = "disks were forked from its base"),
    ),
)]
pub(crate) async fn remove(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<RemoveQuery>,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    api.freeing(move |disks| Ok(((), record::remove(disks, &name, query.force)?)))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Read a log
///
/// Returns the log as of this moment, in the format of dm-log-writes.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/recording/log",
    tag = "recordings",
    operation_id = "get_log",
    params(Named),
    responses(
        (status = 200, description = "the log", body = Vec<u8>,
            content_type = "application/octet-stream"),
        (status = 404, description = "no such disk, or it has no recording"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn log(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    let name = at.name.into_string();
    let permit = api.permit(Permit::Transfer)?;
    let opened = api.work(move |disks| {
        let (reader, length_bytes) = record::log(disks, &name)?;
        Ok::<_, Problem>((Apart::new(reader), length_bytes))
    });
    let (reader, length_bytes) = opened.await??;
    let source = ContentStream::plain(reader, 0, length_bytes);
    let body = produced(source, ContentStream::next, permit, api.options().idle_time);
    let headers = [
        (CONTENT_TYPE, PLAIN_TYPE.to_owned()),
        (CONTENT_LENGTH, length_bytes.to_string()),
    ];
    Ok((headers, body).into_response())
}

/// Import a log
///
/// The body is a log in the format of dm-log-writes, of a disk of this size which had this content
/// before. It becomes the disk's recording, which has ended, and the content its base.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/recording/log",
    tag = "recordings",
    operation_id = "put_log",
    params(Named),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "the recording", body = Recording),
        (status = 404, description = "no such disk"),
        (status = 409, description = "it has a recording, or a snapshot `recording`"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn set_log(
    State(api): State<Api>,
    At(at): At<Named>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    expect_type(&headers, &[PLAIN_TYPE])?;
    let _permit = api.permit(Permit::Transfer)?;
    let name = at.name.into_string();
    let begun = api.work(move |disks| record::begin_import(disks, &name));
    let upload = Apart::new(Arc::new(begun.await??));
    // A log is no image, whatever it begins with.
    let arriving = Arriving::new(&headers, Some(ContentFormat::Raw));
    let length_bytes = receive(&api, &upload, arriving, body).await?;
    let upload = Arc::clone(&upload);
    let import = move |disks: &Disks| record::import(disks, &upload, length_bytes);
    api.answer(move |disks| Ok((StatusCode::CREATED, import(disks)?)))
        .await
}

impl Receiver for LogUpload {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.write(start_bytes, bytes)
    }

    // Its client hears of both.
    fn reached(&self, _bytes: u64) {}

    fn fail(&self, _reason: &str) {}
}
