//! The handler that receives new content for a disk, as a stream of any length.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio_stream::StreamExt;
use utoipa::{IntoParams, ToSchema};

use crate::image::{Known, Origin, Probe};

use super::apart::Apart;
use super::download::PLAIN_TYPE;
use super::writing::{Receiver, Writing};
use crate::daemon::api::handlers::disks::image;
use crate::daemon::api::input::{Asked, At, Named, content_length, expect_type, media_type};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::frames::Parser;
use crate::daemon::disks::upload::Ids;
use crate::daemon::disks::{Upload, UploadOptions, upload};
use crate::model::frames::{DELTA_TYPE, FRAMES_TYPE};
use crate::model::{ContentId, Problem, ProblemKind};

/// What the content is, and when it may replace the present one.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UploadQuery {
    /// Replace the content even if a front end is connected; its guest sees it change at once.
    force: bool,
    /// Replace the content only if the disk is `importing`.
    importing: bool,
    /// The format of plain bytes. `raw` takes them as they are. Without it, bytes are refused that
    /// begin or end like a compressed file, an archive or an image of another format. A guest may
    /// have written such bytes to a disk: use `raw` for content that guests wrote.
    #[param(inline)]
    format: Option<ContentFormat>,
    /// The name of the image that the content comes from, for example its path.
    #[param(min_length = 1, max_length = 255)]
    image: Option<String>,
    /// An identifier that only this image has, for example its digest.
    #[param(min_length = 1, max_length = 255)]
    image_id: Option<String>,
    /// The length of the image in bytes, if it is known: content of another length is refused.
    #[param(minimum = 1)]
    image_bytes: Option<u64>,
    /// The identifier of the new content, if it came from an export that names it.
    content_id: Option<ContentId>,
    /// The identifier of the content that the body is a change of: the body is then
    /// `application/vnd.ramblk.delta`, and the disk must have that very content and no front end.
    /// With `image_bytes` it gets that size.
    base: Option<ContentId>,
}

/// Formats of content.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ContentFormat {
    /// Its bytes are the disk's bytes.
    Raw,
}

