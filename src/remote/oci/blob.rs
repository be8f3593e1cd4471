//! Sending a blob to a registry: in pieces, front to back, since its digest is known at its end.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, Url};

use super::super::digest;
use super::super::error::Fault;
use super::super::http::patience::Tries;
use super::super::http::request::{Ask, succeeded};
use super::registry::Registry;
use crate::image::Digest;

const BINARY: &str = "application/octet-stream";

/// A blob that is being sent.
#[derive(Debug)]
pub(super) struct Session {
    registry: Arc<Registry>,
    /// Where the next piece goes.
    url: Url,
    sent_bytes: u64,
}

impl Session {
    pub(super) async fn begin(registry: Arc<Registry>) -> Result<Self, Fault> {
        let ask = registry.ask(Method::POST, "blobs/uploads/");
        let answer = registry.send(ask).await?;
        let answer = succeeded(answer, &registry.patience).await?;
        let url = location(&registry, &answer)?;
        Ok(Self {
            registry,
            url,
            sent_bytes: 0,
        })
    }

    /// Send the next piece.
    pub(super) async fn send(&mut self, mut piece: Bytes) -> Result<(), Fault> {
        let registry = self.registry.clone();
        let mut tries = Tries::new(&registry.patience);
        while !piece.is_empty() {
            let last = self.sent_bytes + piece.len() as u64 - 1;
            let ask = Ask::new(Method::PATCH, self.url.clone())
                .with(CONTENT_TYPE, BINARY)
                .with(CONTENT_RANGE, &format!("{}-{last}", self.sent_bytes))
                .body(piece.clone());
            match registry.send_once(ask).await {
                Ok(answer) => {
                    self.url = location(&registry, &answer)?;
                    self.sent_bytes = last + 1;
                    return Ok(());
                }
                Err(fault) => {
                    tries.pause(fault).await?;
                    // How much of the piece has arrived?
                    let arrived = self.arrived().await?;
                    let more = arrived.checked_sub(self.sent_bytes);
                    let more = more.and_then(|more| usize::try_from(more).ok());
                    let Some(more) = more.filter(|&more| more <= piece.len()) else {
                        let text = "it has lost a part of what was sent; try again";
                        return Err(Fault::Content(text.into()));
                    };
                    piece.advance(more);
                    self.sent_bytes = arrived;
                    tries.went_on(more as u64);
                }
            }
        }
        Ok(())
    }

    /// How many bytes the registry has.
    async fn arrived(&mut self) -> Result<u64, Fault> {
        let ask = Ask::new(Method::GET, self.url.clone());
        let answer = self.registry.send(ask).await?;
        let answer = succeeded(answer, &self.registry.patience).await?;
        self.url = location(&self.registry, &answer)?;
        let range = answer.headers().get(RANGE);
        let range = range.and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        // A range of one byte can't be told from none.
        Ok(last
            .filter(|&last| last > 0)
            .map_or(0, |last| last.saturating_add(1)))
    }

    /// All of it was sent: it is the blob with this digest.
    pub(super) async fn finish(mut self, digest: Digest) -> Result<(), Fault> {
        let registry = self.registry.clone();
        self.url
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let mut tries = Tries::new(&registry.patience);
        loop {
            let ask = Ask::new(Method::PUT, self.url.clone());
            let ask = ask.with(CONTENT_TYPE, BINARY).body(Bytes::new());
            match registry.send_once(ask).await {
                Ok(_) => return Ok(()),
                // A try before may have succeeded, and its answer got lost.
                Err(Fault::Status { status, .. })
                    if status == 404 && has(&registry, digest).await? =>
                {
                    return Ok(());
                }
                Err(fault) => tries.pause(fault).await?,
            }
        }
    }

    /// Where the session is, so that it can be ended.
    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }
}

/// End a session: the registry forgets what was sent.
pub(super) async fn end(registry: &Registry, url: Url) -> Result<(), Fault> {
    registry
        .send_once(Ask::new(Method::DELETE, url))
        .await
        .map(|_| ())
}

/// Send a small blob, unless the registry has it.
pub(super) async fn put(registry: &Arc<Registry>, bytes: Bytes) -> Result<Digest, Fault> {
    let digest = digest::of(&bytes);
    if has(registry, digest).await? {
        return Ok(digest);
    }
    let mut session = Session::begin(registry.clone()).await?;
    session.send(bytes).await?;
    session.finish(digest).await?;
    Ok(digest)
}

async fn has(registry: &Registry, digest: Digest) -> Result<bool, Fault> {
    let ask = registry.ask(Method::HEAD, &format!("blobs/{digest}"));
    Ok(registry.send(ask).await?.status().is_success())
}

fn location(registry: &Registry, answer: &Response) -> Result<Url, Fault> {
    let location = answer.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| registry.resolve(location));
    url.ok_or_else(|| Fault::Answer("it doesn't say where a blob is sent to".into()))
}
