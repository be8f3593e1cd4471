//! Handlers for the figures of all disks.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::disks::{ListQuery, labels};
use crate::daemon::api::input::{Asked, Parameters};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::describe;
use crate::model::{By, Stats, Usage};

/// Show the counters of all disks
///
/// Of all disks, or those with all the given labels, sorted by name. A kind of request that a disk
/// never had is left out.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "disks",
    operation_id = "list_stats",
    params(ListQuery),
    responses((status = 200, description = "the counters of each disk", body = [Stats])),
)]
pub(crate) async fn stats(
    State(api): State<Api>,
    Parameters(query): Parameters,
) -> Result<Response, Failure> {
    let labels = labels(query)?;
    api.ok(move |disks| Ok(describe::all_stats(disks, &labels)))
        .await
}

/// By what to add up.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// `group`, or `label=KEY`.
    #[param(pattern = "^(group|label=[A-Za-z0-9._/-]{1,63})$")]
    by: String,
}

/// Show what disks take and do by label or group
///
/// For each value of a label, or each group that has disks, the sums of its disks. Disks without
/// one come last.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = "daemon",
    operation_id = "get_usage",
    params(UsageQuery),
    responses((status = 200, description = "the sums, by value", body = [Usage])),
)]
pub(crate) async fn usage(
    State(api): State<Api>,
    Asked(query): Asked<UsageQuery>,
) -> Result<Response, Failure> {
    let by: Result<By, String> = query.by.parse();
    let by = by.map_err(|refused| Failure::invalid(refused).at("by"))?;
    api.ok(move |disks| Ok(describe::usage(disks, &by))).await
}
