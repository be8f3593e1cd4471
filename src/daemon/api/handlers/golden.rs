//! Handlers for golden images.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use utoipa::IntoParams;

use super::content::apart::Apart;
use super::content::download::PLAIN_TYPE;
use super::content::upload::{Arriving, ContentFormat, receive};
use super::content::writing::Receiver;
use crate::daemon::api::input::{Asked, At, Json, MergePatch, expect_type};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::golden::{describe, fetch, remove};
use crate::daemon::disks::{Disks, ImageName};
use crate::model::frames::FRAMES_TYPE;
use crate::model::{
    ContentId, Digest, EventKind, GoldenImage, GoldenOffer, GoldenPatch, GoldenRequest,
    GoldenState, Problem,
};

/// The longest that an answer waits for another client's fetch, in seconds: less than a request may
/// take.
const MOST_WAIT_SECONDS: u64 = 8;

/// An image in a path, by its digest.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Digested {
    /// Its digest.
    #[param(value_type = String, pattern = "^sha256:[0-9a-f]{64}$")]
    image: String,
}

impl Digested {
    fn parse(&self) -> Result<Digest, Failure> {
        let parsed = self.image.parse::<Digest>();
        parsed.map_err(|error| Failure::invalid(error.to_string()).at("image"))
    }
}

/// An image in a path, by its digest or name.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Called {
    /// Its digest or name.
    #[param(pattern = "^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]
    image: String,
}

impl Called {
    fn parse(&self) -> Result<ImageName, Failure> {
        let parsed = ImageName::parse(&self.image);
        parsed.map_err(|problem| Failure::from(problem).at("image"))
    }
}

/// List golden images
///
/// Lists all golden images, and those that clients are fetching: first those with a name, sorted.
#[utoipa::path(
    get,
    path = "/v1/images",
    tag = "images",
    operation_id = "list_images",
    responses((status = 200, description = "the images", body = [GoldenImage])),
)]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, Failure> {
    api.ok(|disks| Ok(describe::list(disks))).await
}

/// Show a golden image
#[utoipa::path(
    get,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "get_image",
    params(Called),
    responses(
        (status = 200, description = "the image", body = GoldenImage),
        (status = 404, description = "no such image"),
    ),
)]
pub(crate) async fn get(State(api): State<Api>, At(at): At<Called>) -> Result<Response, Failure> {
    let which = at.parse()?;
    api.ok(move |disks| describe::get(disks, &which)).await
}

/// Protect a golden image
///
/// A merge patch (RFC 7396). A protected image can't be removed, and stays when memory is wanted.
#[utoipa::path(
    patch,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "patch_image",
    params(Called),
    request_body(content = GoldenPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "the changed image", body = GoldenImage),
        (status = 404, description = "no such image"),
    ),
)]
pub(crate) async fn patch(
    State(api): State<Api>,
    At(at): At<Called>,
    MergePatch(patch): MergePatch<GoldenPatch>,
) -> Result<Response, Failure> {
    let which = at.parse()?;
    api.ok(move |disks| remove::patch(disks, &which, patch))
        .await
}

/// How long to wait.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OfferQuery {
    /// Wait this many seconds for an image that another client is fetching.
    #[param(maximum = 8)]
    wait_seconds: u64,
}

