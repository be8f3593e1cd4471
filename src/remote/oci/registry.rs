//! Requests to a repository, with a token that is asked for when one is needed.

use parking_lot::Mutex;
use reqwest::header::{AUTHORIZATION, HeaderName, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};

use super::super::error::{Error, Fault};
use super::super::http::net::Net;
use super::super::http::patience::{Patience, Tries};
use super::super::http::request::{Ask, basic, refusal, succeeded, text};
use super::super::reference::Reference;
use super::login::{DOCKER_HUB, Login};

/// Where Docker's registry is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// The longest token.
const MOST_TOKEN_BYTES: usize = 64 << 10;

/// A repository of a registry.
#[derive(Debug)]
pub(in crate::remote) struct Registry {
    /// Up to the repository, with a slash at the end.
    base: Url,
    /// What a token must allow.
    scope: String,
    login: Option<Login>,
    pub(super) net: &'static Net,
    pub(super) patience: Patience,
    /// The value of `Authorization`, once one was needed.
    token: Mutex<Option<String>>,
}

impl Registry {
    /// The repository of `reference`, to pull from it, or to push too.
    pub(super) fn new(
        reference: &Reference,
        pushes: bool,
        patience: Patience,
    ) -> Result<Self, Error> {
        let host = match reference.registry.as_str() {
            DOCKER_HUB => DOCKER_HUB_HOST,
            host => host,
        };
        let repository =
            match reference.registry == DOCKER_HUB && !reference.repository.contains('/') {
                true => format!("library/{}", reference.repository),
                false => reference.repository.clone(),
            };
        let wrong = || Error::place(&format!("oci://{reference}"), "has no registry");
        let parse = |scheme: &str| Url::parse(&format!("{scheme}://{host}/v2/{repository}/"));
        let url = parse("https").map_err(|_| wrong())?;
        // As other programs do: a registry on this host needs no certificate.
        let base = match is_this_host(&url) {
            true => parse("http").map_err(|_| wrong())?,
            false => url,
        };
        let actions = if pushes { "pull,push" } else { "pull" };
        Ok(Self {
            base,
            scope: format!("repository:{repository}:{actions}"),
            login: Login::find(&reference.registry),
            net: Net::get()?,
            patience,
            token: Mutex::new(None),
        })
    }

    /// A request to a part of the repository, with the token that there is.
    pub(in crate::remote) fn ask(&self, method: Method, path: &str) -> Ask {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        self.allowed(Ask::new(method, url))
    }

    fn allowed(&self, ask: Ask) -> Ask {
        let own = ask.url.origin() == self.base.origin();
        match &*self.token.lock() {
            Some(token) if own => ask.with(AUTHORIZATION, token),
            _ => ask,
        }
    }

    /// A URL that an answer names, as seen from the repository.
    pub(super) fn resolve(&self, location: &str) -> Option<Url> {
        let url = self.base.join(location).ok()?;
        let stays_safe = self.base.scheme() == "http" || url.scheme() == "https";
        (stays_safe && url.has_host()).then_some(url)
    }

