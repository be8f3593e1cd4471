//! `top`: all disks, live.
//!
//! | file | what it holds |
//! |---|---|
//! | `view` | the rows, their order, which are shown, and the page |
//! | `keys` | what keys do |
//! | `reading` | readings of all figures |
//! | `grid` | tables that fit any width |
//! | `figures` | what is in which column |
//! | `draw` | the drawing: the frame, and pages that are tables |
//! | `disk` | the drawing of a disk's page |
//! | `tests` | screens of every width, and the picture in `docs` |

mod disk;
mod draw;
mod figures;
mod grid;
mod keys;
mod reading;
#[cfg(test)]
mod tests;
mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use self::reading::{Reader, Reading};
use self::view::{Page, View};
use crate::cli::error::Error;
use crate::client::Client;

/// How often to look for the end of a reading.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many times as long as a reading takes the time between two is at least.
const REST: u32 = 3;

#[derive(Debug, Args)]
pub(in crate::cli) struct Top {
    /// Length of an interval in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

impl Top {
    pub(in crate::cli) fn run(self, client: &Client) -> Result<(), Error> {
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(Error::Usage(
                "top needs a terminal; 'ramblk stats --watch' and 'ramblk stats -o json' print to \
                 anything"
                    .into(),
            ));
        }
        let mut view = View::new(client.socket());
        // Before switching screens, so that a missing daemon is reported on the ordinary one.
        let first = Reading::first(client)?;
        let mut reader = Reader::start(client.socket())?;
        let pause = self.pause(first.took);
        first.show(&mut view);
        let failed = |error| Error::Other(format!("can't use this terminal: {error}"));
        // This restores the terminal after a panic, too.
        let mut terminal = ratatui::try_init().map_err(failed)?;
        let next = Instant::now() + pause;
        let ended = self.watch(&mut reader, next, &mut view, &mut terminal);
        ratatui::restore();
        ended
    }

    /// How long to wait after a reading that took this long: the daemon has other things to do.
    fn pause(&self, took: Duration) -> Duration {
        let interval = Duration::from_secs(self.interval);
        interval.saturating_sub(took).max(took * REST)
    }

    fn watch(
        &self,
        reader: &mut Reader,
        mut next: Instant,
        view: &mut View,
        terminal: &mut DefaultTerminal,
    ) -> Result<(), Error> {
        let failed = |error| Error::Other(format!("can't use this terminal: {error}"));
        loop {
            terminal
                .draw(|frame| draw::draw(frame, view))
                .map_err(failed)?;
            let mut is_new = false;
            // Until there is something else to draw.
            while !is_new {
                let mut wait = match reader.is_busy {
                    true => LOOK_EVERY,
                    false => next.saturating_duration_since(Instant::now()),
                };
                // All keys that are there: drawing ten thousand disks for each would take too long.
                while event::poll(wait).map_err(failed)? {
                    (wait, is_new) = (Duration::ZERO, true);
                    if let Event::Key(key) = event::read().map_err(failed)?
                        && key.kind == KeyEventKind::Press
                        && !keys::press(view, key)
                    {
                        return Ok(());
                    }
                }
                if let Some(found) = reader.found() {
                    is_new = true;
                    if let Some(pause) = self.take_in(view, found) {
                        next = Instant::now() + pause;
                    }
                }
                let is_due = Instant::now() >= next && !view.is_paused;
                let of = match &view.page {
                    Page::Disk(name) => Some(name.clone()),
                    _ => None,
                };
                if of.is_none() {
                    reader.of = None;
                }
                // A page that was just opened has no events yet.
                let is_opened = of.is_some() && of != reader.of;
                if !reader.is_busy && (is_due || is_opened) {
                    reader.begin(is_due, of);
                    if is_due {
                        next = Instant::now() + Duration::from_secs(self.interval);
                    }
                } else if view.is_paused && Instant::now() >= next {
                    next = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// Show what a reading has found. Returns how long to wait for the next one, unless it was
    /// about events alone.
    fn take_in(&self, view: &mut View, found: Result<Reading, Error>) -> Option<Duration> {
        match found {
            Ok(reading) => {
                let pause = reading.is_whole().then(|| self.pause(reading.took));
                reading.show(view);
                pause
            }
            // A daemon that is restarted comes back.
            Err(error) => {
                view.trouble = Some(error.to_string());
                Some(Duration::from_secs(self.interval))
            }
        }
    }
}
