//! Where an object's bytes come from, and which version of it they must belong to.

use std::fmt::Debug;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response, Url};

use super::super::error::Fault;
use super::net::Net;
use super::patience::{Patience, Tries};
use super::request::{Ask, chunk, host, succeeded};

/// How often a request is sent with another token.
const MOST_ROUNDS: u32 = 4;

/// How to ask for an object.
pub(in crate::remote) trait Origin: Debug + Send + Sync {
    /// A request for it, with what it takes to be allowed.
    fn ask(&self) -> Result<Ask, Fault>;

    /// Whether its bytes are known by their digest, so that its place may call it by any tag.
    fn has_digest(&self) -> bool {
        false
    }

    /// Whether a request is for one use.
    fn is_fresh_each_time(&self) -> bool {
        false
    }

    /// Get what it takes to be allowed, after an answer (401) that demands it. Returns whether that
    /// is possible.
    fn authorize<'a>(&'a self, answer: &'a Response) -> Authorized<'a> {
        let _ = answer;
        Box::pin(async { Ok(false) })
    }
}

/// Whether a request may be sent again.
pub(in crate::remote) type Authorized<'a> =
    Pin<Box<dyn Future<Output = Result<bool, Fault>> + Send + 'a>>;

/// A URL as it was given.
#[derive(Debug)]
pub(in crate::remote) struct Plain(pub(in crate::remote) Url);

impl Origin for Plain {
    fn ask(&self) -> Result<Ask, Fault> {
        Ok(Ask::new(Method::GET, self.0.clone()))
    }
}

/// An object on another host.
#[derive(Debug)]
pub(in crate::remote) struct Source {
    /// What messages call it.
    pub(in crate::remote) name: String,
    pub(in crate::remote) net: &'static Net,
    pub(in crate::remote) patience: Patience,
    origin: Box<dyn Origin>,
    /// Where its last request ended up.
    at: Mutex<Option<Ask>>,
}

/// What stays the same while an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::remote) struct Version {
    pub(in crate::remote) size_bytes: u64,
    /// Its `ETag`, weak or strong.
    etag: Option<String>,
    /// `Last-Modified`, where there is no `ETag`.
    written: Option<String>,
}

impl Version {
    fn of(answer: &Response, size_bytes: u64) -> Self {
        let text = |name| {
            let value = answer.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let etag = text(ETAG);
        let written = text(LAST_MODIFIED).filter(|_| etag.is_none());
        Self {
            size_bytes,
            etag,
            written,
        }
    }

    /// The strong `ETag`.
    pub(in crate::remote) fn strong(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| !etag.starts_with("W/"))
    }
}

/// An object that was found.
#[derive(Debug)]
pub(in crate::remote) enum Found {
    /// Any part of it can be read. These are its first bytes.
    Ranged(Version, Bytes),
    /// All of it comes in this answer.
    Whole(Response, Option<u64>, Option<String>),
}

impl Source {
    pub(in crate::remote) fn new(
        name: String,
        origin: Box<dyn Origin>,
        net: &'static Net,
        patience: Patience,
    ) -> Self {
        Self {
            name,
            net,
            patience,
            origin,
            at: Mutex::new(None),
        }
    }

    /// Find it, and how it can be read.
    pub(in crate::remote) async fn find(&self, first_bytes: u64) -> Result<Found, Fault> {
        let mut tries = Tries::new(&self.patience);
        loop {
            match self.look(first_bytes).await {
                Ok(found) => return Ok(found),
                // No server at all: most likely the name is wrong.
                Err(fault @ Fault::Connect { .. }) => return Err(fault),
                Err(fault) => tries.pause(fault).await?,
            }
        }
    }

