//! All paths in one table, and what is checked before any of them.

use std::any::Any;
#[cfg(ramblk_kept_document)]
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
#[cfg(ramblk_kept_document)]
use axum::handler::Handler;
use axum::http::header::ALLOW;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
#[cfg(ramblk_kept_document)]
use axum::routing::MethodRouter;
use serde_json::Value;
use tower_http::catch_panic::CatchPanicLayer;
#[cfg(ramblk_kept_document)]
use utoipa::Path as _;
#[cfg(ramblk_kept_document)]
use utoipa::openapi::path::{Operation, Paths};
#[cfg(ramblk_kept_document)]
use utoipa_axum::PathItemExt as _;
use utoipa_axum::router::OpenApiRouter;
#[cfg(not(ramblk_kept_document))]
use utoipa_axum::routes;

use super::handlers::content::{download, look, upload, write};
use super::handlers::{
    disks, events, faults, figures, golden, groups, nbd, observe, power, record, snapshots, wait,
};
use super::reading;
use super::state::{Api, Permit};
use super::wire::contract::{self, Contract};
use super::wire::failure::Failure;
use super::wire::linger::linger;
use super::wire::peer::Peer;
use crate::daemon::disks::actors;
use crate::model::{ActorKind, Missing, Problem, ProblemKind};
use crate::store::points;

/// A handler of any path: what routes are made of is in the program once, not for each handler.
#[cfg(ramblk_kept_document)]
type AnyHandler = fn(State<Api>, Request) -> Pin<Box<dyn Future<Output = Response> + Send>>;

/// The handlers of a path, as `utoipa_axum::routes` has them, without what they do as a document.
#[cfg(ramblk_kept_document)]
macro_rules! routes {
    ($($room:ident::$handler:ident),+ $(,)?) => {{
        let (mut paths, mut router) = (Paths::new(), MethodRouter::new());
        $(
            let path = utoipa_axum::paste!($room::[<__path_ $handler>]::path());
            let methods = utoipa_axum::paste!($room::[<__path_ $handler>]::methods());
            let handler: AnyHandler =
                |State(api), request| Handler::call($room::$handler, request, api);
            for method in &methods {
                router = router.on(method.to_method_filter(), handler);
            }
            paths.add_path_operation(path, methods, Operation::new());
        )+
        (Vec::new(), paths, router)
    }};
}

/// Paths whose requests are short, have a time limit, and count as requests.
pub(super) fn ordinary() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(disks::list))
        .routes(routes!(
            disks::get,
            disks::put,
            disks::patch,
            disks::destroy
        ))
        .routes(routes!(disks::rename))
        .routes(routes!(disks::map))
        .routes(routes!(disks::stats))
        .routes(routes!(figures::stats))
        .routes(routes!(figures::usage))
        .routes(routes!(disks::findings))
        .routes(routes!(snapshots::history))
        .routes(routes!(disks::limits, disks::set_limits))
        .routes(routes!(faults::list, faults::add, faults::clear))
        .routes(routes!(faults::remove))
        .routes(routes!(faults::release))
        .routes(routes!(faults::log))
        .routes(routes!(snapshots::list))
        .routes(routes!(
            snapshots::get,
            snapshots::take,
            snapshots::patch,
            snapshots::destroy
        ))
        .routes(routes!(snapshots::rename))
        .routes(routes!(snapshots::fork))
        .routes(routes!(snapshots::fork_all))
        .routes(routes!(snapshots::take_all))
        .routes(routes!(snapshots::reset_all))
        .routes(routes!(snapshots::reset))
        .routes(routes!(record::get, record::start, record::remove))
        .routes(routes!(record::stop))
        .routes(routes!(record::mark))
        .routes(routes!(power::cut))
        .routes(routes!(power::on))
        .routes(routes!(record::state))
        .routes(routes!(groups::list))
        .routes(routes!(
            groups::get,
            groups::put,
            groups::patch,
            groups::destroy
        ))
        .routes(routes!(golden::list))
        .routes(routes!(
            golden::get,
            golden::offer,
            golden::patch,
            golden::remove
        ))
        .routes(routes!(groups::pool))
        .routes(routes!(groups::version))
        .routes(routes!(groups::config, groups::apply))
        .routes(routes!(observe::metrics))
        .routes(routes!(observe::healthz))
        .routes(routes!(observe::openapi))
}

