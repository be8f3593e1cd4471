//! Checks parameters and headers of a request against the OpenAPI document. What isn't supported
//! and would change the request's meaning is refused, not ignored.
//!
//! The document says which parameters an operation has, and whether it takes a body.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HeaderName, IF_MATCH,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE, TRAILER, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::failure::Failure;
use crate::model::ProblemKind;

/// The longest body that may be as good as none.
const NOTHING_BYTES: usize = 16;
/// How long to wait for it.
const NOTHING_TIME: Duration = Duration::from_secs(10);

/// What every operation takes, by path and method.
#[derive(Clone, Debug)]
pub(crate) struct Contract(Arc<HashMap<(String, Method), Takes>>);

/// What an operation takes.
#[derive(Debug, Default)]
struct Takes {
    /// Parameters of its query, and whether each may be repeated.
    query: BTreeMap<String, bool>,
    body: bool,
    /// Whether it honours `If-Match`.
    if_match: bool,
}

impl Contract {
    /// The contract of a document.
    pub(crate) fn new(document: &Value) -> Self {
        let mut all = HashMap::new();
        let paths = document["paths"].as_object().into_iter().flatten();
        for (path, item) in paths {
            for (method, name) in [
                (Method::GET, "get"),
                (Method::PUT, "put"),
                (Method::POST, "post"),
                (Method::DELETE, "delete"),
                (Method::PATCH, "patch"),
            ] {
                if let Some(operation) = item.get(name) {
                    all.insert((path.clone(), method), Takes::of(operation));
                }
            }
        }
        Self(Arc::new(all))
    }

    /// Check a request's query. Returns whether it may have a body, or `None` if there is no such
    /// path or method.
    fn check(&self, request: &Request) -> Result<Option<bool>, Failure> {
        let headers = request.headers();
        always(headers)?;
        let method = match *request.method() {
            Method::HEAD => Method::GET,
            ref other => other.clone(),
        };
        let changes = method != Method::GET;
        let path = request.extensions().get::<MatchedPath>();
        let takes = path.and_then(|path| self.0.get(&(path.as_str().to_owned(), method)));
        let Some(takes) = takes else {
            // There is no such path or method. The router answers that, whatever the conditions are
            // (RFC 9110, 13.2.1).
            return Ok(None);
        };
        conditions(headers, changes, takes.if_match)?;
        takes.check_query(request.uri())?;
        if changes {
            meanings(headers)?;
        }
        Ok(Some(takes.body))
    }
}

impl Takes {
    fn of(operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let name = |parameter: &Value| parameter["name"].as_str().map(str::to_owned);
        let query = parameters.clone().filter(|it| it["in"] == "query");
        let query = query.filter_map(|it| Some((name(it)?, repeats(it))));
        let mut names = parameters.clone().filter_map(name);
        Self {
            query: query.collect(),
            body: operation.get("requestBody").is_some(),
            if_match: names.any(|name| name.eq_ignore_ascii_case(IF_MATCH.as_str())),
        }
    }

    fn check_query(&self, uri: &Uri) -> Result<(), Failure> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = pairs.map_err(|error| Failure::invalid(error.body_text()))?;
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in &pairs {
            let Some(repeats) = self.query.get(key) else {
                let known: Vec<_> = self.query.keys().map(String::as_str).collect();
                let detail = match &*known {
                    [] => format!("unknown parameter {key:?}: this operation has none"),
                    known => format!(
                        "unknown parameter {key:?}: give one of {}",
                        known.join(", ")
                    ),
                };
                return Err(Failure::invalid(detail).at(key));
            };
            if seen.contains(&&**key) && !repeats {
                let detail = format!("parameter {key:?} is repeated: give it once");
                return Err(Failure::invalid(detail).at(key));
            }
            // The decoder has replaced invalid UTF-8 by this character.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let detail = format!("parameter {key:?} is not UTF-8: encode it as UTF-8");
                return Err(Failure::invalid(detail).at(key));
            }
            seen.push(key);
        }
        Ok(())
    }
}

/// Whether a parameter may be repeated: it is an array, possibly nullable.
fn repeats(parameter: &Value) -> bool {
    match &parameter["schema"]["type"] {
        Value::Array(any) => any.iter().any(|one| one == "array"),
        one => one == "array",
    }
}

/// Refuses a request with anything that its operation doesn't support.
pub(crate) async fn hold(
    State(contract): State<Contract>,
    request: Request,
    next: Next,
) -> Response {
    let encoded = request.headers().contains_key(CONTENT_ENCODING);
    let failure = match contract.check(&request) {
        Ok(Some(false)) if !request.body().is_end_stream() => match without_body(request).await {
            Ok(request) => return next.run(request).await,
            Err(failure) => failure,
        },
        Ok(_) => return next.run(request).await,
        Err(failure) => failure,
    };
    let mut response = failure.into_response();
    if encoded && response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        // RFC 9110, 12.5.3: the codings that are acceptable.
        let identity = HeaderValue::from_static("identity");
        response.headers_mut().insert(ACCEPT_ENCODING, identity);
    }
    response
}

