//! One request and its answer: redirects, and what a refusal says.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER,
};
use reqwest::{Method, Response, Url};
use tokio::time::timeout;

use super::super::error::Fault;
use super::super::place::without_secrets;
use super::net::Net;
use super::patience::Patience;

/// How many redirects to follow.
const MOST_REDIRECTS: u32 = 10;
/// How much of a refusal's text is read.
const MOST_SAID_BYTES: usize = 8 << 10;
/// How slow the sending of a body may be, in bytes a second.
const SLOWEST_BYTES: u64 = 64 << 10;

/// A request.
#[derive(Clone, Debug)]
pub(in crate::remote) struct Ask {
    pub(in crate::remote) method: Method,
    pub(in crate::remote) url: Url,
    pub(in crate::remote) headers: HeaderMap,
    pub(in crate::remote) body: Option<Bytes>,
}

impl Ask {
    pub(in crate::remote) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// The same request with a header. A value that no header can have is left out.
    pub(in crate::remote) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The same request with a body.
    pub(in crate::remote) fn body(mut self, bytes: Bytes) -> Self {
        self.body = Some(bytes);
        self
    }

    /// What messages call the other side.
    pub(in crate::remote) fn host(&self) -> String {
        host(&self.url)
    }

    /// Send it, and follow redirects. The answer has any other status.
    ///
    /// # Errors
    /// No answer comes, or a redirect leads nowhere.
    pub(in crate::remote) async fn send(
        mut self,
        net: &Net,
        patience: &Patience,
    ) -> Result<Response, Fault> {
        // A user and a password in the URL are credentials for its host only.
        if !self.url.username().is_empty() || self.url.password().is_some() {
            self = self.with_basic();
        }
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.once(net, patience).await?;
            let Some(to) = self.redirect(&answer)? else {
                return Ok(answer);
            };
            if !same_origin(&self.url, &to) {
                self.headers.remove(AUTHORIZATION);
            }
            self.url = to;
        }
        Err(Fault::Redirect(format!(
            "the server redirects more than {MOST_REDIRECTS} times"
        )))
    }

    async fn once(&self, net: &Net, patience: &Patience) -> Result<Response, Fault> {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        let identity = HeaderValue::from_static("identity");
        request.headers_mut().insert(ACCEPT_ENCODING, identity);
        let mut longest = patience.quiet;
        if let Some(body) = &self.body {
            longest += Duration::from_secs(body.len() as u64 / SLOWEST_BYTES);
            *request.body_mut() = Some(body.clone().into());
        }
        let answer = timeout(longest, net.client().execute(request)).await;
        let quiet = |_| Fault::Stalled {
            host: self.host(),
            quiet: longest,
        };
        let answer = answer.map_err(quiet)?;
        answer.map_err(|error| Fault::of(&error, &self.host()))
    }

    /// Where a redirect leads, if the answer is one that this request may follow.
    fn redirect(&self, answer: &Response) -> Result<Option<Url>, Fault> {
        let follows = match answer.status().as_u16() {
            301..=303 => matches!(self.method, Method::GET | Method::HEAD),
            307 | 308 => true,
            _ => false,
        };
        let Some(to) = answer.headers().get(LOCATION).filter(|_| follows) else {
            return Ok(None);
        };
        let to = to.to_str().ok().and_then(|to| answer.url().join(to).ok());
        let to = to.ok_or_else(|| Fault::Redirect("the server redirects to no URL".into()))?;
        if !matches!(to.scheme(), "http" | "https") || to.host_str().is_none() {
            let text = format!("the server redirects to {}://", to.scheme());
            return Err(Fault::Redirect(text));
        }
        if self.url.scheme() == "https" && to.scheme() == "http" {
            let text = format!(
                "the server redirects to {}, which isn't encrypted",
                without_secrets(&to)
            );
            return Err(Fault::Redirect(text));
        }
        Ok(Some(to))
    }

    fn with_basic(mut self) -> Self {
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8_lossy()
                .into_owned()
        };
        let user = decode(self.url.username());
        let password = decode(self.url.password().unwrap_or_default());
        let _ = self.url.set_username("");
        let _ = self.url.set_password(None);
        let value = basic(&user, &password);
        self.with(AUTHORIZATION, &value)
    }
}

/// The value of `Authorization` for a user with a password.
pub(in crate::remote) fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    let text = format!("{user}:{password}");
    let coded = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {coded}")
}

pub(in crate::remote) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("the server");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// An answer that succeeded.
///
/// # Errors
/// [`Fault::Status`] with what the server says.
pub(in crate::remote) async fn succeeded(
    answer: Response,
    patience: &Patience,
) -> Result<Response, Fault> {
    let status = answer.status();
    if !status.is_success() {
        return Err(refusal(answer, patience).await);
    }
    let coding = answer.headers().get(CONTENT_ENCODING);
    if let Some(coding) = coding.filter(|coding| *coding != "identity") {
        return Err(Fault::Answer(format!(
            "it is encoded as {coding:?}, which wasn't asked for"
        )));
    }
    Ok(answer)
}

/// Why the server refuses.
pub(in crate::remote) async fn refusal(answer: Response, patience: &Patience) -> Fault {
    let (status, wait) = (answer.status(), asked_wait(&answer));
    let text = text(answer, patience, MOST_SAID_BYTES).await;
    Fault::status(status, &said(&text.unwrap_or_default()), wait)
}

/// An answer's text, of which at most this much is read.
pub(in crate::remote) async fn text(
    mut answer: Response,
    patience: &Patience,
    most_bytes: usize,
) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    let host = host(answer.url());
    while let Some(more) = chunk(&mut answer, &host, patience).await? {
        let room = most_bytes - bytes.len();
        bytes.extend_from_slice(&more[..more.len().min(room)]);
        if more.len() > room {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The next bytes of an answer.
pub(in crate::remote) async fn chunk(
    answer: &mut Response,
    host: &str,
    patience: &Patience,
) -> Result<Option<Bytes>, Fault> {
    let quiet = patience.quiet;
    let stalled = |_| Fault::Stalled {
        host: host.to_owned(),
        quiet,
    };
    let more = timeout(quiet, answer.chunk()).await.map_err(stalled)?;
    more.map_err(|error| Fault::of(&error, host))
}

/// What is worth repeating of a refusal: the code and message of S3 (XML) or of a registry (JSON).
fn said(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (inner, _) = rest.split_once('<')?;
        Some(inner.to_owned())
    };
    if let Some(code) = between("Code") {
        return match between("Message").filter(|message| !message.is_empty()) {
            Some(message) => format!("{code}: {message}"),
            None => code,
        };
    }
    let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
    let first = json.as_ref().and_then(|json| json.pointer("/errors/0"));
    let field = |name: &str| first?.get(name)?.as_str();
    match (field("code"), field("message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => String::new(),
    }
}

/// How long the server asks to wait.
fn asked_wait(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_code() {
        let xml = "<?xml?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";
        assert_eq!(said(xml), "NoSuchKey: gone");
        assert_eq!(said("<Error><Code>SlowDown</Code></Error>"), "SlowDown");
        let json = r#"{"errors":[{"code":"DENIED","message":"no"}]}"#;
        assert_eq!(said(json), "DENIED: no");
        for nothing in ["", "<html>", "{}", "[1", r#"{"errors":[]}"#, "<Code>"] {
            assert_eq!(said(nothing), "");
        }
    }
}
