//! Metrics, health, and the OpenAPI document.

use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::daemon::api::state::Api;
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::metrics;

/// The text format of Prometheus.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "daemon",
    operation_id = "get_metrics",
    responses((status = 200, description = "metrics", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(api): State<Api>) -> Result<Response, Failure> {
    let text = scrape(&api).await?;
    Ok(([(CONTENT_TYPE, TEXT_FORMAT)], text).into_response())
}

/// Render the metrics. One rendering at a time serves all clients that asked before it began. Many
/// clients then neither wait for each other in a row nor fill memory with copies.
async fn scrape(api: &Api) -> Result<Bytes, Failure> {
    let asked = Instant::now();
    let mut scraped = api.scraped().lock().await;
    if let Some((began, text)) = scraped.as_ref()
        && *began >= asked
    {
        return Ok(text.clone());
    }
    let began = Instant::now();
    let text = api.work(metrics::text).await?;
    let text = text.map_err(|error| Failure::internal(&error))?;
    let text = Bytes::from(text);
    *scraped = Some((began, text.clone()));
    Ok(text)
}

/// Check that the daemon answers
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "daemon",
    operation_id = "get_health",
    responses(
        (
            status = 200,
            description = "the daemon answers",
            body = String,
            content_type = "text/plain",
        ),
    ),
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// The OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "daemon",
    operation_id = "get_openapi",
    responses((status = 200, description = "this document", body = Object)),
)]
pub(crate) async fn openapi(State(api): State<Api>) -> Result<Response, Failure> {
    let document = api.document();
    let json = api.work(move |_| document().to_string()).await?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}