/// The same request without its body, if that is empty or `{}`, as many clients send it.
async fn without_body(request: Request) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    let all = axum::body::to_bytes(body, NOTHING_BYTES);
    let all = tokio::time::timeout(NOTHING_TIME, all).await;
    match all
        .as_ref()
        .map(|all| all.as_ref().map(|all| all.trim_ascii()))
    {
        Ok(Ok(b"" | b"{}" | b"null")) => Ok(Request::from_parts(head, Body::empty())),
        _ => Err(Failure::invalid(
            "this operation takes no body: leave it out",
        )),
    }
}

/// The refusal of a header, by name.
fn refuse(header: &HeaderName, status: StatusCode, why: &str) -> Failure {
    let kind = match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ProblemKind::UnsupportedMediaType,
        _ => ProblemKind::Invalid,
    };
    let failure = Failure::new(kind, format!("header {header}: {why}"));
    failure.with_status(status).at(header.as_str())
}

/// The words of a list in a header, in lower case.
fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter();
    // Bytes that aren't text become a word that isn't known.
    let lists = values.map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    lists
        .flat_map(|list| {
            let words = list.split(',').map(|word| word.trim().to_owned());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>()
        })
        .collect()
}

/// Check headers that would change the meaning of any request.
fn always(headers: &HeaderMap) -> Result<(), Failure> {
    const OVERRIDES: [&str; 3] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
    ];
    for name in OVERRIDES.map(HeaderName::from_static) {
        if headers.contains_key(&name) {
            let why = "the method can't be overridden: use it in the request line";
            return Err(refuse(&name, StatusCode::BAD_REQUEST, why));
        }
    }
    // RFC 9110, 10.1.1.
    if words(headers, &EXPECT)
        .iter()
        .any(|word| word != "100-continue")
    {
        let why = "only 100-continue is supported";
        return Err(refuse(&EXPECT, StatusCode::EXPECTATION_FAILED, why));
    }
    // RFC 9112, 6.1. A coding that is still listed was not decoded.
    let codings = words(headers, &TRANSFER_ENCODING);
    if codings.iter().any(|word| word != "chunked") {
        let why = "only chunked is supported: send the body without another coding";
        return Err(refuse(&TRANSFER_ENCODING, StatusCode::NOT_IMPLEMENTED, why));
    }
    Ok(())
}

/// Check for conditions that can't be evaluated: there are no dates, and entity tags only of disks.
/// `If-None-Match` and `If-Modified-Since` of a GET may be ignored, since the answer is then full.
fn conditions(headers: &HeaderMap, changes: bool, if_match: bool) -> Result<(), Failure> {
    let names = [IF_UNMODIFIED_SINCE, IF_MATCH, IF_NONE_MATCH];
    let looked_at = if changes { &names[..] } else { &names[..2] };
    let refused =
        |name: &&HeaderName| headers.contains_key(*name) && !(if_match && **name == IF_MATCH);
    match looked_at.iter().find(refused) {
        None => Ok(()),
        Some(name) => {
            let why = "there is no entity tag or date to compare it with here: leave it out";
            Err(refuse(name, StatusCode::PRECONDITION_FAILED, why))
        }
    }
}

/// Check headers that would change the meaning of a body.
fn meanings(headers: &HeaderMap) -> Result<(), Failure> {
    const PARTS: [&str; 4] = [
        "upload-offset",
        "upload-complete",
        "x-update-range",
        "x-content-range",
    ];
    const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];
    let present = |name: &HeaderName| headers.contains_key(name);
    // RFC 9110, 8.4.
    if words(headers, &CONTENT_ENCODING)
        .iter()
        .any(|word| word != "identity")
    {
        let why = "nothing is decoded here: send the bytes themselves";
        return Err(refuse(
            &CONTENT_ENCODING,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            why,
        ));
    }
    let transfer = HeaderName::from_static("content-transfer-encoding");
    let plain = ["7bit", "8bit", "binary", "identity"];
    if words(headers, &transfer)
        .iter()
        .any(|word| !plain.contains(&&**word))
    {
        let why = "nothing is decoded here: send the bytes themselves";
        return Err(refuse(&transfer, StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    // RFC 9110, 14.4 and 14.5.
    let parts = PARTS.map(HeaderName::from_static);
    if let Some(name) = [CONTENT_RANGE, RANGE]
        .iter()
        .chain(&parts)
        .find(|it| present(it))
    {
        let why = "a body is always complete: a part of it can't be sent";
        return Err(refuse(name, StatusCode::BAD_REQUEST, why));
    }
    if let Some(name) = DIGESTS
        .map(HeaderName::from_static)
        .iter()
        .find(|it| present(it))
    {
        let why = "digests are not verified here: leave it out, and compare what you read back";
        return Err(refuse(name, StatusCode::BAD_REQUEST, why));
    }
    if present(&TRAILER) {
        let why = "trailers are not read: leave it out";
        return Err(refuse(&TRAILER, StatusCode::BAD_REQUEST, why));
    }
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 {
        let why = "it is repeated: a body has one type";
        return Err(refuse(&CONTENT_TYPE, StatusCode::BAD_REQUEST, why));
    }
    Ok(())
}
