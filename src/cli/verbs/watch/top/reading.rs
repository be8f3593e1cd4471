//! Readings of all figures, on a thread of their own: with ten thousand disks one takes longer than
//! a person waits for a key.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::view::{Page, View};
use crate::cli::error::Error;
use crate::client::{Client, path};
use crate::model::{Disk, Event, Pool, Stats};
use crate::threads::{Role, spawn};

/// How far back a disk's page looks for events, in seconds.
const EVENTS_SECONDS: u32 = 86_400;
/// The most events on it.
const MOST_EVENTS: usize = 50;

/// All figures of one moment.
#[derive(Debug)]
struct Figures {
    pool: Pool,
    disks: Vec<Disk>,
    stats: Vec<Stats>,
    /// When the counters were read.
    at: Instant,
}

/// What one reading has found.
#[derive(Debug)]
pub(super) struct Reading {
    /// None if only events were wanted.
    figures: Option<Figures>,
    /// Events of a disk, if they were wanted.
    events: Option<(String, Vec<Event>)>,
    /// How long it took.
    pub(super) took: Duration,
}

impl Reading {
    /// Request all figures once.
    pub(super) fn first(client: &Client) -> Result<Self, Error> {
        Self::take(client, true, None)
    }

    fn take(client: &Client, is_whole: bool, of: Option<&str>) -> Result<Self, Error> {
        let began = Instant::now();
        let figures = is_whole.then(|| Figures::take(client)).transpose()?;
        let events = of.map(|name| (name.to_owned(), events(client, name)));
        Ok(Self {
            figures,
            events,
            took: began.elapsed(),
        })
    }

    /// Whether it has figures, and not events alone.
    pub(super) fn is_whole(&self) -> bool {
        self.figures.is_some()
    }

    /// Let a view show it; of one that is paused, only the events of a page.
    pub(super) fn show(self, view: &mut View) {
        if let Some(it) = self.figures.filter(|_| !view.is_paused) {
            view.update(it.pool, it.disks, it.stats, it.at);
        }
        if let (Some((name, events)), Page::Disk(shown)) = (self.events, &view.page)
            && name == *shown
        {
            view.events = Some(events);
        }
    }
}

impl Figures {
    fn take(client: &Client) -> Result<Self, Error> {
        Ok(Self {
            pool: client.get("/v1/pool")?,
            disks: client.get("/v1/disks")?,
            stats: client.get("/v1/stats")?,
            at: Instant::now(),
        })
    }
}

/// The last events of a disk; none of one that is gone, and has no past.
fn events(client: &Client, name: &str) -> Vec<Event> {
    let name = path::encode(name);
    let query = format!("disk={name}&since_seconds={EVENTS_SECONDS}&follow=false");
    let mut events = Vec::new();
    let read = client.events(&query, |data| {
        // A gap is no event.
        events.extend(serde_json::from_str(data));
        Ok::<_, crate::client::Error>(())
    });
    if read.is_err() {
        events.clear();
    }
    events.split_off(events.len().saturating_sub(MOST_EVENTS))
}

/// A thread that takes readings, one at a time.
#[derive(Debug)]
pub(super) struct Reader {
    ask: Sender<(bool, Option<String>)>,
    told: Receiver<Result<Reading, Error>>,
    /// The disk whose events were last wanted.
    pub(super) of: Option<String>,
    /// Whether one is being taken.
    pub(super) is_busy: bool,
}

impl Reader {
    /// Start the thread. It ends with this, or with the process.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(socket: &Path) -> Result<Self, Error> {
        let client = Client::new(socket)?;
        let (ask, asked) = mpsc::channel::<(bool, Option<String>)>();
        let (tell, told) = mpsc::channel();
        let read = move || {
            for (is_whole, of) in asked {
                let found = Reading::take(&client, is_whole, of.as_deref());
                if tell.send(found).is_err() {
                    return;
                }
            }
        };
        spawn(Role::Figures, read)
            .map_err(|error| Error::Other(format!("can't start a thread: {error}")))?;
        Ok(Self {
            ask,
            told,
            of: None,
            is_busy: false,
        })
    }

    /// Begin a reading, with events of the disk `of`; of these alone, unless it `is_whole`.
    pub(super) fn begin(&mut self, is_whole: bool, of: Option<String>) {
        self.of.clone_from(&of);
        self.is_busy = self.ask.send((is_whole, of)).is_ok();
    }

    /// The reading that was begun, if it is there.
    pub(super) fn found(&mut self) -> Option<Result<Reading, Error>> {
        let found = self.told.try_recv().ok()?;
        self.is_busy = false;
        Some(found)
    }
}
