//! A long answer that is being read.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::HeaderMap;

use super::{Client, Error};

/// A long answer that is being read.
#[derive(Debug)]
pub struct Download<'c> {
    pub(super) client: &'c Client,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) idle: Option<Duration>,
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