/// Paths whose requests last as long as the client reads or writes. Each kind has its own bound.
pub(super) fn streams() -> OpenApiRouter<Api> {
    OpenApiRouter::default()
        .routes(routes!(
            download::content,
            upload::set_content,
            write::write_content
        ))
        .routes(routes!(record::log, record::set_log))
        .routes(routes!(look::digest))
        .routes(routes!(look::diff))
        .routes(routes!(golden::set_content))
        .routes(routes!(events::listen))
        .routes(routes!(nbd::serve_nbd))
        .routes(routes!(wait::wait))
}

/// The router of all paths.
pub(super) fn router(api: Api, document: &Value) -> Router {
    let bounded = from_fn_with_state(api.clone(), bound);
    let router = Router::from(ordinary())
        .layer(bounded)
        .merge(Router::from(streams()));
    guard(router, document).with_state(api)
}

/// The router for clients that only read. `other` is where other requests may be sent.
pub(super) fn router_of_readers(api: Api, document: &Value, other: &str) -> Router {
    let bounded = from_fn_with_state(api.clone(), bound);
    let reading = from_fn_with_state(Arc::<str>::from(other), reading::hold);
    let router = Router::from(ordinary())
        .layer(bounded)
        .merge(Router::from(streams()))
        .layer(reading);
    guard(router, document).with_state(api)
}

/// Add what applies to all paths, and to those that don't exist.
fn guard(router: Router<Api>, document: &Value) -> Router<Api> {
    let contract = Contract::new(document);
    router
        .fallback(unknown)
        .layer(map_response(wrong_method))
        .layer(from_fn_with_state(contract, contract::hold))
        .layer(from_fn(admit))
        .layer(from_fn(linger))
        .layer(CatchPanicLayer::custom(panicked))
}

/// Refuses clients that are not authorised, and logs the changes of others.
async fn admit(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let Some(peer) = peer.filter(|peer| peer.allowed) else {
        let uid = peer.and_then(|peer| peer.uid);
        tracing::info!(uid, "an API request was refused");
        let detail =
            "only root, the daemon's user and members of the socket's group are authorised";
        return Failure::new(ProblemKind::Forbidden, detail).into_response();
    };
    // Nothing but a test makes it fail, and that only to make a system call.
    let _ = points::may_fail("api-asked");
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if matches!(method, Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let pid = peer.pid.and_then(|pid| u32::try_from(pid).ok());
    let actor = actors::process(ActorKind::Client, peer.uid, pid);
    let response = actors::answering(actor, next.run(request)).await;
    let (uid, pid, status) = (peer.uid, peer.pid, response.status().as_u16());
    tracing::info!(%method, path, uid, pid, status, "API request");
    response
}

/// Bounds the number of short requests, and how long each takes.
async fn bound(State(api): State<Api>, request: Request, next: Next) -> Result<Response, Failure> {
    let _permit = api.permit(Permit::Request)?;
    let limit = api.options().request_time;
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    answered.map_err(|_| {
        let detail = format!(
            "no answer within {} s; the request may still be carried out: check whether it was",
            limit.as_secs_f64()
        );
        Failure::new(ProblemKind::Timeout, detail)
    })
}

async fn unknown(request: Request) -> Failure {
    let path = request.uri().path();
    let detail = format!("there is no path {path:?}; /openapi.json lists all paths");
    Problem::missing(Missing::Path, detail).into()
}

/// Turn the router's answer to a wrong method into a problem document.
async fn wrong_method(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allowed = response.headers().get(ALLOW).cloned();
    let detail = "this path has other methods: see the header `Allow`";
    let mut problem = Failure::new(ProblemKind::MethodNotAllowed, detail).into_response();
    if let Some(allowed) = allowed {
        problem.headers_mut().insert(ALLOW, allowed);
    }
    problem
}

/// The answer after a panic of a handler. The panic hook has logged where it was.
fn panicked(_what: Box<dyn Any + Send + 'static>) -> Response {
    Failure::internal(&"a handler panicked").into_response()
}