/// Replace content
///
/// The disk keeps its content until all of the new content has arrived. Then it changes as a whole,
/// even for a connected guest (with `force`). Content that is shorter than the disk is followed by
/// zeros. Content that is empty, too long, cut off or of another length than announced is refused,
/// and the disk stays as it was. A disk has one upload at a time: a later one replaces the one
/// before. Until the upload is complete there must be memory for both contents.
///
/// As `application/octet-stream` the body is the content. As `application/vnd.ramblk.extents` (see
/// `get_data`) the body has only the parts that are not zero; its last frame has length 0 and
/// begins where the content ends. A change of the disk's content (see `base` and `get_data`) is
/// applied as a whole too. Plain bytes that aren't a raw image are refused (see `format`).
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/data",
    tag = "content",
    operation_id = "put_data",
    params(Named, UploadQuery),
    request_body(content(
        (Vec<u8> = "application/octet-stream"),
        (Vec<u8> = "application/vnd.ramblk.extents"),
        (Vec<u8> = "application/vnd.ramblk.delta"),
    )),
    responses(
        (status = 204, description = "the content was replaced"),
        (status = 404, description = "no such disk"),
        (
            status = 409,
            description = "a front end uses it, another upload began, it is not importing, or it \
                has other content than `base`",
        ),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn set_content(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    match query.base {
        Some(_) => expect_type(&headers, &[DELTA_TYPE])?,
        None => expect_type(&headers, &[PLAIN_TYPE, FRAMES_TYPE])?,
    }
    let arriving = Arriving::new(&headers, query.format);
    let length = arriving.length_bytes;
    let image = image(query.image, query.image_id, query.image_bytes)?;
    let permit = api.permit(Permit::Transfer)?;
    let name = at.name.into_string();
    let options = UploadOptions {
        force: query.force,
        importing: query.importing,
    };
    let ids = Ids {
        content: query.content_id,
        base: query.base,
    };
    let begun =
        api.work(move |disks| upload::begin_with(disks, &name, (image, ids), length, options));
    let upload = Apart::new(Arc::new(begun.await??));
    let done = receive_all(&api, &upload, arriving, body).await;
    drop(permit);
    if let Err(failure) = done {
        upload.end().await;
        return Err(failure);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Receive all of the content and commit it.
async fn receive_all(
    api: &Api,
    upload: &Arc<Upload>,
    arriving: Arriving,
    body: Body,
) -> Result<(), Failure> {
    let content_bytes = receive(api, upload, arriving, body).await?;
    let upload = Arc::clone(upload);
    let committed = api.freeing(move |disks| {
        let left = upload::finish(disks, &upload, content_bytes)?;
        Ok(((), left))
    });
    committed.await
}

/// How content arrives, as the request says.
pub(in crate::daemon::api::handlers) struct Arriving {
    is_plain: bool,
    /// Its length in bytes, if that is said.
    pub(in crate::daemon::api::handlers) length_bytes: Option<u64>,
    /// What looks for other formats in it.
    probe: Option<Probe>,
}

impl Arriving {
    pub(in crate::daemon::api::handlers) fn new(
        headers: &HeaderMap,
        format: Option<ContentFormat>,
    ) -> Self {
        let is_plain = media_type(headers) == PLAIN_TYPE;
        Self {
            is_plain,
            length_bytes: content_length(headers).filter(|_| is_plain),
            // Frames need no check: no file has them by mistake.
            probe: (is_plain && format.is_none()).then(Probe::default),
        }
    }
}

impl Receiver for Upload {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn write(&self, start_bytes: u64, bytes: &[u8]) -> Result<(), Problem> {
        self.write(start_bytes, bytes)
    }

    fn zero(&self, start_bytes: u64, length_bytes: u64) -> Result<(), Problem> {
        self.zero(start_bytes, length_bytes)
    }

    fn is_change(&self) -> bool {
        self.is_change()
    }

    fn reached(&self, bytes: u64) {
        self.reached(bytes);
    }

    fn fail(&self, reason: &str) {
        self.fail(reason);
    }
}

/// Receive all of the content. Returns its length in bytes.
pub(in crate::daemon::api::handlers) async fn receive<T: Receiver>(
    api: &Api,
    upload: &Arc<T>,
    arriving: Arriving,
    body: Body,
) -> Result<u64, Failure> {
    let received = receive_into(api, upload, arriving, body).await;
    received.inspect_err(|failure| upload.fail(failure.detail()))
}

async fn receive_into<T: Receiver>(
    api: &Api,
    upload: &Arc<T>,
    arriving: Arriving,
    body: Body,
) -> Result<u64, Failure> {
    let mut writing = Writing::new(api, upload);
    let received = receive_pieces(&mut writing, arriving, body).await;
    // What failed to be written arrived before what made no sense.
    writing.finish().await?;
    let content_bytes = received?;
    upload.reached(content_bytes);
    Ok(content_bytes)
}

/// Receive pieces while the ones before are written.
async fn receive_pieces<T: Receiver>(
    writing: &mut Writing<'_, T>,
    Arriving {
        is_plain,
        mut probe,
        ..
    }: Arriving,
    body: Body,
) -> Result<u64, Failure> {
    let upload = writing.upload;
    let size = upload.size_bytes();
    let mut parser = match is_plain {
        true => Parser::plain(size),
        false if upload.is_change() => Parser::delta(size),
        false => Parser::frames(size),
    };
    let mut pieces = body.into_data_stream();
    let idle = writing.api.options().idle_time;
    loop {
        let next = tokio::select! {
            biased;
            done = writing.done(), if writing.is_busy() => {
                done?;
                continue;
            }
            next = tokio::time::timeout(idle, pieces.next()), if writing.has_room() => next,
        };
        let late = |_| nothing_came(idle.as_secs(), upload.is_whole());
        let Some(piece) = next.map_err(late)? else {
            break;
        };
        let piece: Bytes =
            piece.map_err(|error| Failure::invalid(format!("the content was cut off: {error}")))?;
        if let Some(known) = probe.as_mut().and_then(|probe| probe.take(&piece)) {
            return Err(foreign(known));
        }
        let parts = parser.take(piece).map_err(Failure::invalid)?;
        writing.add(parts, parser.at_bytes());
    }
    if let Some(known) = probe.and_then(|probe| probe.end()) {
        return Err(foreign(known));
    }
    let last = parser.end().map_err(Failure::invalid)?;
    writing.add(last.into_iter().collect(), parser.at_bytes());
    Ok(parser.at_bytes())
}

fn foreign(known: &Known) -> Failure {
    let (name, hint) = (known.name, known.hint(Origin::Request));
    let detail = format!(
        "the content is {name}, not raw; {hint}; send it with format=raw if the disk should have \
         these very bytes"
    );
    Failure::new(ProblemKind::UnsupportedMediaType, detail).at("format")
}

fn nothing_came(seconds: u64, is_whole: bool) -> Failure {
    let rest = match is_whole {
        true => "; the disk stays as it was",
        false => "",
    };
    let detail = format!("no content arrived for {seconds} s{rest}");
    Failure::new(ProblemKind::Timeout, detail)
}
