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

/// Threads that ask the registry. Three, so that one long request doesn't hold up all others, and
/// many don't take every processor from those that serve queues.
const WORK_THREADS: usize = 3;
/// Bytes that a connection may buffer in each direction; a request's head must fit.
const BUFFER_BYTES: usize = 256 << 10;
/// How long answers under way may take when the server ends.
const FAREWELL: Duration = Duration::from_millis(700);
/// How long work that nobody waits for may take after that.
const WORK_FAREWELL: Duration = Duration::from_millis(200);
/// A pause after a connection could not be taken, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where another listener is handed to a running server.
#[derive(Clone, Debug)]
pub struct FreshListeners(mpsc::UnboundedSender<UnixListener>);

impl FreshListeners {
    /// Serve clients that connect to `listener` from now on, and none at the one before.
    ///
    /// # Errors
    ///
    /// If it can't be made ready.
    pub fn replace(&self, listener: UnixListener) -> Result<(), Error> {
        let ready = listener.set_nonblocking(true);
        ready.map_err(Error::system("make the API socket non-blocking"))?;
        // A server that has ended needs none.
        let _ = self.0.send(listener);
        Ok(())
    }
}

/// A running API server. It ends when dropped.
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
    /// If there is no thread left, or the listener can't be polled.
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

    /// Where another listener is handed to it.
    pub fn fresh_listeners(&self) -> FreshListeners {
        self.fresh.clone()
    }

    /// End it: no new connections, answers under way are given, streams end. Takes less than a
    /// second, or as long as the registry takes for what can't be left half done.
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
                    tracing::warn!(%error, "can't take a connection to the API");
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
        .serve_connection(TokioIo::new(stream), service);
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
    // An error says that the server's owner is gone, which is as good.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Say that there is no room, without waiting for what is asked.
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
    // It fits into the empty buffer of a new socket; a client that has left needs no answer.
    let _ = stream.try_write(answer.as_bytes());
}
