//! Handlers that look at content: its digest, and where it differs from other content.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::apart::Apart;
use crate::daemon::api::input::{Asked, At, Moment, Named};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::produced::produced;
use crate::daemon::disks::content::{compare, digest};
use crate::daemon::disks::{Disks, Target};
use crate::model::{Compared, ComparisonLine, ContentDigest, Problem};

/// The media type of lines of JSON.
pub(crate) const LINES_TYPE: &str = "application/x-ndjson";

/// The content whose digest to return.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DigestQuery {
    /// A snapshot of the disk instead of the disk.
    #[param(
        value_type = Option<String>,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    snapshot: Option<Moment>,
    /// Where the content begins in the disk, in bytes.
    #[param(value_type = Option<u64>, maximum = 9223372036854775807_u64)]
    start_bytes: u64,
    /// How long it is; by default to the end of the disk.
    #[param(value_type = Option<u64>, maximum = 9223372036854775807_u64)]
    length_bytes: Option<u64>,
}

/// Compute a digest
///
/// Returns BLAKE3 of the content as of this moment, or of a part of it, with its zeros: the digest
/// of the same bytes in an exported raw image. It takes as long as it takes to read what is mapped,
/// and to hash the zeros around it (16 MiB for a lone sector) and those beyond the first TiB. It
/// counts as a transfer.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/digest",
    tag = "content",
    operation_id = "get_digest",
    params(Named, DigestQuery),
    responses(
        (status = 200, description = "the digest", body = ContentDigest),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "its first content is incomplete"),
    ),
)]
pub(crate) async fn digest(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<DigestQuery>,
) -> Result<Response, Failure> {
    let _permit = api.permit(Permit::Transfer)?;
    let target = Target {
        disk: at.name.into_string(),
        snapshot: query.snapshot.map(Moment::into_string),
    };
    let (start, length) = (query.start_bytes, query.length_bytes);
    let begin = move |disks: &Disks| digest::begin(disks, &target, start, length).map(Apart::new);
    let mut digesting = api.work(begin).await??;
    // In steps, so that it ends with its client, and other requests get the work threads between.
    loop {
        let step = move |disks: &Disks| {
            let step = digesting.step(disks);
            (step, digesting)
        };
        let (found, rest) = api.work(step).await?;
        digesting = rest;
        if let Some(blake3) = found? {
            let digest = ContentDigest {
                blake3,
                start_bytes: digesting.start_bytes(),
                length_bytes: digesting.length_bytes(),
            };
            return api.ok(move |_| Ok(digest)).await;
        }
    }
}

/// What to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffQuery {
    /// A snapshot of the disk instead of the disk.
    #[param(
        value_type = Option<String>,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    snapshot: Option<Moment>,
    /// The disk or snapshot to compare it with, as `NAME` or `NAME@SNAPSHOT`.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")]
    with: String,
}

/// Compare content
///
/// Returns how another disk or snapshot differs from this one, both as of this moment: lines of
/// JSON, an extent in each, in order, and then a line with both sizes. Without that line the answer
/// was cut off. What the two share is skipped without reading, and the rest is compared. It counts
/// as a transfer.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/diff",
    tag = "content",
    operation_id = "get_diff",
    params(Named, DiffQuery),
    responses(
        (status = 200, description = "what differs", body = ComparisonLine,
            content_type = "application/x-ndjson"),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "the first content of one is incomplete"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn diff(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<DiffQuery>,
) -> Result<Response, Failure> {
    let permit = api.permit(Permit::Transfer)?;
    let from = Target {
        disk: at.name.into_string(),
        snapshot: query.snapshot.map(Moment::into_string),
    };
    let to = Target::parse(&query.with).map_err(|problem| Failure::from(problem).at("with"))?;
    let begin = move |disks: &Disks| compare::begin(disks, &from, &to, 1).map(Apart::new);
    let comparison = Lines {
        comparison: api.work(begin).await??,
        differs: false,
        ended: false,
    };
    let body = produced(comparison, Lines::next, permit, api.options().idle_time);
    Ok(([(CONTENT_TYPE, LINES_TYPE)], body).into_response())
}

/// The lines of a comparison.
struct Lines {
    comparison: Apart<compare::Comparison>,
    differs: bool,
    ended: bool,
}

impl Lines {
    fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.ended {
            return Ok(None);
        }
        let found = self.comparison.step()?;
        self.differs |= !found.differences.is_empty();
        self.ended = found.ended;
        let mut lines: Vec<_> = found
            .differences
            .into_iter()
            .map(ComparisonLine::Extent)
            .collect();
        if self.ended {
            let (from_bytes, to_bytes) = self.comparison.sizes();
            lines.push(ComparisonLine::End(Compared {
                same: !self.differs && from_bytes == to_bytes,
                from_bytes,
                to_bytes,
            }));
        }
        let mut text = Vec::new();
        for line in lines {
            // Numbers and words: nothing in it can fail to serialise.
            text.extend(serde_json::to_vec(&line).unwrap_or_default());
            text.push(b'\n');
        }
        Ok(Some(Bytes::from(text)))
    }
}
