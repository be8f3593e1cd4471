//! What requests share, and how they run work on other threads.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};

use super::Options;
use super::wire::failure::Failure;
use crate::daemon::disks::{Disks, actors};
use crate::model::{Problem, ProblemKind};
use crate::store::Leftover;

/// What runs on a work thread.
type Job<T> = Box<dyn FnOnce(&Disks) -> T + Send>;

/// An answer: its status, its entity tag if it has one, and its body.
type Json = (StatusCode, Option<String>, serde_json::Result<Vec<u8>>);

/// What all requests share.
#[derive(Clone, Debug)]
pub(super) struct Api(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disks: Arc<Disks>,
    options: Options,
    /// Makes the OpenAPI document. A function, since the document contains the routes that use
    /// this.
    document: fn() -> Value,
    requests: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    nbd: Arc<Semaphore>,
    held: Arc<Semaphore>,
    /// Held while a reader's job runs, so that readers use one work thread at most.
    turn: Option<Semaphore>,
    stopped: watch::Receiver<bool>,
    /// Held while memory is freed, so that one work thread at most does that.
    freeing: Arc<Mutex<()>>,
    scraped: Mutex<Option<(Instant, Bytes)>>,
}

/// The kinds of work whose number is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Requests.
    Request,
    /// Uploads and downloads.
    Transfer,
    /// Listeners to events.
    Listener,
    /// Connections of NBD.
    Nbd,
    /// Connections that hold a disk.
    Held,
}

impl Api {
    /// The state for these disks. `stopped` becomes true when the server ends.
    pub(super) fn new(
        disks: Arc<Disks>,
        options: Options,
        document: fn() -> Value,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self::with(disks, options, document, stopped, None)
    }

    /// The state for clients that only read, with bounds of its own.
    pub(super) fn of_readers(&self) -> Self {
        let shared = &self.0;
        let options = shared.options.of_readers();
        let turn = Some(Semaphore::new(1));
        let disks = Arc::clone(&shared.disks);
        Self::with(disks, options, shared.document, self.stopped(), turn)
    }

    fn with(
        disks: Arc<Disks>,
        options: Options,
        document: fn() -> Value,
        stopped: watch::Receiver<bool>,
        turn: Option<Semaphore>,
    ) -> Self {
        let permits = |count| Arc::new(Semaphore::new(count));
        // A job may go on after its request has timed out. It then still counts as a job.
        let jobs = options.most_requests
            + options.most_transfers
            + options.most_listeners
            + options.most_nbd
            + options.most_held;
        Self(Arc::new(Shared {
            disks,
            options,
            document,
            requests: permits(options.most_requests),
            jobs: permits(jobs),
            transfers: permits(options.most_transfers),
            listeners: permits(options.most_listeners),
            nbd: permits(options.most_nbd),
            held: permits(options.most_held),
            turn,
            stopped,
            freeing: Arc::default(),
            scraped: Mutex::new(None),
        }))
    }

    /// Its bounds.
    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    /// The disks, for calls that take no time.
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

    /// The last metrics, and when their rendering began.
    pub(super) fn scraped(&self) -> &Mutex<Option<(Instant, Bytes)>> {
        &self.0.scraped
    }

    /// A permit. Hold it as long as the work lasts.
    pub(super) fn permit(&self, permit: Permit) -> Result<OwnedSemaphorePermit, Failure> {
        let (permits, what) = match permit {
            Permit::Request => (&self.0.requests, "requests"),
            Permit::Transfer => (&self.0.transfers, "transfers"),
            Permit::Listener => (&self.0.listeners, "listeners to events"),
            Permit::Nbd => (&self.0.nbd, "NBD connections"),
            Permit::Held => (&self.0.held, "held crash states"),
        };
        take(permits, what)
    }

    /// Run `job` on a work thread. It runs to its end even if the request times out.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Disks) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let done = self.run(Box::new(|disks| Box::new(job(disks)))).await?;
        let done = done.downcast().map(|value| *value);
        done.map_err(|_| Failure::internal(&"a job's result is of another type"))
    }

    /// The same for any job. All that it takes to run one is compiled once, not for each handler.
    async fn run(&self, job: Job<Box<dyn Any + Send>>) -> Result<Box<dyn Any + Send>, Failure> {
        let permit = take(&self.0.jobs, "requests under way")?;
        let turn = self.0.turn.as_ref().map(Semaphore::acquire);
        let _turn = match turn {
            Some(turn) => turn.await.ok(),
            None => None,
        };
        let disks = Arc::clone(&self.0.disks);
        let actor = actors::current();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            actors::acting(actor, || job(&disks))
        });
        done.await.map_err(|error| Failure::internal(&error))
    }

    /// Run `job` on a work thread, and answer with its result.
    pub(super) fn answer<T: Serialize>(
        &self,
        job: impl FnOnce(&Disks) -> Result<(StatusCode, T), Problem> + Send + 'static,
    ) -> impl Future<Output = Result<Response, Failure>> + Send {
        self.answer_json(Box::new(move |disks| {
            job(disks).map(|(status, value)| (status, None, serde_json::to_vec(&value)))
        }))
    }

    /// The same, with status 200.
    pub(super) fn ok<T: Serialize>(
        &self,
        job: impl FnOnce(&Disks) -> Result<T, Problem> + Send + 'static,
    ) -> impl Future<Output = Result<Response, Failure>> + Send {
        self.answer_json(Box::new(move |disks| {
            job(disks).map(|value| (StatusCode::OK, None, serde_json::to_vec(&value)))
        }))
    }

    /// The same with an entity tag, which the job returns too.
    pub(super) fn tagged<T: Serialize>(
        &self,
        job: impl FnOnce(&Disks) -> Result<(String, T), Problem> + Send + 'static,
    ) -> impl Future<Output = Result<Response, Failure>> + Send {
        self.answer_json(Box::new(move |disks| {
            let (tag, value) = job(disks)?;
            Ok((StatusCode::OK, Some(tag), serde_json::to_vec(&value)))
        }))
    }

    /// Run a job whose result is JSON already: it is serialised on the work thread too, since that
    /// takes a while for a long list.
    async fn answer_json(&self, job: Job<Result<Json, Problem>>) -> Result<Response, Failure> {
        let (status, tag, body) = self.work(job).await??;
        let body = body.map_err(|error| Failure::internal(&error))?;
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        if let Some(tag) = tag {
            let tag = HeaderValue::try_from(tag).map_err(|error| Failure::internal(&error))?;
            response.headers_mut().insert(ETAG, tag);
        }
        Ok(response)
    }

    /// Run a job without a result, and answer 204.
    pub(super) fn done(
        &self,
        job: impl FnOnce(&Disks) -> Result<(), Problem> + Send + 'static,
    ) -> impl Future<Output = Result<Response, Failure>> + Send {
        self.answer_nothing(Box::new(job))
    }

    async fn answer_nothing(&self, job: Job<Result<(), Problem>>) -> Result<Response, Failure> {
        self.work(job).await??;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Run a job that leaves memory to be freed, and free it before the answer. Only one request
    /// frees at a time, so that the others find a work thread, however much there is to free.
    pub(super) async fn freeing<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Disks) -> Result<(T, Vec<Leftover>), Problem> + Send + 'static,
    ) -> Result<T, Failure> {
        let (value, left) = self.work(job).await??;
        let turn = Arc::clone(&self.0.freeing);
        // It is freed even if the request times out.
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
