//! A client of the API: one request at a time, each on its own connection over the Unix socket.
//!
//! Calls block, and panic inside an asynchronous task. If your program has an event loop, make them
//! on another thread.
//!
//! | file | what it holds |
//! |---|---|
//! | `body` | bodies of requests |
//! | `download` | a long answer that is being read |
//! | `events` | parsing a stream of events |
//! | `path` | paths of the API |
//! | `error` | why a request failed |
//!
//! # Example
//! List all disks:
//!
//! ```no_run
//! use ramblk::client::{Client, Error};
//! use ramblk::model::Disk;
//!
//! fn main() -> Result<(), Error> {
//!     let client = Client::new("/run/ramblk/api.sock")?;
//!     let disks: Vec<Disk> = client.get("/v1/disks")?;
//!     for disk in disks {
//!         println!("{}: {} of {} bytes", disk.name, disk.mapped_bytes, disk.size_bytes);
//!     }
//!     Ok(())
//! }
//! ```

mod body;
mod download;
mod error;
mod events;
pub mod path;

pub use download::Download;
pub use error::Error;
pub use hyper::body::Bytes;
pub use hyper::{Method, StatusCode};

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use self::body::{AHEAD_BYTES, Content, Parts, empty, full};
use self::events::Lines;
use crate::model::Problem;
use crate::model::frames::{DELTA_TYPE, FRAMES_TYPE};

/// How long an answer may take. Destroying a disk returns its memory to the host first.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// How often a patient client looks whether the daemon has started.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// The longest answer that is read as a whole.
const MOST_BYTES: usize = 256 << 20;

