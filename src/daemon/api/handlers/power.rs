//! Handlers for power cuts.

use axum::extract::State;
use axum::response::Response;

use crate::daemon::api::input::Json;
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::power;
use crate::model::{Disk, PowerCut, PowerCutRequest, PowerOnRequest};

/// Cut the power of disks
///
/// All of them at one instant. Front ends lose their connections. What was stable is there; each
/// volatile write is kept, lost, torn or garbage, as the policy and the seed say. Then the disks
/// listen again. With `fork` the disk goes on, and what it would be is made beside it.
#[utoipa::path(
    post,
    path = "/v1/power-cut",
    tag = "disks",
    operation_id = "power_cut",
    request_body = PowerCutRequest,
    responses(
        (status = 200, description = "what was lost", body = PowerCut),
        (status = 404, description = "no such disk"),
        (status = 409, description = "a disk of the fork's name exists, or one is importing"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn cut(
    State(api): State<Api>,
    Json(request): Json<PowerCutRequest>,
) -> Result<Response, Failure> {
    api.ok(move |disks| power::cut(disks, &request)).await
}

/// Turn the power of disks on again
///
/// After a power cut with `off`. A disk that has power stays as it is.
#[utoipa::path(
    post,
    path = "/v1/power-on",
    tag = "disks",
    operation_id = "power_on",
    request_body = PowerOnRequest,
    responses(
        (status = 200, description = "the disks", body = [Disk]),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn on(
    State(api): State<Api>,
    Json(request): Json<PowerOnRequest>,
) -> Result<Response, Failure> {
    api.ok(move |disks| power::on(disks, &request.disks)).await
}
