//! Handlers for snapshots: taking, forking and resetting.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Json, Named, NamedMoment, NamedSnapshot};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::{Disks, fork, history, reset, snapshots};
use crate::model::{Disk, ForkRequest, History, ResetRequest, Snapshot};

/// List a disk's snapshots
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/snapshots",
    tag = "snapshots",
    operation_id = "list_snapshots",
    params(Named),
    responses(
        (status = 200, description = "its snapshots, sorted", body = [Snapshot]),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| snapshots::list(disks, &at.name.into_string()))
        .await
}

/// Take a snapshot
///
/// Keeps the disk's content at this moment. The guest goes on.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "put_snapshot",
    params(NamedSnapshot),
    responses(
        (status = 201, description = "the snapshot was taken", body = Snapshot),
        (status = 404, description = "no such disk"),
        (status = 409, description = "a snapshot of this name exists"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn take(
    State(api): State<Api>,
    At(at): At<NamedSnapshot>,
) -> Result<Response, Failure> {
    let (name, snapshot) = (at.name.into_string(), at.snapshot.into_string());
    api.answer(move |disks| {
        Ok((
            StatusCode::CREATED,
            snapshots::take(disks, &name, &snapshot)?,
        ))
    })
    .await
}

/// Show a snapshot, or a point of the disk's history
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "get_snapshot",
    params(NamedMoment),
    responses(
        (status = 200, description = "the snapshot", body = Snapshot),
        (status = 404, description = "no such disk or snapshot"),
    ),
)]
pub(crate) async fn get(
    State(api): State<Api>,
    At(at): At<NamedMoment>,
) -> Result<Response, Failure> {
    let (name, snapshot) = (at.name.into_string(), at.snapshot.into_string());
    api.ok(move |disks| snapshots::get(disks, &name, &snapshot))
        .await
}

/// Which snapshots may be destroyed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DestroyQuery {
    /// Destroy it even if it has forks, which then can't be reset to it.
    force: bool,
}

/// Destroy a snapshot
#[utoipa::path(
    delete,
    path = "/v1/disks/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "delete_snapshot",
    params(NamedSnapshot, DestroyQuery),
    responses(
        (status = 204, description = "the snapshot was destroyed"),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "it has forks"),
    ),
)]
pub(crate) async fn destroy(
    State(api): State<Api>,
    At(at): At<NamedSnapshot>,
    Asked(query): Asked<DestroyQuery>,
) -> Result<Response, Failure> {
    let (name, snapshot) = (at.name.into_string(), at.snapshot.into_string());
    let end = move |disks: &Disks| {
        let left = snapshots::end(disks, &name, &snapshot, query.force)?;
        Ok(((), vec![left]))
    };
    api.freeing(end).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// List the points of a disk's history
///
/// Each can be forked, compared, read and reset to, as a snapshot can. A history begins and ends
/// with the disk's setting `history`.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/history",
    tag = "snapshots",
    operation_id = "get_history",
    params(Named),
    responses(
        (status = 200, description = "its points, oldest first", body = History),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn history(
    State(api): State<Api>,
    At(at): At<Named>,
) -> Result<Response, Failure> {
    api.ok(move |disks| history::list(disks, &at.name.into_string()))
        .await
}

/// Fork a disk
///
/// Creates a disk with the content of this one or of one of its snapshots. It takes memory only for
/// what changes.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/forks",
    tag = "snapshots",
    operation_id = "fork_disk",
    params(Named),
    request_body = ForkRequest,
    responses(
        (status = 201, description = "the new disk", body = Disk),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "a disk of the new name exists"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn fork(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(request): Json<ForkRequest>,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    api.answer(move |disks| Ok((StatusCode::CREATED, fork::fork(disks, &name, request)?)))
        .await
}

/// Reset a disk
///
/// Replaces the disk's content by that of one of its snapshots, or by the content that it was
/// forked from.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/reset",
    tag = "snapshots",
    operation_id = "reset_disk",
    params(Named),
    request_body = ResetRequest,
    responses(
        (status = 200, description = "the reset disk", body = Disk),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "a front end uses it, or it was not forked"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn reset(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(request): Json<ResetRequest>,
) -> Result<Response, Failure> {
    let name = at.name.into_string();
    let reset = move |disks: &Disks| {
        let (disk, left) = reset::reset(disks, &name, request)?;
        Ok((serde_json::to_vec(&disk), vec![left]))
    };
    let body = api.freeing(reset).await?;
    let body = body.map_err(|error| Failure::internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}
