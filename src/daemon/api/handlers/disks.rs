//! Handlers for disks.

use axum::extract::State;
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Json, MergePatch, Moment, Named, Parameters};
use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::disks::{
    DestroyOptions, Disks, ImageName, Made, Target, change, content, create, describe, destroy,
    golden, rename,
};
use crate::model::{
    Disk, DiskPatch, DiskSettings, Findings, Image, Limits, Map, Patched, RenameRequest, Stats,
};

/// The most extents of one answer.
const MOST_EXTENTS: usize = 65536;

/// Which disks to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "read by hand, since it may be there several times"
)]
pub(crate) struct ListQuery {
    /// Only disks with this label, as `KEY=VALUE`. If there are several, all must match.
    #[param(pattern = "^[A-Za-z0-9._/-]{1,63}=[^=]*$", max_length = 255)]
    label: Option<Vec<String>>,
}

/// List disks
///
/// Lists all disks, or those with all the given labels, sorted by name and without `unique_bytes`.
#[utoipa::path(
    get,
    path = "/v1/disks",
    tag = "disks",
    operation_id = "list_disks",
    params(ListQuery),
    responses((status = 200, description = "the disks", body = [Disk])),
)]
pub(crate) async fn list(
    State(api): State<Api>,
    Parameters(query): Parameters,
) -> Result<Response, Failure> {
    let labels = labels(query)?;
    api.ok(move |disks| Ok(describe::list(disks, &labels)))
        .await
}

/// The labels of a query. The contract allows nothing else in it.
pub(super) fn labels(query: Vec<(String, String)>) -> Result<Vec<(String, String)>, Failure> {
    let labels = query
        .into_iter()
        .map(|(_, value)| match value.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => {
                let detail = format!("{value:?} is not a label: write label=KEY=VALUE");
                Err(Failure::invalid(detail).at("label"))
            }
        });
    labels.collect()
}

/// The image of a new disk's first content.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PutQuery {
    /// The name, for example the path, of an image whose content you will send with `put_data`. The
    /// disk is `importing` until the content is complete.
    #[param(min_length = 1, max_length = 255)]
    image: Option<String>,
    /// An identifier that only this image has, for example its digest. An image without one differs
    /// from every other.
    #[param(min_length = 1, max_length = 255)]
    image_id: Option<String>,
    /// The length of the image in bytes, if it is known.
    #[param(minimum = 1)]
    image_bytes: Option<u64>,
    /// The name or digest of a golden image: the disk is forked from it, and has its content at
    /// once.
    #[param(pattern = "^(sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]
    from_image: Option<String>,
}

/// Create a disk
///
/// Creates a disk. If it exists with the same settings, nothing changes. Only the size is required.
///
/// With `image` the disk is `importing` until `put_data` has sent all of the image's content. Until
/// then it can't be attached. It is destroyed if no content arrives for the daemon's import
/// timeout. A repeated request finds it importing, or complete and made from the same image.
///
/// With `from_image` the disk is forked from a golden image, which takes no time and no memory. It
/// may be larger than the image, and have blocks of either size.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}",
    tag = "disks",
    operation_id = "put_disk",
    params(Named, PutQuery),
    request_body = DiskSettings,
    responses(
        (status = 201, description = "the disk was created", body = Disk),
        (status = 200, description = "the disk exists with these settings", body = Disk),
        (status = 404, description = "no such group or golden image"),
        (status = 409, description = "it exists with other settings, or from another image"),
        (status = 507, description = "there is not enough memory, or too few descriptors"),
    ),
)]
pub(crate) async fn put(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<PutQuery>,
    Json(settings): Json<DiskSettings>,
) -> Result<Response, Failure> {
    let image = image(query.image, query.image_id, query.image_bytes)?;
    let golden = query.from_image.as_deref().map(ImageName::parse);
    let golden = golden
        .transpose()
        .map_err(|problem| Failure::from(problem).at("from_image"))?;
    if image.is_some() && golden.is_some() {
        let detail = "a disk is forked from a golden image, or gets the content that you send: \
                      give from_image or image";
        return Err(Failure::invalid(detail).at("from_image"));
    }
    api.answer(move |disks| {
        let name = at.name.into_string();
        let (disk, made) = match (image, golden) {
            (Some(image), _) => create::put_from(disks, &name, settings, image)?,
            (None, Some(which)) => golden::create::put(disks, &name, &settings, &which)?,
            (None, None) => create::put(disks, &name, settings)?,
        };
        let status = match made {
            Made::New => StatusCode::CREATED,
            Made::Existing => StatusCode::OK,
        };
        Ok((status, disk))
    })
    .await
}

