//! Checked input: names, queries and bodies.

use std::error::Error as _;

use axum::body::{Body, Bytes};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;

use super::state::Api;
use super::wire::failure::Failure;
use super::wire::query;
use super::wire::strict::{self, Refused};
use crate::device::history::PointName;
use crate::model::ProblemKind;

/// The longest name of a disk, snapshot or group, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A valid name.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(String);

impl Name {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric());
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if first && name.len() <= MAX_NAME_BYTES && name.bytes().all(known) {
            Ok(Self(name))
        } else {
            Err(format!(
                "{name:?} is not a name: use 1 to {MAX_NAME_BYTES} of A-Z a-z 0-9 . _ - and begin \
                 with a letter or digit"
            ))
        }
    }
}

/// The name of a snapshot, or of a point of a disk's history as in `flush:1432`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Moment(String);

impl Moment {
    pub(super) fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match PointName::parse(&name) {
            Some(_) => Ok(Self(name)),
            None => Name::try_from(name).map(|name| Self(name.into_string())),
        }
    }
}

/// A disk or group in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// Its name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub(super) name: Name,
}

/// A snapshot in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedSnapshot {
    /// The disk's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub(super) name: Name,
    /// The snapshot's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub(super) snapshot: Name,
}

/// A snapshot, or a point of a disk's history, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct NamedMoment {
    /// The disk's name.
    #[param(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub(super) name: Name,
    /// The snapshot's name, or that of a point as in `flush:1432`.
    #[param(
        value_type = String,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    pub(super) snapshot: Moment,
}

/// The names in a path.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, api).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(rejection) => {
                let named = no_name(parts, api).await;
                Err(named.unwrap_or_else(|| Failure::invalid(rejection.body_text())))
            }
        }
    }
}

/// The refusal of the first part of a path that isn't a name, if there is one.
async fn no_name(parts: &mut Parts, api: &Api) -> Option<Failure> {
    let all = Path::<Vec<(String, String)>>::from_request_parts(parts, api).await;
    let (key, why) = match all {
        Ok(Path(all)) => all.into_iter().find_map(|(key, value)| {
            let why = Name::try_from(value).err()?;
            Some((key, why))
        })?,
        Err(PathRejection::FailedToDeserializePathParams(failed)) => match failed.kind() {
            ErrorKind::InvalidUtf8InPathParam { key } => (
                key.clone(),
                format!("{key} is not UTF-8: encode it as UTF-8"),
            ),
            _ => return None,
        },
        Err(_) => return None,
    };
    Some(Failure::invalid(why).at(key))
}

/// A query. The contract has refused unknown and repeated keys before.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Failure> {
        let asked = query::read(parameters(&parts.uri)?);
        asked
            .map(Self)
            .map_err(|(name, reason)| Failure::invalid(format!("{name}: {reason}")).at(name))
    }
}

/// A query as names and values, in order.
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl FromRequestParts<Api> for Parameters {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Failure> {
        parameters(&parts.uri).map(Self)
    }
}

fn parameters(uri: &Uri) -> Result<Vec<(String, String)>, Failure> {
    let pairs = Query::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|error| Failure::invalid(error.body_text()))?;
    Ok(pairs)
}

/// The media type of a body, without parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let value = value.and_then(|value| value.split(';').next());
    value.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Check that a body has one of these media types.
pub(super) fn expect_type(headers: &HeaderMap, types: &[&str]) -> Result<(), Failure> {
    let given = media_type(headers);
    if types.contains(&given.as_str()) {
        return expect_utf8(headers);
    }
    let detail = format!("the body is {given:?}: send it as {}", types.join(" or "));
    Err(Failure::new(ProblemKind::UnsupportedMediaType, detail).at("content-type"))
}

/// Check that JSON is in UTF-8, as it must be (RFC 8259, 8.1).
fn expect_utf8(headers: &HeaderMap) -> Result<(), Failure> {
    let value = headers.get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    for parameter in value.split(';').skip(1) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let charset = value.trim().trim_matches('"').to_ascii_lowercase();
        let right = matches!(&*charset, "utf-8" | "utf8" | "us-ascii");
        if name.trim().eq_ignore_ascii_case("charset") && !right {
            let detail = format!("charset {charset:?} is not supported: send UTF-8");
            let failure = Failure::new(ProblemKind::UnsupportedMediaType, detail);
            return Err(failure.at("content-type"));
        }
    }
    Ok(())
}

/// A body of JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let json = read_json(request, api, &["application/json"]).await?;
        parse(json).map(Self)
    }
}

/// A body with a merge patch (RFC 7396).
pub(super) struct MergePatch<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for MergePatch<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Failure> {
        let types = ["application/merge-patch+json", "application/json"];
        parse(read_json(request, api, &types).await?).map(Self)
    }
}

/// The announced length of a body.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(request: Request, most_bytes: usize) -> Result<Bytes, Failure> {
    let too_large = || {
        let detail = format!("the body has more than {most_bytes} bytes: send less at a time");
        Failure::new(ProblemKind::TooLarge, detail)
    };
    let said = content_length(request.headers());
    if said.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes > most_bytes)) {
        return Err(too_large());
    }
    let body: Body = request.into_body();
    axum::body::to_bytes(body, most_bytes)
        .await
        .map_err(|error| {
            let source = error.source();
            if source.is_some_and(|source| source.is::<LengthLimitError>()) {
                too_large()
            } else {
                Failure::invalid(format!("the body can't be read: {error}"))
            }
        })
}

/// A body of JSON, of one of these media types.
async fn read_json(request: Request, api: &Api, types: &[&str]) -> Result<Value, Failure> {
    expect_type(request.headers(), types)?;
    let body = read(request, api.options().most_body_bytes).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Failure::invalid(format!("the body is not JSON: {error}")))
}

fn parse<T: DeserializeOwned>(json: Value) -> Result<T, Failure> {
    strict::read(json).map_err(misread)
}

/// The refusal of a body, with the field at fault.
fn misread(Refused { path, error }: Refused) -> Failure {
    if path.is_empty() {
        Failure::invalid(error.to_string())
    } else {
        Failure::invalid(format!("{path}: {error}")).at(path)
    }
}
