//! What is dropped on a work thread.

use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;

use crate::daemon::disks::Reader;

/// A reader or an upload that is dropped on a work thread, wherever its owner is dropped, also if
/// the client disconnects. Dropping a reader destroys its snapshot, which takes longer the more
/// guests have written since; dropping an upload takes longer the more content it has.
pub(in crate::daemon::api::handlers) struct Apart<T: Send + 'static = Reader>(Option<T>);

impl<T: Send + 'static> Apart<T> {
    pub(in crate::daemon::api::handlers) fn new(reader: T) -> Self {
        Self(Some(reader))
    }
}

impl<T: Send + 'static> Deref for Apart<T> {
    type Target = T;

    #[allow(clippy::expect_used, reason = "it is there until it is dropped")]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("a reader that wasn't dropped")
    }
}

impl<T: Send + 'static> DerefMut for Apart<T> {
    #[allow(clippy::expect_used, reason = "it is there until it is dropped")]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("a reader that wasn't dropped")
    }
}

impl<T: Send + 'static> Apart<T> {
    /// Drop it, and wait until that is done: a client that hears of a failure finds nothing left of
    /// it.
    pub(crate) async fn end(mut self) {
        if let Some(reader) = self.0.take() {
            // It is dropped even if that panics.
            let _ = tokio::task::spawn_blocking(move || drop(reader)).await;
        }
    }
}

impl<T: Send + 'static> Drop for Apart<T> {
    fn drop(&mut self) {
        if let (Some(reader), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(reader));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Reports the thread on which it was dropped.
    struct Ends(std::sync::mpsc::Sender<std::thread::ThreadId>);

    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.send(std::thread::current().id()).unwrap();
        }
    }

    #[test]
    fn the_moment_that_a_download_held_never_ends_on_the_event_loop() {
        let (send, ended) = std::sync::mpsc::channel();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.build().unwrap();
        runtime.block_on(async {
            // Dropped on the event loop, as when a client disconnects.
            drop(Apart::new(Ends(send)));
        });
        let here = std::thread::current().id();
        let patience = std::time::Duration::from_secs(20);
        assert_ne!(ended.recv_timeout(patience).unwrap(), here);
    }
}
