//! Threads without which nothing goes on: when one of them ends by itself, the process does.
//!
//! A daemon that lives on without a thread that serves rings, or takes connections, answers some
//! and leaves others waiting for ever. Its end is what everybody is prepared for: whoever watches
//! over it starts it again, disks are where they were, and front ends connect again and go on.

use std::fmt::Display;
use std::io;
use std::thread::JoinHandle;

/// Ends the process when it is dropped: the thread unwinds.
struct Guard(String);

impl Drop for Guard {
    fn drop(&mut self) {
        abort(&self.0, &"bug: it panicked");
    }
}

/// Start such a thread. It may end by returning `Ok`: it was asked to.
///
/// # Errors
/// If the system gives no thread.
pub(super) fn spawn<E: Display>(
    name: String,
    act: impl FnOnce() -> Result<(), E> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let guard = name.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        let guard = Guard(guard);
        if let Err(error) = act() {
            abort(&guard.0, &error);
        }
        std::mem::forget(guard);
    })
}

/// By a signal that is the process's own doing, so that it counts as a crash and not as a kill.
fn abort(thread: &str, why: &dyn Display) -> ! {
    tracing::error!(
        thread,
        "a thread without which nothing goes on has ended, and so does the process, to be started \
         again: {why}"
    );
    std::process::abort();
}
