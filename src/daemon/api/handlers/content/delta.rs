//! A download of how content differs from a base.

use std::collections::VecDeque;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::apart::Apart;
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::accept::wanted;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::produced::produced;
use crate::daemon::disks::content::compare::{self, Comparison};
use crate::daemon::disks::{Disks, Target};
use crate::model::frames::{self, BASE_ID, CONTENT_ID, DELTA_TYPE, HEADER_BYTES, MOST_BYTES};
use crate::model::{ContentId, Difference, DifferenceKind, Problem};

/// The units in which differences can be told.
const UNITS: std::ops::RangeInclusive<u64> = 512..=2 << 20;

/// Answer with how the content of `target` differs from that of `base`: a snapshot of the same
/// disk, or `NAME@SNAPSHOT`. It is told in units of this many bytes, and as a list first if that is
/// asked for.
pub(super) async fn content(
    api: &Api,
    target: Target,
    base: &str,
    (unit_bytes, lists): (Option<u64>, bool),
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let unit = unit_bytes.unwrap_or(512);
    if !unit.is_power_of_two() || !UNITS.contains(&unit) {
        let detail = format!("unit_bytes {unit} is no power of two between 512 and 2097152");
        return Err(Failure::invalid(detail).at("unit_bytes"));
    }
    if wanted(headers, DELTA_TYPE).quality == 0 {
        let detail = format!("a change of other content comes as {DELTA_TYPE}: accept that");
        let failure = Failure::invalid(detail).with_status(StatusCode::NOT_ACCEPTABLE);
        return Err(failure.at("accept"));
    }
    let base = match base.contains('@') {
        true => base.to_owned(),
        false => format!("{}@{base}", target.disk),
    };
    let base = Target::parse(&base).map_err(|problem| Failure::from(problem).at("base"))?;
    let permit = api.permit(Permit::Transfer)?;
    let begin = move |disks: &Disks| compare::begin(disks, &base, &target, unit).map(Apart::new);
    let comparison = api.work(begin).await??;
    let (from, to) = (comparison.from().content_id(), comparison.to().content_id());
    let delta = Delta {
        comparison,
        waiting: VecDeque::new(),
        lists,
        ended: false,
    };
    let body = produced(delta, Delta::next, permit, api.options().idle_time);
    let answer = ([(CONTENT_TYPE, DELTA_TYPE)], body).into_response();
    let answer = identified(answer, CONTENT_ID, to);
    Ok(identified(answer, BASE_ID, from))
}

/// The answer, with the identifier of content in this header.
pub(super) fn identified(
    mut answer: Response,
    header: &'static str,
    id: Option<ContentId>,
) -> Response {
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id.to_string()).ok()) {
        answer.headers_mut().insert(header, id);
    }
    answer
}

/// The frames of a comparison.
struct Delta {
    comparison: Apart<Comparison>,
    /// Differences that were found and not sent yet.
    waiting: VecDeque<Difference>,
    /// Whether the list of all frames is still to be sent.
    lists: bool,
    ended: bool,
}

impl Delta {
    /// The next part of the list of all frames; nothing if some more has to be compared.
    fn next_of_list(&mut self) -> Result<Bytes, Problem> {
        let found = self.comparison.step()?;
        let mut headers = Vec::new();
        for next in found.differences {
            let header = match next.kind {
                DifferenceKind::Zero => frames::zeros_header(next.start_bytes, next.length_bytes),
                DifferenceKind::Data => frames::header(next.start_bytes, next.length_bytes),
            };
            headers.extend_from_slice(&header);
        }
        if found.ended {
            let (_, size_bytes) = self.comparison.sizes();
            headers.extend_from_slice(&frames::header(size_bytes, 0));
            self.comparison.restart();
            self.lists = false;
        }
        Ok(Bytes::from(headers))
    }

    /// The next frames, of about [`MOST_BYTES`] in all; nothing if some more has to be compared.
    fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.lists {
            return self.next_of_list().map(Some);
        }
        if self.waiting.is_empty() {
            if self.ended {
                return Ok(None);
            }
            let found = self.comparison.step()?;
            self.ended = found.ended;
            self.waiting.extend(found.differences);
        }
        let mut chunk = Vec::new();
        while chunk.len() < MOST_BYTES {
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            let (start, length) = (next.start_bytes, next.length_bytes);
            if next.kind == DifferenceKind::Zero {
                chunk.extend_from_slice(&frames::zeros_header(start, length));
                continue;
            }
            let now = length.min(MOST_BYTES as u64);
            chunk.extend_from_slice(&frames::header(start, now));
            let from = chunk.len();
            chunk.resize(from + usize::try_from(now).unwrap_or(MOST_BYTES), 0);
            if let Some(into) = chunk.get_mut(from..) {
                self.comparison.to().read(start, into)?;
            }
            if now < length {
                self.waiting.push_front(Difference {
                    start_bytes: start + now,
                    length_bytes: length - now,
                    ..next
                });
            }
        }
        if self.ended && self.waiting.is_empty() {
            let (_, size_bytes) = self.comparison.sizes();
            chunk.reserve(HEADER_BYTES);
            chunk.extend_from_slice(&frames::header(size_bytes, 0));
        }
        Ok(Some(Bytes::from(chunk)))
    }
}