    /// Get the token that an answer (401) demands.
    ///
    /// # Errors
    /// There is none for these credentials.
    pub(in crate::remote) async fn authorize(&self, answer: &Response) -> Result<(), Fault> {
        let refused = |text: &str| Err(Fault::Credentials(format!("the registry refuses: {text}")));
        let challenges = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let mut challenges = challenges.filter_map(|value| value.to_str().ok());
        let login = "no login for it is known; 'docker login' or 'podman login' stores one";
        let Some(challenge) = challenges.next() else {
            return refused("it doesn't say which credentials it wants");
        };
        let (scheme, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let Some(known) = &self.login else {
                return refused(login);
            };
            let value = basic(&known.user, &known.password);
            if self.token.lock().replace(value.clone()) == Some(value) {
                return refused("the login that is stored for it is wrong, or may not do this");
            }
            return Ok(());
        }
        let realm = parameter(rest, "realm").and_then(|realm| self.resolve(&realm));
        let Some(mut realm) = realm.filter(|_| scheme.eq_ignore_ascii_case("bearer")) else {
            return refused("it wants credentials of a kind that isn't known");
        };
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = parameter(rest, "service") {
                query.append_pair("service", &service);
            }
            query.append_pair("scope", &self.scope);
        }
        let mut ask = Ask::new(Method::GET, realm);
        if let Some(known) = &self.login {
            ask = ask.with(AUTHORIZATION, &basic(&known.user, &known.password));
        }
        let answer = self.tried(&ask).await?;
        if matches!(answer.status().as_u16(), 401 | 403) {
            return refused(match self.login {
                Some(_) => "the login that is stored for it is wrong, or may not do this",
                None => login,
            });
        }
        let answer = succeeded(answer, &self.patience).await?;
        let text = text(answer, &self.patience, MOST_TOKEN_BYTES).await?;
        let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let token = json.get("token").or_else(|| json.get("access_token"));
        let Some(token) = token.and_then(|token| token.as_str()) else {
            return refused("it sends no token");
        };
        *self.token.lock() = Some(format!("Bearer {token}"));
        Ok(())
    }

    /// Send a request until there is an answer that isn't about being busy.
    async fn tried(&self, ask: &Ask) -> Result<Response, Fault> {
        let mut tries = Tries::new(&self.patience);
        loop {
            let fault = match ask.clone().send(self.net, &self.patience).await {
                Ok(answer) if matches!(answer.status().as_u16(), 408 | 429 | 500..) => {
                    refusal(answer, &self.patience).await
                }
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            tries.pause(fault).await?;
        }
    }

    /// Send a request, with a token if one is wanted. The answer has any status.
    pub(super) async fn send(&self, ask: Ask) -> Result<Response, Fault> {
        let answer = self.tried(&ask).await?;
        if answer.status() != 401 {
            return Ok(answer);
        }
        self.authorize(&answer).await?;
        self.tried(&self.allowed(ask)).await
    }

    /// Send a request once, with a token if one is wanted.
    pub(super) async fn send_once(&self, ask: Ask) -> Result<Response, Fault> {
        let answer = self
            .allowed(ask.clone())
            .send(self.net, &self.patience)
            .await?;
        if answer.status() != 401 {
            return succeeded(answer, &self.patience).await;
        }
        self.authorize(&answer).await?;
        let answer = self.allowed(ask).send(self.net, &self.patience).await?;
        succeeded(answer, &self.patience).await
    }

    /// A text that the registry stores, and whether there is one.
    pub(super) async fn text(
        &self,
        path: &str,
        accept: &str,
        most_bytes: usize,
    ) -> Result<String, Fault> {
        let ask = self.ask(Method::GET, path);
        let ask = ask.with(HeaderName::from_static("accept"), accept);
        let answer = succeeded(self.send(ask).await?, &self.patience).await?;
        let text = text(answer, &self.patience, most_bytes + 1).await?;
        match text.len() > most_bytes {
            true => Err(Fault::Answer(format!(
                "it has more than {most_bytes} bytes"
            ))),
            false => Ok(text),
        }
    }
}

fn is_this_host(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse()
                .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        None => false,
    }
}

/// A parameter of a challenge (RFC 9110 §11.6.1): `NAME="VALUE"`.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = after;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_challenge_are_read() {
        let text =
            r#"realm="https://auth/token?a=b",service="reg, istry", scope="repository:a:pull""#;
        let get = |name| parameter(text, name);
        assert_eq!(get("realm").as_deref(), Some("https://auth/token?a=b"));
        assert_eq!(get("service").as_deref(), Some("reg, istry"));
        assert_eq!(get("scope").as_deref(), Some("repository:a:pull"));
        assert_eq!(get("error"), None);
        for text in ["", "realm", "realm=\"open", ",,,"] {
            assert_eq!(parameter(text, "realm"), None, "{text}");
        }
        assert_eq!(
            parameter("realm=x, service=y", "service").as_deref(),
            Some("y")
        );
    }
}