    async fn look(&self, first_bytes: u64) -> Result<Found, Fault> {
        let asked = 0..first_bytes;
        let answer = self.ask(Some(&asked), None).await?;
        if answer.status() == 416 && content_range(&answer).is_some_and(|it| it.total == Some(0)) {
            return Ok(Found::Ranged(Version::of(&answer, 0), Bytes::new()));
        }
        let mut answer = succeeded(answer, &self.patience).await?;
        let part = content_range(&answer).filter(|_| answer.status() == 206);
        let Some(part) = part.filter(|part| part.range.as_ref().is_some_and(|it| it.start == 0))
        else {
            return self.whole(answer).await;
        };
        let Some(size_bytes) = part.total else {
            return self.whole(answer).await;
        };
        let version = Version::of(&answer, size_bytes);
        let wanted = first_bytes.min(size_bytes);
        let mut bytes = Vec::new();
        let host = host(answer.url());
        while let Some(more) = chunk(&mut answer, &host, &self.patience).await? {
            bytes.extend_from_slice(&more);
            if bytes.len() as u64 > wanted {
                return Err(Fault::Answer("it has more bytes than its range".into()));
            }
        }
        if bytes.len() as u64 != wanted {
            return Err(Fault::Broken {
                host,
                why: "it ended early".into(),
            });
        }
        Ok(Found::Ranged(version, bytes.into()))
    }

