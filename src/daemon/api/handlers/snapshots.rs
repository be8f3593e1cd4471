//! Handlers for snapshots: taking, forking and resetting.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Json, MergePatch, Named, NamedMoment, NamedSnapshot};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::{Disks, Made, fork, history, rename, reset, snapshots};
use crate::model::{
    Disk, ForkRequest, Forked, ForksRequest, History, ResetRequest, ResetsRequest, Snapshot,
    SnapshotPatch, SnapshotRenameRequest, SnapshotsRequest,
};

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

/// Protect a snapshot
///
/// A merge patch (RFC 7396). A protected snapshot can't be destroyed, nor its disk with it.
#[utoipa::path(
    patch,
    path = "/v1/disks/{name}/snapshots/{snapshot}",
    tag = "snapshots",
    operation_id = "patch_snapshot",
    params(NamedSnapshot),
    request_body(content = SnapshotPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "the changed snapshot", body = Snapshot),
        (status = 404, description = "no such disk or snapshot"),
    ),
)]
pub(crate) async fn patch(
    State(api): State<Api>,
    At(at): At<NamedSnapshot>,
    MergePatch(patch): MergePatch<SnapshotPatch>,
) -> Result<Response, Failure> {
    let (name, snapshot) = (at.name.into_string(), at.snapshot.into_string());
    api.ok(move |disks| snapshots::patch(disks, &name, &snapshot, patch))
        .await
}

/// Rename a snapshot
///
/// Its content stays, and so do the disks that were forked from it.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/snapshots/{snapshot}/rename",
    tag = "snapshots",
    operation_id = "rename_snapshot",
    params(NamedSnapshot),
    request_body = SnapshotRenameRequest,
    responses(
        (status = 200, description = "the snapshot, under its new name", body = Snapshot),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "the disk has a snapshot of the new name, or its recording \
            begins with this one"),
    ),
)]
pub(crate) async fn rename(
    State(api): State<Api>,
    At(at): At<NamedSnapshot>,
    Json(request): Json<SnapshotRenameRequest>,
) -> Result<Response, Failure> {
    let (name, snapshot) = (at.name.into_string(), at.snapshot.into_string());
    api.ok(move |disks| rename::rename_snapshot(disks, &name, &snapshot, &request.name))
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

/// Fork disks in numbers
///
/// Creates disks with the content that their sources have at one moment: all of them or none. A
/// disk that exists stays, if it was forked from the same source and has the given settings;
/// otherwise it is a conflict, and nothing is created. So a repeated request changes nothing.
#[utoipa::path(
    post,
    path = "/v1/forks",
    tag = "snapshots",
    operation_id = "fork_disks",
    request_body = ForksRequest,
    responses(
        (status = 201, description = "disks were created", body = Forked),
        (status = 200, description = "all of them existed, as requested", body = Forked),
        (status = 404, description = "no such disk, snapshot, golden image or group"),
        (status = 409, description = "another disk of one of the names exists"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn fork_all(
    State(api): State<Api>,
    Json(request): Json<ForksRequest>,
) -> Result<Response, Failure> {
    api.answer(move |disks| {
        let (forked, made) = fork::fork_all(disks, &request)?;
        let status = match made {
            Made::New => StatusCode::CREATED,
            Made::Existing => StatusCode::OK,
        };
        Ok((status, forked))
    })
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
        Ok((serde_json::to_vec(&disk), left))
    };
    json(api.freeing(reset).await?)
}

/// An answer that was serialised.
fn json(body: serde_json::Result<Vec<u8>>) -> Result<Response, Failure> {
    let body = body.map_err(|error| Failure::internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// Reset disks at one instant
///
/// Resets all of these disks, or none: each to its own snapshot of that name, or to the content
/// that it was forked from.
#[utoipa::path(
    post,
    path = "/v1/resets",
    tag = "snapshots",
    operation_id = "reset_disks",
    request_body = ResetsRequest,
    responses(
        (status = 200, description = "the reset disks, in the order of the request", body = [Disk]),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "a front end uses one of them, or one was not forked"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn reset_all(
    State(api): State<Api>,
    Json(request): Json<ResetsRequest>,
) -> Result<Response, Failure> {
    let reset = move |disks: &Disks| {
        let how = ResetRequest {
            to: request.to,
            force: request.force,
        };
        let (disks, left) = reset::reset_all(disks, &request.disks, &how)?;
        Ok((serde_json::to_vec(&disks), left))
    };
    json(api.freeing(reset).await?)
}

/// Take snapshots of one moment
///
/// Keeps the content that several disks have at one moment: all of them, or none.
#[utoipa::path(
    post,
    path = "/v1/snapshots",
    tag = "snapshots",
    operation_id = "take_snapshots",
    request_body = SnapshotsRequest,
    responses(
        (status = 201, description = "the snapshots, in the same order", body = [Snapshot]),
        (status = 404, description = "no such disk"),
        (status = 409, description = "one of the disks has a snapshot of this name"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn take_all(
    State(api): State<Api>,
    Json(request): Json<SnapshotsRequest>,
) -> Result<Response, Failure> {
    api.answer(move |disks| {
        let taken = snapshots::take_all(disks, &request.disks, &request.name)?;
        Ok((StatusCode::CREATED, taken))
    })
    .await
}
