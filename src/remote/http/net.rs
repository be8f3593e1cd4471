//! The event loop and the client of this room. Both are made when the first URL is opened, so that
//! a program that names none has neither a thread nor certificates for it.

use std::future::Future;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::runtime::{Builder, Handle};

use super::super::Error;
use super::super::error::Fault;
use super::names::Names;
use super::patience::CONNECT;
use crate::threads::{self, Role};

/// What this program calls itself in requests.
const AGENT: &str = concat!("ramblk/", env!("CARGO_PKG_VERSION"));

/// The event loop, and the client whose connections live in it.
#[derive(Debug)]
pub(in crate::remote) struct Net {
    event_loop: Handle,
    client: Client,
}

/// The only one of this process.
static NET: OnceLock<Result<Net, String>> = OnceLock::new();

impl Net {
    /// The event loop and client, started if this is the first use.
    ///
    /// # Errors
    /// [`Error::Network`].
    pub(in crate::remote) fn get() -> Result<&'static Self, Error> {
        let net = NET.get_or_init(Self::start);
        net.as_ref().map_err(|why| Error::Network(why.clone()))
    }

    fn start() -> Result<Self, String> {
        // Another user of the library may have set one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(AGENT)
            // Redirects are followed by `request`, which knows what may go where.
            .redirect(Policy::none())
            .dns_resolver(Arc::new(Names))
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| format!("{error:?}"))?;
        let made = Builder::new_current_thread().enable_all().build();
        let event_loop = made.map_err(|error| error.to_string())?;
        let handle = event_loop.handle().clone();
        threads::spawn(Role::Remote, move || {
            event_loop.block_on(std::future::pending::<()>());
        })
        .map_err(|error| error.to_string())?;
        Ok(Self {
            event_loop: handle,
            client,
        })
    }

    /// The client.
    pub(in crate::remote) fn client(&self) -> &Client {
        &self.client
    }

    /// Let the event loop do something while the caller goes on.
    pub(in crate::remote) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.event_loop.spawn(work);
    }

    /// Let the event loop do something, and wait for its result. The caller may be in another event
    /// loop, which waits too.
    pub(in crate::remote) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        // A channel of results would be code of its own for each kind of them.
        let result = Arc::new(Mutex::new(None));
        let (done, ended) = sync_channel::<()>(1);
        let kept = Arc::clone(&result);
        self.event_loop.spawn(async move {
            *kept.lock() = Some(work.await);
            let _ = done.send(());
        });
        let _ = ended.recv();
        let lost = || Fault::Answer("bug: the work on it panicked".into());
        result.lock().take().ok_or_else(lost)?
    }
}
