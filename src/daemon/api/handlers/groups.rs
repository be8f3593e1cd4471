//! Handlers for groups, and for all disks together.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Json, MergePatch, Named};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::{ApplyOptions, Made, apply, describe, groups};
use crate::model::{Applied, Config, Declaration, Group, Limits, LimitsPatch, Pool, Version};

/// List groups
#[utoipa::path(
    get,
    path = "/v1/groups",
    tag = "groups",
    operation_id = "list_groups",
    responses((status = 200, description = "all groups, sorted", body = [Group])),
)]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, Failure> {
    api.ok(|disks| Ok(groups::list(disks))).await
}

/// Create a group
///
/// Creates a group. If it exists with the same limits, nothing changes. Disks that name it share
/// its limits.
#[utoipa::path(
    put,
    path = "/v1/groups/{name}",
    tag = "groups",
    operation_id = "put_group",
    params(Named),
    request_body = Limits,
    responses(
        (status = 201, description = "the group was created", body = Group),
        (status = 200, description = "the group exists with these limits", body = Group),
        (status = 409, description = "it exists with other limits"),
        (status = 507, description = "there are too many groups"),
    ),
)]
pub(crate) async fn put(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(limits): Json<Limits>,
) -> Result<Response, Failure> {
    api.answer(move |disks| {
        let (group, made) = groups::put(disks, &at.name.into_string(), limits)?;
        let status = match made {
            Made::New => StatusCode::CREATED,
            Made::Existing => StatusCode::OK,
        };
        Ok((status, group))
    })
    .await
}

/// Change a group's limits
///
/// A merge patch (RFC 7396) of its limits: absent ones stay, `null` removes one. They apply at
/// once.
#[utoipa::path(
    patch,
    path = "/v1/groups/{name}",
    tag = "groups",
    operation_id = "patch_group",
    params(Named),
    request_body(content = LimitsPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "the changed group", body = Group),
        (status = 404, description = "no such group"),
    ),
)]
pub(crate) async fn patch(
    State(api): State<Api>,
    At(at): At<Named>,
    MergePatch(patch): MergePatch<LimitsPatch>,
) -> Result<Response, Failure> {
    api.ok(move |disks| groups::patch(disks, &at.name.into_string(), patch))
        .await
}

/// Show a group
#[utoipa::path(
    get,
    path = "/v1/groups/{name}",
    tag = "groups",
    operation_id = "get_group",
    params(Named),
    responses(
        (status = 200, description = "the group", body = Group),
        (status = 404, description = "no such group"),
    ),
)]
pub(crate) async fn get(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| groups::get(disks, &at.name.into_string()))
        .await
}

/// Destroy a group
#[utoipa::path(
    delete,
    path = "/v1/groups/{name}",
    tag = "groups",
    operation_id = "delete_group",
    params(Named),
    responses(
        (status = 204, description = "the group was destroyed"),
        (status = 404, description = "no such group"),
        (status = 409, description = "the group has disks"),
    ),
)]
pub(crate) async fn destroy(
    State(api): State<Api>,
    At(at): At<Named>,
) -> Result<Response, Failure> {
    api.done(move |disks| groups::destroy(disks, &at.name.into_string()))
        .await
}

/// Show the memory of all disks
#[utoipa::path(
    get,
    path = "/v1/pool",
    tag = "daemon",
    operation_id = "get_pool",
    responses((status = 200, description = "the pool", body = Pool)),
)]
pub(crate) async fn pool(State(api): State<Api>) -> Result<Response, Failure> {
    api.ok(|disks| Ok(describe::pool(disks))).await
}

/// Show versions
#[utoipa::path(
    get,
    path = "/v1/version",
    tag = "daemon",
    operation_id = "get_version",
    responses((status = 200, description = "versions", body = Version)),
)]
pub(crate) async fn version(State(api): State<Api>) -> Result<Response, Failure> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
    };
    api.ok(|_| Ok(version)).await
}

/// Export the configuration
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "daemon",
    operation_id = "get_config",
    responses((status = 200, description = "all disks and groups", body = Config)),
)]
pub(crate) async fn config(State(api): State<Api>) -> Result<Response, Failure> {
    api.ok(|disks| Ok(apply::config(disks))).await
}

/// How to apply a configuration.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApplyQuery {
    /// Return what would be done, and do nothing.
    dry_run: bool,
    /// Remove what the configuration does not name: disks and groups, and labels, limits, quota,
    /// group, socket_owner and on_full of disks.
    prune: bool,
}

/// Apply a configuration
///
/// Creates the disks and groups that don't exist, and changes settings that can change. Absent
/// disks, groups and fields stay; `null` removes a field, and `prune` everything that is absent.
/// All of it is checked before anything is done.
#[utoipa::path(
    put,
    path = "/v1/config",
    tag = "daemon",
    operation_id = "put_config",
    params(ApplyQuery),
    request_body = Declaration,
    responses(
        (status = 200, description = "what was done, or would be done", body = Applied),
        (status = 404, description = "a disk names a group that does not exist"),
        (status = 409, description = "a disk exists with settings that can't change"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn apply(
    State(api): State<Api>,
    Asked(query): Asked<ApplyQuery>,
    Json(declaration): Json<Declaration>,
) -> Result<Response, Failure> {
    let options = ApplyOptions {
        dry_run: query.dry_run,
        prune: query.prune,
        starting: false,
    };
    api.ok(move |disks| apply::apply(disks, &declaration, options))
        .await
}
