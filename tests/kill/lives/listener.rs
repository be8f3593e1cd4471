//! Ends of lives as the daemon's events tell them, from each of its runs.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use ramblk::client::{Client, Error};
use ramblk::model::{Detail, EndsBy, Event, EventKind, OnDetach};

use super::clock::on_boot_clock;

/// A life that is over.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) disk: String,
    pub(super) by: EndsBy,
    pub(super) action: OnDetach,
    /// When, on the boot clock.
    pub(super) at: u64,
}

/// A thread that listens to one run of the daemon, until it ends.
pub(super) struct Listener {
    told: Receiver<Ended>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn ended(event: &Event) -> Option<Ended> {
    if event.kind != EventKind::Ended {
        return None;
    }
    let is = |key: &str, value: &str| match &event.details[key] {
        Detail::Text(text) => text == value,
        other => panic!("{other:?}"),
    };
    Some(Ended {
        disk: event.disk.clone().unwrap(),
        by: match is("by", "ttl") {
            true => EndsBy::Ttl,
            false => EndsBy::Detach,
        },
        action: match is("action", "reset") {
            true => OnDetach::Reset,
            false => OnDetach::Destroy,
        },
        at: on_boot_clock(event.time_ns),
    })
}

fn listen(socket: PathBuf, tell: &Sender<Ended>) {
    let client = Client::new(socket).unwrap();
    // From the beginning of its run on; the end of the stream is the daemon's end.
    let _ = client.events("since_seconds=86400", |text| {
        let event: Event = serde_json::from_str(text).unwrap();
        if let Some(ended) = ended(&event) {
            // Nothing hears it at the end of the test.
            let _ = tell.send(ended);
        }
        Ok::<_, Error>(())
    });
}

impl Listener {
    /// Listen to the daemon at this socket, which answers.
    pub(super) fn start(socket: PathBuf) -> Self {
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || listen(socket, &tell));
        let thread = Some(thread);
        Self { told, thread }
    }

    /// Those that ended since this was last called.
    pub(super) fn take(&self) -> Vec<Ended> {
        self.told.try_iter().collect()
    }

    /// Those that a daemon which is gone could still tell.
    pub(super) fn finish(&mut self) -> Vec<Ended> {
        self.thread.take().unwrap().join().unwrap();
        self.take()
    }
}
