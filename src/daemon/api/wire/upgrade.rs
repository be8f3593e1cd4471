//! Connections that become those of another protocol.

use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderName, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;

/// Take the connection of a request that asks for this protocol on it. It is ours after
/// [`switching`] was answered.
pub(crate) fn asked(request: &mut Request, protocol: &str) -> Option<OnUpgrade> {
    let (version, headers) = (request.version(), request.headers());
    let asks = version == Version::HTTP_11
        && has_word(headers, &CONNECTION, "upgrade")
        && has_word(headers, &UPGRADE, protocol);
    let upgraded = request.extensions_mut().remove::<OnUpgrade>();
    upgraded.filter(|_| asks)
}

/// The answer after which the connection is one of this protocol.
pub(crate) fn switching(protocol: &'static str) -> Response {
    let headers = [
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (UPGRADE, HeaderValue::from_static(protocol)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Whether a list in a header has this word.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|it| it.split(','));
    words.any(|it| it.trim().eq_ignore_ascii_case(word))
}