/// The image that a query names.
pub(crate) fn image(
    name: Option<String>,
    id: Option<String>,
    size_bytes: Option<u64>,
) -> Result<Option<Image>, Failure> {
    match name {
        Some(name) => Ok(Some(Image {
            name,
            id,
            size_bytes,
        })),
        None if id.is_none() && size_bytes.is_none() => Ok(None),
        None => {
            let detail = "image_id and image_bytes describe an image: name it with image";
            Err(Failure::invalid(detail).at("image"))
        }
    }
}

/// The entity tags of `If-Match` (RFC 9110, 13.1.1), if it is there.
fn wanted_tags(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut values = headers.get_all(IF_MATCH).iter().peekable();
    values.peek()?;
    let lists = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let tags = lists.flat_map(|list| {
        let tags = list.split(',').map(|tag| tag.trim().to_owned());
        tags.collect::<Vec<_>>()
    });
    Some(tags.collect())
}

/// Show a disk
#[utoipa::path(
    get,
    path = "/v1/disks/{name}",
    tag = "disks",
    operation_id = "get_disk",
    params(Named),
    responses(
        (status = 200, description = "the disk, with its entity tag in `ETag`", body = Disk),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn get(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.tagged(move |disks| {
        let disk = describe::get(disks, &at.name.into_string())?;
        Ok((disk.entity_tag(), disk))
    })
    .await
}

/// Change a disk
///
/// A merge patch (RFC 7396): absent fields stay, `null` removes. Either all changes are made or
/// none. `application/json` is accepted too.
#[utoipa::path(
    patch,
    path = "/v1/disks/{name}",
    tag = "disks",
    operation_id = "patch_disk",
    params(
        Named,
        ("If-Match" = Option<String>, Header, description = "change it only if it has this entity \
            tag, or one of several"),
    ),
    request_body(content = DiskPatch, content_type = "application/merge-patch+json"),
    responses(
        (status = 200, description = "the changed disk", body = Patched),
        (status = 404, description = "no such disk, or no such group"),
        (status = 409, description = "data would be lost, or the disk exceeds the new quota"),
        (status = 412, description = "it has another entity tag"),
        (status = 507, description = "there is not enough memory or quota"),
    ),
)]
pub(crate) async fn patch(
    State(api): State<Api>,
    At(at): At<Named>,
    headers: HeaderMap,
    MergePatch(patch): MergePatch<DiskPatch>,
) -> Result<Response, Failure> {
    let tags = wanted_tags(&headers);
    api.tagged(move |disks| {
        let name = at.name.into_string();
        let patched = change::patch_if(disks, &name, patch, tags.as_deref())?;
        Ok((patched.disk.entity_tag(), patched))
    })
    .await
}

/// Rename a disk
///
/// It keeps its id, content, settings, serial, snapshots, history, recording and forks. Its socket
/// is `NAME/vhost.sock` of the new name, so front ends and NBD clients have to be gone. Counters
/// begin at 0, as after a restart of the daemon.
#[utoipa::path(
    post,
    path = "/v1/disks/{name}/rename",
    tag = "disks",
    operation_id = "rename_disk",
    params(
        Named,
        ("If-Match" = Option<String>, Header, description = "rename it only if it has this entity \
            tag, or one of several"),
    ),
    request_body = RenameRequest,
    responses(
        (status = 200, description = "the disk, under its new name", body = Disk),
        (status = 404, description = "no such disk"),
        (status = 409, description = "there is a disk of the new name, or something uses this one"),
        (status = 412, description = "it has another entity tag"),
        (status = 507, description = "there are too few descriptors"),
    ),
)]
pub(crate) async fn rename(
    State(api): State<Api>,
    At(at): At<Named>,
    headers: HeaderMap,
    Json(request): Json<RenameRequest>,
) -> Result<Response, Failure> {
    let tags = wanted_tags(&headers);
    api.tagged(move |disks| {
        let name = at.name.into_string();
        let disk = rename::rename_if(disks, &name, &request, tags.as_deref())?;
        Ok((disk.entity_tag(), disk))
    })
    .await
}

/// Which disks may be destroyed, and what with them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
pub(crate) struct DestroyQuery {
    /// Destroy it even if a front end is connected, whose guest then gets errors, or if it has
    /// forks, which then can't be reset.
    force: bool,
    /// Destroy its snapshots too.
    snapshots: bool,
    /// Destroy it only if it is `importing`.
    importing: bool,
}

