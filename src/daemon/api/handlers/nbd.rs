//! The handler that makes a connection one of NBD.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State};
use axum::http::header::UPGRADE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;

use crate::daemon::api::input::{Asked, At, Moment, Name, Named};
use crate::daemon::api::state::{Api, Permit};
use crate::daemon::api::wire::failure::Failure;
use crate::daemon::api::wire::peer::Peer;
use crate::daemon::api::wire::upgrade;
use crate::daemon::disks::{Target, View, ViewOptions, view};
use crate::model::ProblemKind;
use crate::nbd::Pace;
use crate::threads::{self, Role};
use crate::vhost_user::{self, LogLimit};

/// Bounds log lines that clients can cause.
static LOG_LIMIT: LazyLock<LogLimit> = LazyLock::new(LogLimit::default);

/// What the connection is to become.
const NBD: &str = "nbd";

/// What to serve.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NbdQuery {
    /// A snapshot of the disk instead of the disk.
    #[param(
        value_type = Option<String>,
        pattern = "^([A-Za-z0-9][A-Za-z0-9._-]{0,63}|(flush|time|written):[1-9][0-9]{0,17})$"
    )]
    snapshot: Option<Moment>,
    /// Let the client write to the disk, as one more front end.
    rw: bool,
    /// A name that you choose. Connections with the same one share their view of the disk: the
    /// content of one moment, or the right to write.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    view: Option<Name>,
}

/// Serve NBD
///
/// Send `Connection: Upgrade` and `Upgrade: nbd`. After the answer, the connection is one of the
/// network block device protocol, whose server speaks first: fixed newstyle, with structured
/// replies and metadata contexts. Without `rw` it serves the content as of this moment, whatever
/// guests write meanwhile. The size is that of the beginning.
#[utoipa::path(
    get,
    path = "/v1/disks/{name}/nbd",
    tag = "content",
    operation_id = "get_nbd",
    params(Named, NbdQuery),
    responses(
        (status = 101, description = "the connection is one of NBD from now on"),
        (status = 404, description = "no such disk or snapshot"),
        (status = 409, description = "a front end uses it, it is read-only, or its first content \
            is incomplete"),
        (status = 426, description = "the request doesn't ask for an upgrade to `nbd`"),
        (status = 507, description = "there is not enough memory"),
    ),
)]
pub(crate) async fn serve_nbd(
    State(api): State<Api>,
    At(at): At<Named>,
    Asked(query): Asked<NbdQuery>,
    mut request: Request,
) -> Result<Response, Failure> {
    let Some(upgraded) = upgrade::asked(&mut request, NBD) else {
        return Ok(not_asked());
    };
    let permit = api.permit(Permit::Nbd)?;
    let peer = request.extensions().get::<Peer>().copied();
    let options = ViewOptions {
        target: Target {
            disk: at.name.into_string(),
            snapshot: query.snapshot.map(Moment::into_string),
        },
        is_writable: query.rw,
        name: query.view.map(Name::into_string),
        peer: peer.and_then(as_front_end),
    };
    let view = api.work(move |disks| view::open(disks, options)).await??;
    let pace = Pace {
        negotiation: api.options().header_time,
        step: api.options().idle_time,
    };
    tokio::spawn(begin(upgraded, view, pace, permit));
    Ok(upgrade::switching(NBD))
}

/// The answer to a request for this path without an upgrade.
fn not_asked() -> Response {
    let detail = "this path serves NBD: send `Connection: Upgrade` and `Upgrade: nbd` with \
                  HTTP/1.1, or use 'ramblk nbd'";
    let failure = Failure::new(ProblemKind::Invalid, detail);
    let failure = failure
        .with_status(StatusCode::UPGRADE_REQUIRED)
        .at("upgrade");
    let upgrade = [(UPGRADE, HeaderValue::from_static(NBD))];
    (upgrade, failure).into_response()
}

fn as_front_end(peer: Peer) -> Option<vhost_user::Peer> {
    Some(vhost_user::Peer {
        pid: peer.pid.and_then(|pid| u32::try_from(pid).ok()),
        uid: peer.uid?,
    })
}

/// Serve the connection on a thread of its own, once it is ours.
async fn begin(upgraded: OnUpgrade, view: View, pace: Pace, permit: OwnedSemaphorePermit) {
    let upgraded = match upgraded.await {
        Ok(upgraded) => upgraded,
        Err(error) => return tracing::debug!(%error, "a connection did not become one of NBD"),
    };
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let started = take(upgraded).and_then(|stream| {
        threads::spawn(Role::Nbd(number), move || {
            let stream = Arc::new(stream);
            serve(&view, &stream, pace);
            // In this order, so that a client that sees the end of the stream knows that its view
            // has ended too.
            drop(view);
            drop(permit);
            drop(stream);
        })
    });
    if let Err(error) = started
        && let Some(withheld) = LOG_LIMIT.may_log()
    {
        tracing::warn!(%error, withheld, "can't serve an NBD client");
    }
}

/// The socket of a connection that was upgraded.
fn take(upgraded: Upgraded) -> io::Result<UnixStream> {
    let parts = upgraded.downcast::<TokioIo<tokio::net::UnixStream>>();
    let parts = parts.map_err(|_| io::Error::other("the connection is of another kind"))?;
    if !parts.read_buf.is_empty() {
        // The server speaks first, and this client did not wait for it.
        return Err(io::Error::other(
            "the client sent something before the answer",
        ));
    }
    parts.io.into_inner().into_std()
}

fn serve(view: &View, stream: &Arc<UnixStream>, pace: Pace) {
    let name = view.name();
    // A panic is a bug of ours. It must end only this client's connection.
    match catch_unwind(AssertUnwindSafe(|| view.serve(stream, pace))) {
        Ok(Ok(())) => tracing::debug!(name, "an NBD client left"),
        Ok(Err(error)) => {
            if let Some(withheld) = LOG_LIMIT.may_log() {
                tracing::info!(name, %error, withheld, "an NBD client was cut off");
            }
        }
        Err(_) => tracing::error!(name, "bug: serving an NBD client panicked"),
    }
}