    /// All of it, from a server that has no ranges for it.
    async fn whole(&self, answer: Response) -> Result<Found, Fault> {
        let answer = match answer.status().as_u16() {
            200 => answer,
            // A range of an object whose size the server doesn't say.
            _ => succeeded(self.ask(None, None).await?, &self.patience).await?,
        };
        let length = answer.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|it| it.to_str().ok()?.parse().ok());
        let strong = Version::of(&answer, 0).strong().map(str::to_owned);
        Ok(Found::Whole(answer, length, strong))
    }

    /// Read a range of this version, from one answer or as many as it takes. `take` returns whether
    /// to go on.
    pub(in crate::remote) async fn range(
        &self,
        range: Range<u64>,
        version: &Version,
        mut take: impl FnMut(&Bytes) -> bool + Send,
    ) -> Result<(), Fault> {
        let mut tries = Tries::new(&self.patience);
        let mut at = range.start;
        while at < range.end {
            let before = at;
            let read = self.once(&mut at, range.end, version, &mut take).await;
            tries.went_on(at - before);
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(fault) => tries.pause(fault).await?,
            }
        }
        Ok(())
    }

    /// Read from `at` on, from one answer. Returns whether to go on.
    async fn once(
        &self,
        at: &mut u64,
        end: u64,
        version: &Version,
        take: &mut (impl FnMut(&Bytes) -> bool + Send),
    ) -> Result<bool, Fault> {
        let asked = *at..end;
        let answer = self.ask(Some(&asked), Some(version)).await?;
        if matches!(answer.status().as_u16(), 412 | 416) {
            return Err(Fault::Changed);
        }
        let mut answer = succeeded(answer, &self.patience).await?;
        let size_bytes = version.size_bytes;
        if answer.status() != 206 {
            // Whether it still has ranges is asked with the version, which may be another one.
            return Err(match Version::of(&answer, size_bytes) == *version {
                true => Fault::Answer("it has no ranges any more".into()),
                false => Fault::Changed,
            });
        }
        let part = content_range(&answer);
        let part = part.ok_or_else(|| Fault::Answer("it doesn't say which range it is".into()))?;
        // A blob is named by its digest. Those that store it may call it by other names.
        let is_same = self.origin.has_digest() || Version::of(&answer, size_bytes) == *version;
        if !is_same || part.total.is_some_and(|total| total != size_bytes) {
            return Err(Fault::Changed);
        }
        let Some(got) = part.range.filter(|got| got.start == *at && got.end <= end) else {
            return Err(Fault::Answer("it is of another range".into()));
        };
        let host = host(answer.url());
        while let Some(more) = chunk(&mut answer, &host, &self.patience).await? {
            if more.len() as u64 > got.end - *at {
                return Err(Fault::Answer("it has more bytes than its range".into()));
            }
            *at += more.len() as u64;
            if !take(&more) {
                return Ok(false);
            }
        }
        match *at == got.end {
            true => Ok(true),
            false => Err(Fault::Broken {
                host,
                why: format!("it ended at byte {at}"),
            }),
        }
    }

    /// Send one request, where the last one ended up. If that place refuses, its right may have
    /// run out, and the way there begins again.
    async fn ask(
        &self,
        range: Option<&Range<u64>>,
        version: Option<&Version>,
    ) -> Result<Response, Fault> {
        let known = self.at.lock().clone();
        if let Some(known) = known {
            let answer = self.send(known, range, version).await?;
            if !matches!(answer.status().as_u16(), 401 | 403 | 404 | 410) {
                return Ok(answer);
            }
            *self.at.lock() = None;
        }
        let mut rounds = 0;
        loop {
            let ask = self.origin.ask()?;
            let answer = self.send(ask.clone(), range, version).await?;
            rounds += 1;
            // A token ran out, or was never needed before. Another request may use up the new one.
            let wants_more = answer.status() == 401 && rounds < MOST_ROUNDS;
            if !wants_more || !self.origin.authorize(&answer).await? {
                self.keep(ask, &answer);
                return Ok(answer);
            }
        }
    }

    async fn send(
        &self,
        mut ask: Ask,
        range: Option<&Range<u64>>,
        version: Option<&Version>,
    ) -> Result<Response, Fault> {
        if let Some(range) = range {
            let text = format!("bytes={}-{}", range.start, range.end - 1);
            ask = ask.with(RANGE, &text);
        }
        let is_blob = self.origin.has_digest();
        if let Some(version) = version.filter(|_| !is_blob) {
            // A weak tag never matches (RFC 9110 §13.1.1), so the answer's is compared.
            if let Some(etag) = version.strong() {
                ask = ask.with(IF_MATCH, etag);
            }
            if let Some(written) = &version.written {
                ask = ask.with(IF_UNMODIFIED_SINCE, written);
            }
        }
        ask.send(self.net, &self.patience).await
    }

    /// Remember where a request ended up, unless it is signed for one use.
    fn keep(&self, ask: Ask, answer: &Response) {
        if !answer.status().is_success() || self.origin.is_fresh_each_time() {
            return;
        }
        let mut ask = ask;
        if answer.url() != &ask.url {
            // What the first place was sent isn't for the last one, unless it is the same server,
            // and a user in the URL is none of the answer's.
            if answer.url().origin() != ask.url.origin() {
                ask.headers.clear();
            }
            if ask.url.username().is_empty() && ask.url.password().is_none() {
                ask.url = answer.url().clone();
            }
        }
        *self.at.lock() = Some(ask);
    }
}

/// What `Content-Range` says (RFC 9110 §14.4).
struct ContentRange {
    range: Option<Range<u64>>,
    total: Option<u64>,
}

fn content_range(answer: &Response) -> Option<ContentRange> {
    parse_content_range(answer.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_content_range(text: &str) -> Option<ContentRange> {
    let (range, total) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    let range = match range {
        "*" => None,
        range => {
            let (first, last) = range.split_once('-')?;
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            let end = last.checked_add(1)?;
            if first >= end || total.is_some_and(|total| end > total) {
                return None;
            }
            Some(first..end)
        }
    };
    Some(ContentRange { range, total })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_a_range_within_the_total() {
        let parse = |text| parse_content_range(text).map(|it| (it.range, it.total));
        assert_eq!(parse("bytes 0-9/10"), Some((Some(0..10), Some(10))));
        assert_eq!(parse("bytes 5-9/*"), Some((Some(5..10), None)));
        assert_eq!(parse("bytes */0"), Some((None, Some(0))));
        for text in [
            "bytes 0-10/10",
            "bytes 5-4/10",
            "bytes 0-18446744073709551615/*",
            "bytes -1/10",
            "items 0-9/10",
            "bytes",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
