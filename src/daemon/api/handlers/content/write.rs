//! The handler that writes a part of a disk.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::apart::Apart;
use super::download::PLAIN_TYPE;
use super::upload::{Arriving, ContentFormat, receive};
use super::writing::Receiver;
use crate::daemon::api::input::{Asked, At, Named, content_length, expect_type};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::Disks;
use crate::daemon::disks::content::write::{self, Write};
use crate::model::{Problem, ProblemKind};

/// Where to write, and when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteQuery {
    /// Where the bytes go, in bytes from the beginning of the disk.
    #[param(maximum = 9223372036854775807_u64)]
    start_bytes: u64,
    /// Write even if a front end is connected: whole blocks, which its guest sees one after the
    /// other, and which stay written if the transfer breaks off.
    #[serde(default)]
    #[param(required = false)]
    force: bool,
}

/// Write content
///
/// Writes the body's bytes into the disk; the rest stays. They may begin and end anywhere. The disk
/// keeps its content until all of them have arrived, and then changes as a whole. Only beside a
/// front end (with `force`) they are written as they arrive.
#[utoipa::path(
    patch,
    path = "/v1/disks/{name}/data",
    tag = "content",
    operation_id = "patch_data",
    params(Named, WriteQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "the bytes were written"),
        (status = 404, description = "no such disk"),
        (
            status = 409,
            description = "a front end uses it, something else wrote to it, or its first content \
                is incomplete",
        ),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn write_content(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<WriteQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    expect_type(&headers, &[PLAIN_TYPE])?;
    let _permit = api.permit(Permit::Transfer)?;
    let (name, start, force) = (at.name.into_string(), query.start_bytes, query.force);
    let begin = move |disks: &Disks| write::begin(disks, &name, start, force);
    // Dropped on a work thread, wherever that happens: it may hold what was written.
    let write = Apart::new(Arc::new(api.work(begin).await??));
    let room = write.room_bytes();
    if content_length(&headers).is_some_and(|length| length > room) {
        let detail = format!("the content has more than the {room} bytes up to the disk's end");
        return Err(Failure::new(ProblemKind::TooLarge, detail));
    }
    // Bytes for a part of a disk are no image, whatever they begin with.
    let arriving = Arriving::new(&headers, Some(ContentFormat::Raw));
    let length = match receive(&api, &write, arriving, body).await {
        Ok(length) => length,
        Err(failure) => {
            write.end().await;
            return Err(failure);
        }
    };
    let write = Arc::clone(&write);
    api.freeing(move |disks| Ok(((), write.finish(disks, length)?)))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Receiver for Write {
    fn size_bytes(&self) -> u64 {
        self.room_bytes()
    }

    fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.write(start_bytes, bytes)
    }

    fn is_whole(&self) -> bool {
        self.is_whole()
    }

    // A part has no progress that is told, and its client hears why it failed.
    fn reached(&self, _bytes: u64) {}

    fn fail(&self, _reason: &str) {}
}
