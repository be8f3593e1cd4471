//! What a client of the socket for reading may ask for.
//!
//! It reads figures, settings and events. It reads no content: neither bytes of a disk nor what
//! lets them be guessed (digests, differences, the map of what is used). A path that is not listed
//! here is withheld, so a new one is too until someone decides about it.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::wire::failure::Failure;
use crate::model::ProblemKind;

/// The paths that may be read.
pub const READABLE: [&str; 25] = [
    "/healthz",
    "/metrics",
    "/openapi.json",
    "/v1/config",
    "/v1/disks",
    "/v1/disks/{name}",
    "/v1/disks/{name}/fault-log",
    "/v1/disks/{name}/faults",
    "/v1/disks/{name}/findings",
    "/v1/disks/{name}/history",
    "/v1/disks/{name}/limits",
    "/v1/disks/{name}/recording",
    "/v1/disks/{name}/snapshots",
    "/v1/disks/{name}/snapshots/{snapshot}",
    "/v1/disks/{name}/stats",
    "/v1/disks/{name}/wait",
    "/v1/events",
    "/v1/groups",
    "/v1/groups/{name}",
    "/v1/images",
    "/v1/images/{image}",
    "/v1/pool",
    "/v1/stats",
    "/v1/usage",
    "/v1/version",
];

/// Refuses requests that change something or read content. `other` is where those may be sent.
pub(super) async fn hold(State(other): State<Arc<str>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.extensions().get::<MatchedPath>();
    let what = match path.map(MatchedPath::as_str) {
        _ if !reads => "changes nothing",
        // A path that doesn't exist has its own answer.
        None => return next.run(request).await,
        Some(path) if READABLE.contains(&path) => return next.run(request).await,
        Some(_) => "tells figures, settings and events, and no content",
    };
    let detail = format!("this socket {what}: send such requests to {other}");
    Failure::new(ProblemKind::Forbidden, detail).into_response()
}
