//! The API from the other side: one request at a time, over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::error::Error;
use crate::model::{Problem, ProblemKind};

/// How long an answer may take. Who ends a disk waits while its memory goes back to the host.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The longest answer that is kept as a whole: maps and lists come in parts.
const MOST_BYTES: usize = 256 << 20;
/// The media type of a disk's content.
pub(super) const EXTENTS: &str = "application/vnd.ramblk.extents";
/// What may stand in a path or query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

type Content = UnsyncBoxBody<Bytes, io::Error>;

/// A part of a path, or a value of a query, whatever characters it has.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Who asks the daemon.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    socket: PathBuf,
}

/// What comes out of a long answer.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

impl Client {
    /// One that asks at this socket. Nothing is opened yet.
    pub(super) fn new(socket: PathBuf) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Other(format!("can't start to ask: {error}")))?;
        Ok(Self { runtime, socket })
    }

    /// Where it asks.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.whole(Method::GET, path, None)
            .and_then(|(_, body)| self.parse(&body))
    }

    /// The answer as it comes.
    pub(super) fn text(&self, path: &str) -> Result<String, Error> {
        let (_, body) = self.whole(Method::GET, path, None)?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Say something, and hear what became of it.
    pub(super) fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(StatusCode, T), Error> {
        let json = serde_json::to_vec(body)
            .map_err(|error| Error::Other(format!("can't write it as JSON: {error}")))?;
        let (status, body) = self.whole(method, path, Some(json))?;
        Ok((status, self.parse(&body)?))
    }

    /// Ask for something that is made of nothing but its name.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str) -> Result<(StatusCode, T), Error> {
        let (status, body) = self.whole(Method::PUT, path, None)?;
        Ok((status, self.parse(&body)?))
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Error> {
        self.whole(Method::DELETE, path, None).map(|_| ())
    }

    /// Send a long body in parts. They are made one by one as the daemon takes them.
    pub(super) fn upload<I>(&self, path: &str, parts: I) -> Result<(), Error>
    where
        I: Iterator<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    {
        let body = Parts(parts).boxed_unsync();
        let request = self.request(Method::PUT, path, Some(EXTENTS), body)?;
        self.runtime.block_on(async {
            let response = self.answer(request).await?;
            let response = self.checked(response).await?;
            self.collect(response).await.map(|_| ())
        })
    }

    /// Read a long answer part by part, as they come. Without `idle` each may take any time.
    pub(super) fn stream(
        &self,
        path: &str,
        accept: &str,
        idle: Option<Duration>,
        each: Each,
    ) -> Result<(), Error> {
        let mut request = self.request(Method::GET, path, None, empty())?;
        if let Ok(accept) = accept.parse() {
            request.headers_mut().insert(ACCEPT, accept);
        }
        self.runtime.block_on(async {
            let response = self.in_time(ANSWER_WITHIN, self.answer(request)).await?;
            let mut body = self.checked(response).await?.into_body();
            loop {
                let next = async { Ok(body.frame().await) };
                let frame = match idle {
                    Some(idle) => self.in_time(idle, next).await?,
                    None => next.await?,
                };
                match frame {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(self.broke(&error)),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            each(&bytes)?;
                        }
                    }
                }
            }
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
        request
            .body(body)
            .map_err(|error| Error::Other(format!("can't ask for {path}: {error}")))
    }

    /// Connect, ask, and hear the head of the answer. Each request has a connection of its own.
    async fn answer(&self, request: Request<Content>) -> Result<Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broke(&error))?;
        tokio::spawn(connection);
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
            Ok(problem) => Err(Error::Problem(Box::new(problem))
                .advise(ProblemKind::NotFound, |_| {
                    "'ramblk list' and 'ramblk group list' show what there is".into()
                })),
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
                "gave an answer that this version does not understand ({error})"
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

    /// hyper's error and what is below it: the reason is often in there.
    fn broke(&self, error: &hyper::Error) -> Error {
        let mut text = error.to_string();
        let mut below = std::error::Error::source(error);
        while let Some(cause) = below {
            text = format!("{text}: {cause}");
            below = cause.source();
        }
        self.odd(&format!("broke off: {text}"))
    }
}

fn empty() -> Content {
    full(Vec::new())
}

fn full(bytes: Vec<u8>) -> Content {
    let body = Full::new(Bytes::from(bytes));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// A body that is made part by part. Making a part may block: nothing else runs here.
struct Parts<I>(I);

impl<I: Iterator<Item = io::Result<Bytes>> + Unpin> Body for Parts<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(self.0.next().map(|part| part.map(Frame::data)))
    }
}