/// Destroy a disk
#[utoipa::path(
    delete,
    path = "/v1/disks/{name}",
    tag = "disks",
    operation_id = "delete_disk",
    params(
        Named,
        DestroyQuery,
        ("If-Match" = Option<String>, Header, description = "destroy it only if it has this entity \
            tag, or one of several"),
    ),
    responses(
        (status = 204, description = "the disk was destroyed"),
        (status = 412, description = "it has another entity tag"),
        (status = 404, description = "no such disk"),
        (status = 409, description = "it is in use, has snapshots or forks, or is not importing"),
    ),
)]
pub(crate) async fn destroy(
    State(api): State<Api>,
    At(at): At<Named>,
    headers: HeaderMap,
    Asked(query): Asked<DestroyQuery>,
) -> Result<Response, Failure> {
    let tags = wanted_tags(&headers);
    let options = DestroyOptions {
        force: query.force,
        snapshots: query.snapshots,
        importing: query.importing,
    };
    let end = move |disks: &Disks| {
        let name = at.name.into_string();
        Ok(((), destroy::end_if(disks, &name, options, tags.as_deref())?))
    };
    api.freeing(end).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which part of a map to return.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MapQuery {
    /// The offset of the first extent in bytes, a multiple of 512: `next_bytes` of the part before.
    #[param(value_type = Option<u64>, maximum = 9223372036854775807_u64)]
    start_bytes: u64,
    /// The most extents to return.
    #[param(minimum = 1, maximum = 65536)]
    limit: Option<usize>,
    /// A snapshot of the disk instead of the disk.
    #[param(
        value_type = Option<String>,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    snapshot: Option<Moment>,
}

/// Show the map of a disk
///
/// Lists mapped and unmapped extents in order. A long map comes in parts.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/map",
    tag = "disks",
    operation_id = "get_map",
    params(Named, MapQuery),
    responses(
        (status = 200, description = "a part of the map", body = Map),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "its first content is incomplete"),
    ),
)]
pub(crate) async fn map(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<MapQuery>,
) -> Result<Response, Failure> {
    let most = query.limit.unwrap_or(MOST_EXTENTS);
    if !(1..=MOST_EXTENTS).contains(&most) {
        let detail = format!("limit {most} is not between 1 and {MOST_EXTENTS}");
        return Err(Failure::invalid(detail).at("limit"));
    }
    let target = Target {
        disk: at.name.into_string(),
        snapshot: query.snapshot.map(Moment::into_string),
    };
    api.ok(move |disks| content::map(disks, &target, query.start_bytes, most))
        .await
}

/// Show a disk's counters
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/stats",
    tag = "disks",
    operation_id = "get_stats",
    params(Named),
    responses(
        (status = 200, description = "counters since the disk was created", body = Stats),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn stats(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| describe::stats(disks, &at.name.into_string()))
        .await
}

/// Show what a disk's sanitizer has found
///
/// The counts, and the last findings with request and time.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/findings",
    tag = "disks",
    operation_id = "get_findings",
    params(Named),
    responses(
        (status = 200, description = "what its sanitizer has found", body = Findings),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn findings(
    State(api): State<Api>,
    At(at): At<Named>,
) -> Result<Response, Failure> {
    api.ok(move |disks| describe::findings(disks, &at.name.into_string()))
        .await
}

/// Show a disk's limits
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/limits",
    tag = "disks",
    operation_id = "get_limits",
    params(Named),
    responses(
        (status = 200, description = "the disk's own limits", body = Limits),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn limits(State(api): State<Api>, At(at): At<Named>) -> Result<Response, Failure> {
    api.ok(move |disks| change::limits(disks, &at.name.into_string()))
        .await
}

/// Set a disk's limits
///
/// Replaces all limits; absent ones don't limit. They apply at once.
#[utoipa::path(
    put,
    path = "/v1/disks/{name}/limits",
    tag = "disks",
    operation_id = "put_limits",
    params(Named),
    request_body = Limits,
    responses(
        (status = 200, description = "the new limits", body = Limits),
        (status = 404, description = "no such disk"),
    ),
)]
pub(crate) async fn set_limits(
    State(api): State<Api>,
    At(at): At<Named>,
    Json(limits): Json<Limits>,
) -> Result<Response, Failure> {
    api.ok(move |disks| change::set_limits(disks, &at.name.into_string(), limits))
        .await
}
