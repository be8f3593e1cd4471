//! What requests share, and how they get work done elsewhere.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

use super::Options;
use super::wire::failure::Failure;
use crate::daemon::disks::Disks;
use crate::model::{Problem, ProblemKind};
use crate::store::Leftover;

/// What all requests share.
#[derive(Clone, Debug)]
pub(super) struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disks: Arc<Disks>,
    options: Options,
    /// Makes the OpenAPI document, of which the routes that ask for it are a part.
    document: fn() -> Value,
    requests: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    /// Held while memory is freed.
    freeing: Arc<Mutex<()>>,
    scraped: Mutex<Option<(Instant, Bytes)>>,
}

/// What there is a bounded number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Requests.
    Request,
    /// Uploads and downloads.
    Transfer,
    /// Listeners to events.
    Listener,
}

impl Api {
    /// For these disks; `stopped` says when it is over.
    pub(super) fn new(
        disks: Arc<Disks>,
        options: Options,
        document: fn() -> Value,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        // A job may outlive its request, whose time was over: then it holds up new ones.
        let jobs = options.most_requests + options.most_transfers + options.most_listeners;
        Self(Arc::new(Shared {
            disks,
            options,
            document,
            requests: permits(options.most_requests),
            jobs: permits(jobs),
            transfers: permits(options.most_transfers),
            listeners: permits(options.most_listeners),
            stopped,
            freeing: Arc::default(),
            scraped: Mutex::new(None),
        }))
    }

    /// Its bounds.
    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    /// The disks, for what takes no time.
    pub(super) fn disks(&self) -> &Arc<Disks> {
        &self.0.disks
    }

    /// Becomes true when the server ends.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.0.stopped.clone()
    }

    /// Makes the OpenAPI document.
    pub(super) fn document(&self) -> fn() -> Value {
        self.0.document
    }

    /// The metrics made last, and when making them began.
    pub(super) fn scraped(&self) -> &Mutex<Option<(Instant, Bytes)>> {
        &self.0.scraped
    }

    /// A permit, to be held for as long as the work that it is for.
    pub(super) fn permit(&self, permit: Permit) -> Result<OwnedSemaphorePermit, Failure> {
        let (permits, what) = match permit {
            Permit::Request => (&self.0.requests, "requests"),
            Permit::Transfer => (&self.0.transfers, "transfers"),
            Permit::Listener => (&self.0.listeners, "listeners to events"),
        };
        take(permits, what)
    }

    /// Do something that may take time on a thread that is there for it. It is done even if the
    /// request's time is over before.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Disks) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = take(&self.0.jobs, "requests under way")?;
        let disks = Arc::clone(&self.0.disks);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job(&disks)
        });
        done.await.map_err(|error| Failure::internal(&error))
    }

    /// Do something, and answer with what came of it.
    pub(super) async fn answer<T: Serialize>(
        &self,
        job: impl FnOnce(&Disks) -> Result<(StatusCode, T), Problem> + Send + 'static,
    ) -> Result<Response, Failure> {
        // Written down on that thread too: a long list takes its time.
        let done = self.work(move |disks| {
            job(disks).map(|(status, value)| (status, serde_json::to_vec(&value)))
        });
        let (status, body) = done.await??;
        let body = body.map_err(|error| Failure::internal(&error))?;
        Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// Do something that answers `200`.
    pub(super) async fn ok<T: Serialize>(
        &self,
        job: impl FnOnce(&Disks) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Response, Failure> {
        let ok = |value| (StatusCode::OK, value);
        self.answer(move |disks| job(disks).map(ok)).await
    }

    /// Do something that has nothing to tell.
    pub(super) async fn done(
        &self,
        job: impl FnOnce(&Disks) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Response, Failure> {
        self.work(job).await??;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Do something that leaves memory to be freed, and free it before it is answered. One frees
    /// at a time, so that all others find a thread for work, however large what is freed is.
    pub(super) async fn freeing<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Disks) -> Result<(T, Vec<Leftover>), Problem> + Send + 'static,
    ) -> Result<T, Failure> {
        let (value, left) = self.work(job).await??;
        let turn = Arc::clone(&self.0.freeing);
        // It is freed also if the request's time is over before.
        let freed = tokio::spawn(async move {
            let _turn = turn.lock().await;
            tokio::task::spawn_blocking(move || drop(left)).await
        });
        let freed = freed.await.map_err(|error| Failure::internal(&error))?;
        freed.map_err(|error| Failure::internal(&error))?;
        Ok(value)
    }
}

fn take(permits: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| {
        let detail = format!("too many {what} at the same time: try again in a second");
        Failure::new(ProblemKind::Busy, detail)
    })
}
