//! The thread of the API: connections, and how they end.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::state::Api;
use super::wire::peer::{Access, Peer};
use super::{Options, document, routes};
use crate::daemon::Error;
use crate::daemon::disks::Disks;
use crate::model::{Problem, ProblemKind};
use crate::threads::{self, Role};

/// Listeners that replace the first one.
type Others = mpsc::UnboundedReceiver<UnixListener>;

/// Work threads, which call the registry. With three, one long request doesn't delay all others,
/// and many requests don't take every processor from the threads that serve queues.
const WORK_THREADS: usize = 3;
/// Bytes that a connection may buffer in each direction. A request's head must fit.
const BUFFER_BYTES: usize = 256 << 10;
/// How long pending answers may take when the server ends.
const FAREWELL: Duration = Duration::from_millis(700);
/// How long work without a waiting client may take after that.
const WORK_FAREWELL: Duration = Duration::from_millis(200);
/// The pause after a connection could not be accepted, most likely for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Passes another listener to a running server.
#[derive(Clone, Debug)]
pub struct FreshListeners(mpsc::UnboundedSender<UnixListener>);

impl FreshListeners {
    /// Accept connections from `listener` from now on, and no longer from the one before.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it can't be made non-blocking.
    pub fn replace(&self, listener: UnixListener) -> Result<(), Error> {
        let ready = listener.set_nonblocking(true);
        ready.map_err(Error::system("make the API socket non-blocking"))?;
        // If the server has ended, it needs no listener.
        let _ = self.0.send(listener);
        Ok(())
    }
}

/// A running API server. Drop it to end it.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    fresh: FreshListeners,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serve `disks` to clients that connect to `listener`.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if there is no thread left, or the listener can't be polled.
    pub fn start(
        listener: UnixListener,
        disks: Arc<Disks>,
        options: Options,
    ) -> Result<Self, Error> {
        let fail = |what| move |source| Error::System { what, source };
        listener
            .set_nonblocking(true)
            .map_err(fail("make the API socket non-blocking"))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORK_THREADS)
            .thread_name(Role::ApiWork.name())
            .build()
            .map_err(fail("make the API's event loop"))?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::UnixListener::from_std(listener).map_err(fail("wait for API clients"))?
        };
        let (stop, stopped) = watch::channel(false);
        let (fresh, other_listeners) = mpsc::unbounded_channel();
        let thread = threads::spawn(Role::Api, move || {
            let api = Api::new(disks, options, document::document, stopped);
            run(runtime, listener, other_listeners, api);
        })
        .map_err(fail("start the API's thread"))?;
        Ok(Self {
            stop,
            fresh: FreshListeners(fresh),
            thread: Some(thread),
        })
    }

    /// The handle that passes another listener to it.
    pub fn fresh_listeners(&self) -> FreshListeners {
        self.fresh.clone()
    }

    /// End the server: it accepts no new connection, finishes pending answers, and ends streams.
    /// Takes less than a second, or as long as the registry takes for a change that has begun.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API's thread ended by a panic");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(runtime: Runtime, listener: tokio::net::UnixListener, others: Others, api: Api) {
    runtime.block_on(accept(listener, others, api));
    runtime.shutdown_timeout(WORK_FAREWELL);
}

/// The group that owns the socket's path, if it has one.
fn socket_group(listener: &tokio::net::UnixListener) -> Option<u32> {
    let address = listener.local_addr().ok()?;
    let metadata = std::fs::metadata(address.as_pathname()?).ok()?;
    Some(metadata.gid())
}

async fn accept(mut listener: tokio::net::UnixListener, mut others: Others, api: Api) {
    let access = Access::new(socket_group(&listener));
    let router = routes::router(api.clone(), &document::routed());
    let room = Arc::new(Semaphore::new(api.options().most_connections));
    let mut stop = api.stopped();
    let mut serving = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match Arc::clone(&room).try_acquire_owned() {
                    Ok(permit) => {
                        let peer = access.judge(&stream);
                        let (api, router) = (api.clone(), router.clone());
                        serving.spawn(async move {
                            serve(stream, peer, api, router).await;
                            drop(permit);
                        });
                    }
                    Err(_) => turn_away(&stream),
                },
                Err(error) => {
                    tracing::warn!(%error, "can't accept a connection to the API");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(other) = others.recv() => match tokio::net::UnixListener::from_std(other) {
                Ok(other) => listener = other,
                Err(error) => tracing::warn!(%error, "can't wait for API clients"),
            },
            Some(_) = serving.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let all = async { while serving.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        tracing::debug!("API connections were cut off");
    }
}

async fn serve(stream: UnixStream, peer: Peer, api: Api, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(api.options().header_time)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut stop = api.stopped();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, pid = peer.pid, "an API connection ended early");
    }
}

async fn until(stop: &mut watch::Receiver<bool>) {
    // An error means that the server was dropped, which also ends it.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Answer with 503, without waiting for the request.
fn turn_away(stream: &UnixStream) {
    let problem = Problem::new(
        ProblemKind::Busy,
        "too many connections at the same time: close some, or try again later",
    );
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // It fits into the empty buffer of a new socket. If the client has disconnected, it needs none.
    let _ = stream.try_write(answer.as_bytes());
}
