//! Metrics over TCP, for Prometheus: this path, and nothing else of the API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::handlers::observe;
use super::state::{Api, Permit};
use super::wire::failure::Failure;

/// Connections at the same time. One more is closed.
const MOST_SCRAPERS: usize = 16;
/// The pause after a connection could not be accepted, most likely for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a request's head.
const BUFFER_BYTES: usize = 16 << 10;

/// Answer scrapes until the server ends.
pub(super) async fn serve(listener: TcpListener, api: Api) {
    let room = Arc::new(Semaphore::new(MOST_SCRAPERS));
    let mut stop = api.stopped();
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without room the connection is closed.
                    if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                        let api = api.clone();
                        serving.spawn(async move {
                            converse(stream, api).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection for metrics");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = serving.join_next() => {}
            _ = stop.changed() => return,
        }
    }
}

async fn converse(stream: TcpStream, api: Api) {
    let limit = api.options().header_time;
    let service = service_fn(move |request: Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(answer(&request, api).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection for metrics ended early");
    }
}

async fn answer(request: &Request<Incoming>, api: Api) -> Response {
    if request.uri().path() != "/metrics" {
        let hint = "here is only /metrics; the API has a Unix socket\n";
        return (StatusCode::NOT_FOUND, hint).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, "use GET\n").into_response();
    }
    let _permit = match api.permit(Permit::Request) {
        Ok(permit) => permit,
        Err(busy) => return busy.into_response(),
    };
    let limit = api.options().request_time;
    match tokio::time::timeout(limit, observe::metrics(State(api))).await {
        Ok(answer) => answer.unwrap_or_else(Failure::into_response),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "it took too long\n").into_response(),
    }
}
