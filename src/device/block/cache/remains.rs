//! What a cache has at one instant, for states that a power cut may leave.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::log::{self, Places};
use super::state::hidden_fork;
use crate::crash::{Choice, Contents, Window};
use crate::store::{Disk, Error, Store};

/// Forks of a cache's base and log, and the window of that instant. Dropping it destroys the forks.
#[derive(Debug)]
pub struct Remains {
    store: Arc<Store>,
    window: Window,
    base: Disk,
    base_key: String,
    log: Disk,
    log_key: String,
    places: Places,
}

impl Remains {
    pub(super) fn new(
        store: &Arc<Store>,
        (base, log): (&str, &str),
        (base_key, log_key): (String, String),
        window: Window,
        places: Places,
    ) -> Result<Self, Error> {
        let base = hidden_fork(store, base, &base_key)?;
        let log = hidden_fork(store, log, &log_key).inspect_err(|_| {
            drop(store.destroy(&base_key));
        })?;
        Ok(Self {
            store: Arc::clone(store),
            window,
            base,
            base_key,
            log,
            log_key,
            places,
        })
    }

    /// What a crash decides about.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The store's key of a hidden disk with what is stable, or with what [`Remains::make`] made.
    pub fn key(&self) -> &str {
        &self.base_key
    }

    /// Make the state of this choice. Do it once.
    ///
    /// # Errors
    /// [`Error::is_out_of_memory`].
    pub fn make(&self, choice: &Choice) -> Result<(), Error> {
        choice.apply(&self.window, self, &mut &self.base)
    }
}

impl Contents<Error> for Remains {
    fn bytes(&self, number: u64, part: Range<u64>) -> Result<Cow<'_, [u8]>, Error> {
        log::read(&self.log, &self.places, number, &part).map(Cow::Owned)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for key in [&self.base_key, &self.log_key] {
            drop(self.store.destroy(key));
        }
    }
}
