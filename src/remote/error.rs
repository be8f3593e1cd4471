//! What goes wrong with other hosts, each in one line that ends in what to do.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use crate::image;

/// What to do if there is no room.
const FULL: &str = "make room there, or send less";

/// Why an image on another host can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place can't be.
    #[error("{place} {what}")]
    Place {
        /// What was given, without secrets.
        place: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// It can't be opened, read or written.
    #[error("can't {verb} {name:?}: {fault}")]
    Failed {
        /// What was tried.
        verb: &'static str,
        /// The place, without secrets.
        name: String,
        /// Why not, and what to do.
        fault: Fault,
    },
    /// Nothing can be sent at all.
    #[error("can't use the network: {0}")]
    Network(String),
}

impl Error {
    pub(super) fn place(place: &str, what: &str) -> Self {
        Self::Place {
            place: place.to_owned(),
            what: what.to_owned(),
        }
    }

    /// Whether what was given can't be a place.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Place { .. })
    }

    /// Whether the image became another one while it was read, so that reading it again from its
    /// beginning may succeed.
    pub fn is_change(error: &image::Error) -> bool {
        match error {
            image::Error::Read { source, .. } => source
                .get_ref()
                .and_then(|inner| inner.downcast_ref())
                .is_some_and(|fault| matches!(fault, Fault::Changed)),
            image::Error::Changed { .. } => true,
            _ => false,
        }
    }
}

/// What went wrong. The texts don't name the place, since the errors around them do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The server refuses.
    #[error("the server answers {status}{said}; {next}")]
    Status {
        /// The status with its usual words.
        status: StatusCode,
        /// What it says, if it says something short.
        said: String,
        /// What to do.
        next: &'static str,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    /// There are no credentials.
    #[error("{0}")]
    Credentials(String),
    /// The server redirects too often, or to where it must not.
    #[error("{0}; check the URL")]
    Redirect(String),
    /// The certificate isn't trusted.
    #[error(
        "{host} has no certificate that this host trusts ({why}); check the URL and the clock, or \
         name its authority's file in SSL_CERT_FILE"
    )]
    Tls {
        /// The host.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// The name has no address.
    #[error("{host} has no address ({why}); check the name and this host's resolver{proxy}")]
    Resolve {
        /// The host.
        host: String,
        /// The system's reason.
        why: String,
        /// Whether no server has said so: it may yet say another thing.
        is_silence: bool,
        /// What the environment says about proxies.
        proxy: String,
    },
    /// No connection.
    #[error("{host} can't be reached ({why}); check its address, port and firewall{proxy}")]
    Connect {
        /// The host.
        host: String,
        /// The system's reason.
        why: String,
        /// What the environment says about proxies.
        proxy: String,
    },
    /// Nothing came for too long.
    #[error("{host} sent nothing for {}; try again, or check the network", seconds(*.quiet))]
    Stalled {
        /// The host.
        host: String,
        /// For how long.
        quiet: Duration,
    },
    /// The connection broke.
    #[error("the connection to {host} broke ({why}); try again, or check the network")]
    Broken {
        /// The host.
        host: String,
        /// How.
        why: String,
    },
    /// It is another version now.
    #[error("it was changed while it was read; try again when nothing replaces it")]
    Changed,
    /// The answer can't be.
    #[error("the server's answer can't be used: {0}; check the URL, or copy the image to a file")]
    Answer(String),
    /// The bytes have another digest.
    #[error("its bytes have the digest {found} and not {wanted}; it is damaged: get it again")]
    Digest {
        /// The digest that it is named by.
        wanted: String,
        /// The digest that it has.
        found: String,
    },
    /// What is there isn't one disk.
    #[error("{0}")]
    Content(String),
    /// It is there already.
    #[error("it exists already; use --overwrite to replace it")]
    Exists,
}

impl Fault {
    /// Whether the same request may succeed a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Connect { .. } | Self::Stalled { .. } | Self::Broken { .. } => true,
            Self::Resolve { is_silence, .. } => *is_silence,
            _ => false,
        }
    }

    /// The fault of a request that brought no answer, or whose answer broke off.
    pub(super) fn of(error: &reqwest::Error, host: &str) -> Self {
        let host = host.to_owned();
        let chain = chain(error);
        if let Some(tls) = chain.iter().find_map(|link| tls_error(*link)) {
            let why = tls.to_string();
            return Self::Tls { host, why };
        }
        let texts: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let why = texts.last().cloned().unwrap_or_default();
        if texts.iter().any(|text| text.starts_with("dns error")) {
            return Self::Resolve {
                host,
                why,
                is_silence: chain
                    .iter()
                    .any(|link| matches!(link.downcast_ref(), Some(NoAddress::Silent { .. }))),
                proxy: proxy(),
            };
        }
        if error.is_connect() {
            let proxy = proxy();
            return Self::Connect { host, why, proxy };
        }
        Self::Broken { host, why }
    }

    /// The fault of an answer with this status.
    pub(super) fn status(status: StatusCode, said: &str, wait: Option<Duration>) -> Self {
        let next = match status.as_u16() {
            _ if said.contains("Quota") || said.contains("StorageFull") => FULL,
            401 => "give it credentials, or check those that it has",
            403 => "check that the credentials may do this, and that a signed URL is still valid",
            404 | 410 => "check the name",
            412 => "it was changed meanwhile: try again",
            413 | 507 => FULL,
            416 => "it is shorter than it said: try again when nothing replaces it",
            408 | 429 | 503 => "it is busy: try again later",
            500.. => "try again later, or look at the server's log",
            300..=399 => "check the URL and, for a bucket, AWS_REGION",
            _ => "check the URL",
        };
        let said: String = said
            .chars()
            .filter(|it| !it.is_control())
            .take(200)
            .collect();
        Self::Status {
            status,
            said: match said.trim() {
                "" => String::new(),
                said => format!(" ({said})"),
            },
            next,
            wait,
        }
    }

    /// As the error of a read, which [`Error::is_change`] recognises.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }
}

/// Why a host has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAddress {
    /// No server knows it.
    #[error("there is no host {0:?} in /etc/hosts or in DNS")]
    Unknown(String),
    /// It can't be a host's name (RFC 1035 §2.3.4).
    #[error("{0:?} is no name of a host: parts have 1 to 63 bytes, and all of it at most 253")]
    Name(String),
    /// No server says whether there is such a host.
    #[error("no server of /etc/resolv.conf says where {name:?} is: {why}")]
    Silent {
        /// The host.
        name: String,
        /// What the last server did instead.
        why: String,
    },
}

/// The error of TLS that this is, however often errors of I/O are wrapped around it.
fn tls_error<'a>(link: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    let mut link = link;
    while let Some(inner) = link.downcast_ref().and_then(io::Error::get_ref) {
        link = inner;
    }
    link.downcast_ref()
}

/// An error and what caused it, outermost first.
fn chain(error: &reqwest::Error) -> Vec<&(dyn StdError + 'static)> {
    let mut chain = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    // A chain of errors is short; a circle would be a bug of theirs.
    while let Some(error) = next.filter(|_| chain.len() < 32) {
        chain.push(error);
        next = error.source();
    }
    chain
}

/// What to add where a proxy may be the reason.
fn proxy() -> String {
    let set = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let set = set
        .iter()
        .find(|name| std::env::var_os(name).is_some_and(|it| !it.is_empty()));
    set.map_or_else(String::new, |name| {
        format!(", and the proxy that {name} names (NO_PROXY lists hosts without it)")
    })
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds => format!("{seconds} s"),
    }
}