/// Offer a golden image
///
/// Says what there is of an image. If nothing is, and no other client is fetching it, the answer
/// has a number `fetch`: send the content with `put_image_data` and that number, and begin within
/// 10 seconds. If another client is fetching it, ask again, with `wait_seconds`: once that client
/// has failed, you get a number. A name and `keep` also apply to an image that is present.
#[utoipa::path(
    put,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "put_image",
    params(Digested, OfferQuery),
    request_body = GoldenRequest,
    responses(
        (status = 200, description = "the image is present", body = GoldenOffer),
        (status = 201, description = "send its content under the number", body = GoldenOffer),
        (status = 202, description = "another client is fetching it", body = GoldenOffer),
        (status = 409, description = "it has another name, or another image has this one"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn offer(
    State(api): State<Api>,
    At(at): At<Digested>,
    Asked(query): Asked<OfferQuery>,
    Json(request): Json<GoldenRequest>,
) -> Result<Response, Failure> {
    let digest = at.parse()?;
    if query.wait_seconds > MOST_WAIT_SECONDS {
        let detail = format!("wait at most {MOST_WAIT_SECONDS} seconds, and ask again");
        return Err(Failure::invalid(detail).at("wait_seconds"));
    }
    let until = tokio::time::Instant::now() + Duration::from_secs(query.wait_seconds);
    loop {
        // Listen before the look, so that no end of a fetch is missed.
        let mut events = api.disks().events().listen();
        let asked = request.clone();
        let offered = api.work(move |disks| fetch::offer(disks, digest, &asked));
        let offered = offered.await??;
        let is_elsewhere = offered.fetch.is_none() && offered.image.state != GoldenState::Present;
        let ended = async {
            let text = digest.to_string();
            loop {
                match events.recv().await {
                    Ok(event) => {
                        let digest = event.details.get("digest").map(ToString::to_string);
                        let kinds = [EventKind::ImagePulled, EventKind::ImageFailed];
                        if kinds.contains(&event.kind) && digest.as_ref() == Some(&text) {
                            return;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return,
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let goes_on = is_elsewhere && tokio::time::timeout_at(until, ended).await.is_ok();
        if !goes_on {
            return api.answer(move |_| Ok((status(&offered), offered))).await;
        }
    }
}

fn status(offer: &GoldenOffer) -> StatusCode {
    match (offer.fetch, offer.image.state) {
        (Some(_), _) => StatusCode::CREATED,
        (None, GoldenState::Present) => StatusCode::OK,
        (None, GoldenState::Fetching) => StatusCode::ACCEPTED,
    }
}

/// Which content is sent.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FetchQuery {
    /// The number that `put_image` returned.
    #[param(minimum = 1)]
    fetch: u64,
    /// The length of the content in bytes, if it is known: content of another length is refused.
    #[serde(default)]
    #[param(minimum = 1)]
    image_bytes: Option<u64>,
    /// The identifier of the content, if the image came from an export that names it.
    #[serde(default)]
    content_id: Option<ContentId>,
    /// The format of plain bytes, as in `put_data`.
    #[serde(default)]
    #[param(inline)]
    format: Option<ContentFormat>,
}

/// Send a golden image
///
/// The image is there once all of it has arrived, and not before. The digest is that of the file as
/// it was published, which may be compressed or have another format, so nothing is compared here:
/// compute it while you read the file, and break off if it is wrong. The body is as in `put_data`.
#[utoipa::path(
    put,
    path = "/v1/images/{image}/data",
    tag = "images",
    operation_id = "put_image_data",
    params(Digested, FetchQuery),
    request_body(content(
        (Vec<u8> = "application/octet-stream"),
        (Vec<u8> = "application/vnd.ramblk.extents"),
    )),
    responses(
        (status = 201, description = "the image is there", body = GoldenImage),
        (status = 409, description = "another client is fetching it, or it is present"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn set_content(
    State(api): State<Api>,
    At(at): At<Digested>,
    Asked(query): Asked<FetchQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    expect_type(&headers, &[PLAIN_TYPE, FRAMES_TYPE])?;
    let digest = at.parse()?;
    let arriving = Arriving::new(&headers, query.format);
    let permit = api.permit(Permit::Transfer)?;
    let length = query.image_bytes.or(arriving.length_bytes);
    let begun = move |disks: &Disks| {
        let begun = fetch::begin(disks, digest, query.fetch, length)?;
        Ok::<_, Problem>(begun.of_content(query.content_id))
    };
    let begun = api.work(begun);
    let fetching = Apart::new(Arc::new(begun.await??));
    let received = receive(&api, &fetching, arriving, body).await;
    drop(permit);
    let content_bytes = match received {
        Ok(bytes) => bytes,
        Err(failure) => {
            fetching.end().await;
            return Err(failure);
        }
    };
    let fetched = Arc::clone(&fetching);
    let finish = move |disks: &Disks| fetch::finish(disks, &fetched, content_bytes);
    api.answer(move |disks| Ok((StatusCode::CREATED, finish(disks)?)))
        .await
}

impl Receiver for fetch::ImageFetch {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.write(start_bytes, bytes)
    }

    fn reached(&self, bytes: u64) {
        self.reached(bytes);
    }

    fn fail(&self, reason: &str) {
        self.fail(reason);
    }
}

/// Which images may be removed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveQuery {
    /// Remove it even if disks were forked from it: they keep their content, and can't be reset to
    /// it any more.
    force: bool,
}

/// Remove a golden image
#[utoipa::path(
    delete,
    path = "/v1/images/{image}",
    tag = "images",
    operation_id = "delete_image",
    params(Called, RemoveQuery),
    responses(
        (status = 204, description = "the image was removed"),
        (status = 404, description = "no such image"),
        (status = 409, description = "disks were forked from it"),
    ),
)]
pub(crate) async fn remove(
    State(api): State<Api>,
    At(at): At<Called>,
    Asked(query): Asked<RemoveQuery>,
) -> Result<Response, Failure> {
    let which = at.parse()?;
    let end = move |disks: &Disks| {
        let left = remove::remove(disks, &which, query.force)?;
        Ok(((), vec![left]))
    };
    api.freeing(end).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
