//! The thread of the API: connections, and how they end.

use std::fs::Metadata;
use std::net::TcpListener;
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
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::state::Api;
use super::wire::peer::{Access, Peer};
use super::{Options, document, routes, scrapes};
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

/// Where clients of the API connect.
#[derive(Debug)]
pub struct Listeners {
    /// Those who may do everything.
    pub api: UnixListener,
    /// Those who may only read, if there is a socket for them.
    pub readers: Option<UnixListener>,
    /// Those who scrape metrics, if there is an address for them.
    pub scrapes: Option<TcpListener>,
}

/// A running API server. Drop it to end it.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    fresh: FreshListeners,
    fresh_readers: FreshListeners,
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
        let listeners = Listeners {
            api: listener,
            readers: None,
            scrapes: None,
        };
        Self::start_with(listeners, disks, options)
    }

    /// The same, for clients of several kinds.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn start_with(
        listeners: Listeners,
        disks: Arc<Disks>,
        options: Options,
    ) -> Result<Self, Error> {
        let fail = |what| move |source| Error::System { what, source };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORK_THREADS)
            .thread_name(Role::ApiWork.name())
            .on_thread_start(|| threads::enter(Role::ApiWork))
            .build()
            .map_err(fail("make the API's event loop"))?;
        let inside = runtime.enter();
        let api = polled(listeners.api).map_err(fail("wait for API clients"))?;
        let readers = listeners.readers.map(polled).transpose();
        let readers = readers.map_err(fail("wait for API clients that read"))?;
        let scrapes = listeners.scrapes.map(|scrapes| {
            scrapes.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(scrapes)
        });
        let scrapes = scrapes.transpose().map_err(fail("wait for scrapes"))?;
        drop(inside);
        let (stop, stopped) = watch::channel(false);
        let (fresh, others) = mpsc::unbounded_channel();
        let (fresh_readers, other_readers) = mpsc::unbounded_channel();
        let thread = threads::spawn(Role::Api, move || {
            let state = Api::new(disks, options, document::document, stopped);
            if let Some(scrapes) = scrapes {
                runtime.spawn(scrapes::serve(scrapes, state.clone()));
            }
            let readers = readers.map(|readers| Door::of_readers(readers, &api, &state));
            let door = Door::new(api, state);
            runtime.block_on(async {
                let read = async {
                    if let Some(readers) = readers {
                        accept(readers, other_readers).await;
                    }
                };
                tokio::join!(accept(door, others), read);
            });
            runtime.shutdown_timeout(WORK_FAREWELL);
        })
        .map_err(fail("start the API's thread"))?;
        Ok(Self {
            stop,
            fresh: FreshListeners(fresh),
            fresh_readers: FreshListeners(fresh_readers),
            thread: Some(thread),
        })
    }

    /// The handle that passes another listener to it.
    pub fn fresh_listeners(&self) -> FreshListeners {
        self.fresh.clone()
    }

    /// The same, for clients that only read.
    pub fn fresh_readers(&self) -> FreshListeners {
        self.fresh_readers.clone()
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

/// A listener that the event loop can wait for.
fn polled(listener: UnixListener) -> std::io::Result<tokio::net::UnixListener> {
    listener.set_nonblocking(true)?;
    tokio::net::UnixListener::from_std(listener)
}

/// A socket, who may use it, and what for.
struct Door {
    listener: tokio::net::UnixListener,
    access: Access,
    router: Router,
    api: Api,
}

impl Door {
    fn new(listener: tokio::net::UnixListener, api: Api) -> Self {
        let group = found(&listener).map(|found| found.gid());
        Self {
            access: Access::new(group),
            router: routes::router(api.clone(), &document::document()),
            listener,
            api,
        }
    }

    /// For clients that only read. All others may connect to `other`.
    fn of_readers(
        listener: tokio::net::UnixListener,
        other: &tokio::net::UnixListener,
        api: &Api,
    ) -> Self {
        let found = found(&listener);
        let mode = found.as_ref().map_or(0, MetadataExt::mode);
        let api = api.of_readers();
        let other = match other
            .local_addr()
            .ok()
            .as_ref()
            .and_then(|it| it.as_pathname())
        {
            Some(path) => format!("{path:?}"),
            None => "the daemon's other socket".to_owned(),
        };
        Self {
            access: Access::of_readers(found.map(|found| found.gid()), mode),
            router: routes::router_of_readers(api.clone(), &document::document(), &other),
            listener,
            api,
        }
    }
}

/// The file at the socket's path, if it has one.
fn found(listener: &tokio::net::UnixListener) -> Option<Metadata> {
    let address = listener.local_addr().ok()?;
    std::fs::metadata(address.as_pathname()?).ok()
}

async fn accept(door: Door, mut others: Others) {
    let Door {
        mut listener,
        access,
        router,
        api,
    } = door;
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