/// A client of the daemon at one socket.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client for this socket. It connects with the first request.
    ///
    /// # Errors
    /// [`Error::Runtime`] if the system has no resources for it.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        Ok(Self {
            runtime,
            socket: socket.into(),
            patience: Duration::ZERO,
        })
    }

    /// The same client, whose requests wait this long for a daemon that is only starting: until
    /// then no process listens at the socket.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The socket of the daemon.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Read a resource.
    ///
    /// # Errors
    /// Any [`Error`], as for each call below.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.whole(Method::GET, path, None)
            .and_then(|(_, body)| self.parse(&body))
    }

    /// Read a resource that may take any time to compute.
    pub fn get_slowly<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.request(Method::GET, path, None, empty())?;
        let (_, body) = self.runtime.block_on(async {
            let response = self.answer(request).await?;
            self.collect(self.checked(response).await?).await
        })?;
        self.parse(&body)
    }

    /// Read a resource as text.
    pub fn text(&self, path: &str) -> Result<String, Error> {
        let (_, body) = self.whole(Method::GET, path, None)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Send a body as JSON, and return the answer with its status.
    pub fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(StatusCode, T), Error> {
        let json = serde_json::to_vec(body).map_err(|error| refused(path, &error))?;
        let (status, body) = self.whole(method, path, Some(json))?;
        Ok((status, self.parse(&body)?))
    }

    /// Create something that needs no body.
    pub fn put<T: DeserializeOwned>(&self, path: &str) -> Result<(StatusCode, T), Error> {
        let (status, body) = self.whole(Method::PUT, path, None)?;
        Ok((status, self.parse(&body)?))
    }

    /// Have something done that needs no body.
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<(StatusCode, T), Error> {
        let (status, body) = self.whole(Method::POST, path, None)?;
        Ok((status, self.parse(&body)?))
    }

    /// Delete a resource.
    pub fn delete(&self, path: &str) -> Result<(), Error> {
        self.whole(Method::DELETE, path, None).map(|_| ())
    }

    /// Send a disk's content in [`frames`](crate::model::frames). The iterator makes them as the
    /// daemon takes them; it may block.
    pub fn upload<I>(&self, path: &str, parts: I) -> Result<(), Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        self.send_parts(Method::PUT, path, FRAMES_TYPE, parts)
            .map(drop)
    }

    /// Send plain bytes, as [`Client::upload`] does, and return the answer.
    pub fn upload_plain<I, T: DeserializeOwned>(&self, path: &str, parts: I) -> Result<T, Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        let kind = "application/octet-stream";
        let body = self.send_parts(Method::PUT, path, kind, parts)?;
        self.parse(&body)
    }

    /// Send bytes that replace a part of a disk's content. The iterator makes them as the daemon
    /// takes them; it may block.
    pub fn write<I>(&self, path: &str, parts: I) -> Result<(), Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        self.send_parts(Method::PATCH, path, "application/octet-stream", parts)
            .map(drop)
    }

    /// Send a change of a disk's content, as [`Client::upload`] does.
    pub fn upload_change<I>(&self, path: &str, parts: I) -> Result<(), Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        self.send_parts(Method::PUT, path, DELTA_TYPE, parts)
            .map(drop)
    }

    fn send_parts<I>(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        parts: I,
    ) -> Result<Bytes, Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        let body = Parts(parts).boxed_unsync();
        let request = self.request(method, path, Some(kind), body)?;
        self.runtime.block_on(async {
            let stream = self.connect().await?;
            // Less may be what the system allows.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, AHEAD_BYTES);
            let response = self.answer_over(stream, request).await?;
            let response = self.checked(response).await?;
            self.collect(response).await.map(|(_, body)| body)
        })
    }

    /// Make a connection one of another protocol, after the answer 101. Returns its socket, which
    /// blocks, and what came behind the answer already.
    pub fn upgrade(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> Result<(std::os::unix::net::UnixStream, Bytes), Error> {
        let request = self.request(Method::GET, path, None, empty())?;
        self.upgrade_with(request, protocol)
    }

    /// The same, of a request with a body as JSON.
    pub fn upgrade_sending<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: &B,
        protocol: &'static str,
    ) -> Result<(std::os::unix::net::UnixStream, Bytes), Error> {
        let json = serde_json::to_vec(body).map_err(|error| refused(path, &error))?;
        let request = self.request(method, path, Some("application/json"), full(json))?;
        self.upgrade_with(request, protocol)
    }

    fn upgrade_with(
        &self,
        mut request: Request<Content>,
        protocol: &'static str,
    ) -> Result<(std::os::unix::net::UnixStream, Bytes), Error> {
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        let upgraded = async {
            let response = self.answer(request).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                self.checked(response).await?;
                return Err(self.odd(&format!("did not switch to {protocol}")));
            }
            let upgraded = hyper::upgrade::on(response).await;
            upgraded.map_err(|error| self.broke(&error))
        };
        let upgraded = self
            .runtime
            .block_on(self.in_time(ANSWER_WITHIN, upgraded))?;
        let parts = upgraded.downcast::<TokioIo<UnixStream>>();
        let parts = parts.map_err(|_| self.odd("is connected in another way"))?;
        let stream = parts.io.into_inner().into_std().and_then(|stream| {
            stream.set_nonblocking(false)?;
            Ok(stream)
        });
        let broke = |error: io::Error| self.odd(&format!("broke off: {error}"));
        Ok((stream.map_err(broke)?, parts.read_buf))
    }

    /// Receive events as they happen, each as its JSON, until the daemon ends or `each` fails.
    /// `query` says which, as `disk=NAME&since_seconds=600`.
    pub fn events<E: From<Error>>(
        &self,
        query: &str,
        mut each: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut lines = Lines::default();
        let path = match query {
            "" => "/v1/events".to_owned(),
            query => format!("/v1/events?{query}"),
        };
        self.stream(&path, "text/event-stream", None, |bytes| {
            let events = lines.take(bytes).map_err(|_| self.odd(events::ENDLESS))?;
            events.iter().try_for_each(|event| each(event))
        })
    }

    fn whole(
        &self,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let kind = json.is_some().then_some("application/json");
        let body = json.map_or_else(empty, full);
        let request = self.request(method, path, kind, body)?;
        let answer = async {
            let response = self.answer(request).await?;
            self.collect(self.checked(response).await?).await
        };
        self.runtime.block_on(self.in_time(ANSWER_WITHIN, answer))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Content,
    ) -> Result<Request<Content>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost");
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        request.body(body).map_err(|error| refused(path, &error))
    }

    /// Connect, send the request, and read the head of the answer.
    async fn answer(&self, request: Request<Content>) -> Result<Response<Incoming>, Error> {
        let stream = self.connect().await?;
        self.answer_over(stream, request).await
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        let began = Instant::now();
        loop {
            let stream = UnixStream::connect(&self.socket).await;
            let error = match stream.map_err(|source| self.unreachable(source)) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let is_starting = matches!(error, Error::NoDaemon { .. });
            if !is_starting || began.elapsed() >= self.patience {
                return Err(error);
            }
            tokio::time::sleep(LOOKS_AGAIN_AFTER).await;
        }
    }

    /// Send the request, and read the head of the answer.
    async fn answer_over(
        &self,
        stream: UnixStream,
        request: Request<Content>,
    ) -> Result<Response<Incoming>, Error> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke(&error))?;
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await;
        answer.map_err(|error| self.broke(&error))
    }

    fn unreachable(&self, source: io::Error) -> Error {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Error::NotAllowed { socket, source },
            _ => Error::NoDaemon { socket, source },
        }
    }

    /// An answer that isn't a refusal.
    async fn checked(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let (_, body) = self.collect(response).await?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(Error::Problem(Box::new(problem))),
            Err(_) => Err(self.odd(&format!("answered {status} without a reason"))),
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<(StatusCode, Bytes), Error> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES);
        match body.collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(self.odd(&format!("broke off: {error}"))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| {
            self.odd(&format!(
                "sent an answer that this version does not understand ({error})"
            ))
        })
    }

    async fn in_time<T>(
        &self,
        within: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = |_| {
            let socket = self.socket.clone();
            Error::Late { socket, within }
        };
        tokio::time::timeout(within, work).await.map_err(late)?
    }

    fn odd(&self, what: &str) -> Error {
        Error::Broken {
            socket: self.socket.clone(),
            what: what.to_owned(),
        }
    }

    /// hyper's error and its sources, which often have the reason.
    fn broke(&self, error: &hyper::Error) -> Error {
        let mut text = error.to_string();
        let mut has_ended = error.is_incomplete_message();
        let mut below = std::error::Error::source(error);
        while let Some(cause) = below {
            has_ended |= cause.downcast_ref::<io::Error>().is_some_and(error::is_end);
            text = format!("{text}: {cause}");
            below = cause.source();
        }
        match has_ended {
            true => self.odd("broke off in its answer, most likely because it ended"),
            false => self.odd(&format!("broke off: {text}")),
        }
    }
}

fn refused(path: &str, why: &dyn std::error::Error) -> Error {
    Error::Request {
        path: path.to_owned(),
        reason: why.to_string(),
    }
}
