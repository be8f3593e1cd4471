//! The OpenAPI document, generated from the routes and the types of their requests and answers.

use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::Response as Answer;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Content, PathItem, Ref, RefOr, Required, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::handlers::content::download::PLAIN_TYPE;
use super::routes;
use super::state::Api;
use super::wire::failure::PROBLEM_TYPE;
use crate::model::frames::{DELTA_TYPE, FRAMES_TYPE};
use crate::model::{Event, Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ramblk",
        description = "RAM disks for virtual machines: create, change, watch and destroy them.\n\n\
            Errors are problem documents (RFC 9457) whose `type` is `urn:ramblk:problem:KIND`.",
    ),
    components(schemas(Event, Problem)),
    tags(
        (name = "disks", description = "Disks, by name"),
        (name = "snapshots", description = "A disk's content at one moment, and its forks"),
        (name = "recordings", description = "Everything that changes a disk, as a log"),
        (name = "content", description = "The content of a disk"),
        (name = "images", description = "Golden images, from which disks are forked"),
        (name = "faults", description = "Faults on command, for tests"),
        (name = "groups", description = "Limits that several disks share"),
        (name = "daemon", description = "The daemon itself"),
    ),
)]
struct Base;

/// The OpenAPI 3.1 document of the whole API, as JSON.
pub(super) fn document() -> Value {
    // Nothing in it can fail to serialise.
    let mut document = serde_json::to_value(routed()).unwrap_or_default();
    if let Some(schemas) = document.pointer_mut("/components/schemas") {
        join(schemas, "ConfigDisk");
        precise(schemas);
    }
    document
}

/// Replace the schema of a struct with a flattened field by one object. The derived schema has two
/// objects, which refuse each other's fields.
fn join(schemas: &mut Value, name: &str) {
    let Some(parts) = schemas.pointer(&format!("/{name}/allOf")).cloned() else {
        return;
    };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts.as_array().into_iter().flatten() {
        let reference = part.pointer("/$ref").and_then(Value::as_str);
        let of = reference.and_then(|reference| reference.rsplit('/').next());
        let part = of.and_then(|of| schemas.get(of)).unwrap_or(part);
        let fields = part.get("properties").and_then(Value::as_object);
        properties.extend(fields.cloned().into_iter().flatten());
        let needed = part.get("required").and_then(Value::as_array);
        required.extend(needed.cloned().into_iter().flatten());
    }
    if let Some(schema) = schemas.get_mut(name) {
        let description = schema.get("description").cloned();
        *schema = json!({
            "type": "object",
            "description": description,
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        });
    }
}

/// Correct 64-bit numbers, which the derived schemas take for signed ones.
fn precise(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let unsigned = fields.contains_key("minimum")
                && fields.get("format").is_some_and(|format| format == "int64");
            if unsigned {
                fields.remove("format");
                fields.entry("maximum").or_insert(json!(u64::MAX));
            }
            fields.values_mut().for_each(precise);
        }
        Value::Array(values) => values.iter_mut().for_each(precise),
        _ => {}
    }
}

/// The document as it is generated from the routes.
fn routed() -> utoipa::openapi::OpenApi {
    let router = OpenApiRouter::<Api>::with_openapi(Base::openapi());
    let router = router.merge(routes::ordinary()).merge(routes::streams());
    let mut document = router.into_openapi();
    let streams = routes::streams().into_openapi().paths;
    for (path, item) in &mut document.paths.paths {
        let stream = streams.paths.contains_key(path);
        operations(item).for_each(|operation| complete(operation, stream));
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem {
        get,
        put,
        post,
        delete,
        patch,
        ..
    } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// Add the errors that every operation of a kind can return, so that handlers need not repeat them.
fn complete(operation: &mut Operation, stream: bool) {
    let body = operation.request_body.is_some();
    let common = [
        (true, "400", "the request is not valid"),
        (true, "403", "the caller is not authorised"),
        (
            true,
            "412",
            "the request has a precondition, and nothing here has a version",
        ),
        (body, "413", "the body is too long"),
        (
            body,
            "415",
            "the body's media type or encoding is not supported",
        ),
        (
            true,
            "417",
            "the request expects something other than `100-continue`",
        ),
        (true, "500", "the daemon failed"),
        (
            body,
            "501",
            "the body has a transfer coding that is not supported",
        ),
        (
            true,
            "503",
            "too many requests are being served; `Retry-After` says when to try again",
        ),
        (!stream || body, "504", "the request took too long"),
    ];
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
        body.content.iter_mut().for_each(binary);
    }
    let responses = &mut operation.responses.responses;
    for (_, status, description) in common.into_iter().filter(|(can, ..)| *can) {
        let answer = ResponseBuilder::new().description(description).build();
        responses
            .entry(status.to_owned())
            .or_insert(RefOr::T(answer));
    }
    for (status, answer) in responses {
        if let RefOr::T(answer) = answer {
            answer.content.iter_mut().for_each(binary);
            if status.as_str() >= "400" {
                problem(answer);
            }
        }
    }
}

/// Describe content as bytes, not as an array of numbers.
fn binary((media_type, content): (&String, &mut RefOr<Content>)) {
    if let RefOr::T(content) = content
        && [PLAIN_TYPE, FRAMES_TYPE, DELTA_TYPE].contains(&&**media_type)
    {
        let bytes = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let string = ObjectBuilder::new().schema_type(Type::String);
        content.schema = Some(string.format(Some(bytes)).into());
    }
}

fn problem(answer: &mut Answer) {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    answer
        .content
        .insert(PROBLEM_TYPE.to_owned(), RefOr::T(content));
}
