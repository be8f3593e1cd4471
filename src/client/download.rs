//! A long answer that is being read.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap, RANGE};
use hyper::{Method, Request};

use super::{ANSWER_WITHIN, Client, Content, Error, empty};

/// A long answer that is being read.
#[derive(Debug)]
pub struct Download<'c> {
    client: &'c Client,
    headers: HeaderMap,
    body: Incoming,
    idle: Option<Duration>,
}

impl Client {
    /// Read a long answer part by part, until its end or until `each` fails. `idle` bounds the time
    /// between two parts.
    pub fn stream<E: From<Error>>(
        &self,
        path: &str,
        accept: &str,
        idle: Option<Duration>,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let request = self.accepting(path, accept)?;
        self.stream_of(request, idle, each)
    }

    /// Read `length` bytes, at least one, of a disk's content from `start` on, part by part, as
    /// [`Client::stream`] does. There are fewer if the disk ends before.
    pub fn stream_range<E: From<Error>>(
        &self,
        path: &str,
        (start, length): (u64, u64),
        idle: Option<Duration>,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut request = self.accepting(path, "application/octet-stream")?;
        let last = start.saturating_add(length).saturating_sub(1);
        if let Ok(range) = format!("bytes={start}-{last}").parse() {
            request.headers_mut().insert(RANGE, range);
        }
        self.stream_of(request, idle, each)
    }

    fn accepting(&self, path: &str, accept: &str) -> Result<Request<Content>, Error> {
        let mut request = self.request(Method::GET, path, None, empty())?;
        if let Ok(accept) = accept.parse() {
            request.headers_mut().insert(ACCEPT, accept);
        }
        Ok(request)
    }

    /// Begin to read a long answer, whose head is there when this returns.
    pub fn download(
        &self,
        path: &str,
        accept: &str,
        idle: Option<Duration>,
    ) -> Result<Download<'_>, Error> {
        let request = self.accepting(path, accept)?;
        self.download_of(request, idle)
    }

    fn download_of(
        &self,
        request: Request<Content>,
        idle: Option<Duration>,
    ) -> Result<Download<'_>, Error> {
        let response = self.runtime.block_on(async {
            let response = self.in_time(ANSWER_WITHIN, self.answer(request)).await?;
            self.checked(response).await
        })?;
        let (head, body) = response.into_parts();
        Ok(Download {
            client: self,
            headers: head.headers,
            body,
            idle,
        })
    }

    pub(super) fn stream_of<E: From<Error>>(
        &self,
        request: Request<Content>,
        idle: Option<Duration>,
        each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.download_of(request, idle)?.each(each)
    }
}

impl Download<'_> {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Read it part by part, until its end or until `each` fails.
    ///
    /// # Errors
    /// Any [`Error`], and those of `each`.
    pub fn each<E: From<Error>>(
        mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (client, body) = (self.client, &mut self.body);
        client.runtime.block_on(async {
            loop {
                let next = async { Ok(body.frame().await) };
                let frame = match self.idle {
                    Some(idle) => client.in_time(idle, next).await?,
                    None => next.await?,
                };
                match frame {
                    None => return Ok(()),
                    Some(Err(error)) => return Err(client.broke(&error).into()),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            each(&bytes)?;
                        }
                    }
                }
            }
        })
    }
}
