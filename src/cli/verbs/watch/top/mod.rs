//! `top`: all disks, live.
//!
//! | file | what it holds |
//! |---|---|
//! | `view` | the rows, their order, and the first visible one |
//! | `draw` | the drawing |

mod draw;
mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::view::{Sort, View};
use crate::cli::error::Error;
use crate::client::{Client, path};
use crate::model::{Disk, Pool, Stats};

/// The most disks to show: each costs a request per interval.
const MOST_DISKS: usize = 1000;

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
                "top needs a terminal; 'ramblk stats NAME --watch' and 'ramblk stats -o json' \
                 print to anything"
                    .into(),
            ));
        }
        let mut view = View::new(client.socket());
        // Before switching screens, so that a missing daemon is reported on the ordinary one.
        look(client, &mut view)?;
        let failed = |error| Error::Other(format!("can't use this terminal: {error}"));
        // This restores the terminal after a panic, too.
        let mut terminal = ratatui::try_init().map_err(failed)?;
        let ended = self.watch(client, &mut view, &mut terminal);
        ratatui::restore();
        ended
    }

    fn watch(
        &self,
        client: &Client,
        view: &mut View,
        terminal: &mut DefaultTerminal,
    ) -> Result<(), Error> {
        let failed = |error| Error::Other(format!("can't use this terminal: {error}"));
        let interval = Duration::from_secs(self.interval);
        let mut next = Instant::now() + interval;
        loop {
            terminal
                .draw(|frame| draw::draw(frame, view))
                .map_err(failed)?;
            let left = next.saturating_duration_since(Instant::now());
            if event::poll(left).map_err(failed)? {
                if let Event::Key(key) = event::read().map_err(failed)?
                    && key.kind == KeyEventKind::Press
                    && !press(view, key)
                {
                    return Ok(());
                }
                continue;
            }
            look(client, view)?;
            next = Instant::now() + interval;
        }
    }
}

/// Handle a key. Returns false if it ends the view.
fn press(view: &mut View, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if control => return false,
        KeyCode::Char('n') => view.sort_by(Sort::Name),
        KeyCode::Char('i') => view.sort_by(Sort::Iops),
        KeyCode::Char('b') => view.sort_by(Sort::Bandwidth),
        KeyCode::Char('l') => view.sort_by(Sort::Latency),
        KeyCode::Char('m') => view.sort_by(Sort::Memory),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::PageDown | KeyCode::Char(' ') => view.scroll(20),
        KeyCode::PageUp => view.scroll(-20),
        KeyCode::Home => view.scroll(isize::MIN),
        _ => {}
    }
    true
}

/// Request all data once.
fn look(client: &Client, view: &mut View) -> Result<(), Error> {
    let pool: Pool = client.get("/v1/pool")?;
    let disks: Vec<Disk> = client.get("/v1/disks")?;
    let mut looks = Vec::with_capacity(disks.len().min(MOST_DISKS));
    for disk in disks.into_iter().take(MOST_DISKS) {
        // A disk may have been destroyed meanwhile.
        if let Ok(stats) = client.get::<Stats>(&format!("{}/stats", path::disk(&disk.name))) {
            looks.push((disk, stats));
        }
    }
    view.update(pool, looks, Instant::now());
    Ok(())
}
