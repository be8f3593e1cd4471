//! An upload in parts: its requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use reqwest::{Method, Response, StatusCode};

use super::super::error::Fault;
use super::super::http::net::Net;
use super::super::http::patience::{Patience, Tries};
use super::super::http::request::{Ask, refusal, succeeded, text};
use super::bucket::Bucket;

/// The longest text of an answer.
const MOST_TEXT_BYTES: usize = 1 << 20;
/// How often an upload is ended, since parts that were on their way may arrive after that.
const ABORTS: u32 = 3;

/// An object to be written.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: String,
    pub(super) net: &'static Net,
    pub(super) patience: Patience,
    /// Whether an object that is there may be replaced.
    pub(super) overwrite: bool,
}

impl Target {
    /// Fail if the object exists and must not be replaced.
    pub(super) async fn check(&self) -> Result<(), Fault> {
        if self.overwrite {
            return Ok(());
        }
        match self.size_bytes().await {
            Ok(Some(_)) => Err(Fault::Exists),
            Ok(None) => Ok(()),
            // Credentials that may write need not be able to read. The write has a condition too.
            Err(Fault::Status { status, .. }) if status == 403 => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// The object's size, if it exists.
    async fn size_bytes(&self) -> Result<Option<u64>, Fault> {
        let answer = self.send(|| self.ask(&Method::HEAD, &[])).await;
        match answer {
            Ok(answer) => {
                let length = answer.headers().get(reqwest::header::CONTENT_LENGTH);
                let length = length.and_then(|it| it.to_str().ok()?.parse().ok());
                Ok(Some(length.unwrap_or_default()))
            }
            Err(Fault::Status { status, .. }) if status == 404 => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Write the object by one request.
    pub(super) async fn put(&self, bytes: Bytes) -> Result<(), Fault> {
        let put = || Ok(self.condition(self.ask(&Method::PUT, &[])?.body(bytes.clone())));
        self.send(put)
            .await
            .map(|_| ())
            .map_err(|fault| self.exists(fault))
    }

    /// Begin an upload in parts. Returns its identifier.
    pub(super) async fn begin(&self) -> Result<String, Fault> {
        let answer = self
            .send(|| self.ask(&Method::POST, &[("uploads", "")]))
            .await?;
        let text = text(answer, &self.patience, MOST_TEXT_BYTES).await?;
        let id = between(&text, "UploadId").filter(|id| !id.is_empty());
        id.ok_or_else(|| Fault::Answer("it names no upload".into()))
    }

    /// Send a part. Returns its tag.
    pub(super) async fn part(&self, id: &str, number: u32, bytes: Bytes) -> Result<String, Fault> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", id)];
        let put = || Ok(self.ask(&Method::PUT, &query)?.body(bytes.clone()));
        let answer = self.send(put).await?;
        let etag = answer.headers().get(ETAG).and_then(|it| it.to_str().ok());
        let etag = etag.map(str::to_owned);
        etag.ok_or_else(|| Fault::Answer("it has no tag for a part".into()))
    }

    /// Make the object of all parts, which have this many bytes in all.
    pub(super) async fn complete(
        &self,
        id: &str,
        etags: &[String],
        size_bytes: u64,
    ) -> Result<(), Fault> {
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (etag, number) in etags.iter().zip(1..) {
            let etag = etag
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('"', "&quot;");
            xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        xml += "</CompleteMultipartUpload>";
        let body = Bytes::from(xml);
        let post = || {
            let ask = self.ask(&Method::POST, &[("uploadId", id)])?;
            Ok(self.condition(ask.body(body.clone())))
        };
        let answer = match self.send(post).await {
            // A try before may have succeeded, and its answer got lost.
            Err(Fault::Status { status, .. })
                if status == 404 && self.size_bytes().await? == Some(size_bytes) =>
            {
                return Ok(());
            }
            answer => answer.map_err(|fault| self.exists(fault))?,
        };
        // It may take so long that the server begins to answer before it knows.
        let text = text(answer, &self.patience, MOST_TEXT_BYTES).await?;
        match between(&text, "Code").filter(|_| text.contains("<Error>")) {
            Some(code) => Err(Fault::status(
                StatusCode::INTERNAL_SERVER_ERROR,
                &code,
                None,
            )),
            None => Ok(()),
        }
    }

    /// End an upload: its parts are deleted.
    pub(super) async fn abort(&self, id: &str) -> Result<(), Fault> {
        for _ in 0..ABORTS {
            let delete = || self.ask(&Method::DELETE, &[("uploadId", id)]);
            match self.send(delete).await {
                Err(Fault::Status { status, .. }) if status == 404 => return Ok(()),
                ended => ended?,
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn ask(&self, method: &Method, query: &[(&str, &str)]) -> Result<Ask, Fault> {
        self.bucket.ask(method, &self.key, query)
    }

    fn condition(&self, ask: Ask) -> Ask {
        match self.overwrite {
            true => ask,
            false => ask.with(IF_NONE_MATCH, "*"),
        }
    }

    fn exists(&self, fault: Fault) -> Fault {
        match &fault {
            Fault::Status { status, .. } if *status == 412 && !self.overwrite => Fault::Exists,
            _ => fault,
        }
    }

    /// Send a request until it succeeds, is refused, or was tried too often.
    async fn send(&self, make: impl Fn() -> Result<Ask, Fault>) -> Result<Response, Fault> {
        let mut tries = Tries::new(&self.patience);
        loop {
            let fault = match make()?.send(self.net, &self.patience).await {
                Ok(answer) if answer.status().is_redirection() => {
                    let region = answer.headers().get("x-amz-bucket-region");
                    match region.and_then(|region| region.to_str().ok()) {
                        Some(region) => Fault::Redirect(format!(
                            "the bucket is in another region: set AWS_REGION={region}"
                        )),
                        None => refusal(answer, &self.patience).await,
                    }
                }
                Ok(answer) => match succeeded(answer, &self.patience).await {
                    Ok(answer) => return Ok(answer),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            tries.pause(fault).await?;
        }
    }
}

fn between(text: &str, tag: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    let (inner, _) = rest.split_once('<')?;
    Some(inner.to_owned())
}
