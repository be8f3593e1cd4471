//! Handlers for faults on command.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::daemon::api::input::{At, Json, Name, Named};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::faults;
use crate::model::{Fault, FaultLog, FaultRequest};

/// A fault in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct NamedFault {
    /// The disk's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    name: Name,
    /// The fault's id.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    id: Name,
}

/// List a disk's faults
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/faults",
    tag = "faults",
    operation_id = "list_faults",
    params(Named),
    responses(
        (status = 200, description = "its faults, in the order in which they are asked",
            body = [Fault]),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn list(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| faults::list(disks, &at.name.into_string()))
        .await
}

/// Add a fault
///
/// It is asked behind those that the disk has, about all requests from now on. It stays until it
/// is removed, also over a restart of the daemon.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/faults",
    tag = "faults",
    operation_id = "add_fault",
    params(Named),
    request_body = FaultRequest,
    responses(
        (status = 201, description = "the fault was added", body = Fault),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn add(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(request): Json<FaultRequest>,
) -> Result<Response, Failure> {
    api.answer(move |disks| {
        let fault = faults::add(disks, &at.name.into_string(), &request.rule)?;
        Ok((StatusCode::CREATED, fault))
    })
    .await
}

/// Remove all faults of a disk
///
/// The requests that they hold go on.
#[utoipa::path(
    delete,
    path = "/v1/disks/{name}/faults",
    tag = "faults",
    operation_id = "clear_faults",
    params(Named),
    responses(
        (status = 204, description = "the disk has no faults"),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn clear(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.done(move |disks| faults::clear(disks, &at.name.into_string()))
        .await
}

/// Remove a fault
///
/// The requests that it holds go on.
#[utoipa::path(
    delete,
    path = "/v1/disks/{name}/faults/{id}",
    tag = "faults",
    operation_id = "remove_fault",
    params(NamedFault),
    responses(
        (status = 204, description = "the fault was removed"),
        (status = 404, description = "no such disk or fault"),
    ),
)]
pub(crate) async fn remove(
    State(api): State<Api>,
    At(at): At<NamedFault>,
) -> Result<Response, Failure> {
    let (name, id) = (at.name.into_string(), at.id.into_string());
    api.done(move |disks| faults::remove(disks, &name, &id))
        .await
}

/// Release what a fault holds
///
/// The requests that it holds go on. It stays in force for later ones.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/faults/{id}/release",
    tag = "faults",
    operation_id = "release_fault",
    params(NamedFault),
    responses(
        (status = 200, description = "the fault", body = Fault),
        (status = 404, description = "no such disk or fault"),
    ),
)]
pub(crate) async fn release(
    State(api): State<Api>,
    At(at): At<NamedFault>,
) -> Result<Response, Failure> {
    let (name, id) = (at.name.into_string(), at.id.into_string());
    api.ok(move |disks| faults::release(disks, &name, &id))
        .await
}

/// Show which faults fired
///
/// The last firings since the daemon started, at most 4096.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/fault-log",
    tag = "faults",
    operation_id = "get_fault_log",
    params(Named),
    responses(
        (status = 200, description = "the last firings, the oldest first", body = FaultLog),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn log(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| faults::log(disks, &at.name.into_string()))
        .await
}
