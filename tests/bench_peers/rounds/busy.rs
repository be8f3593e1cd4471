//! Somebody else's work: a process that spins, on whatever processor it gets.

use std::hint::spin_loop;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::measure::Failure;

/// This program's mode that spins.
pub(crate) const SPIN: &str = "--spin";

/// How long it spins before anybody measures.
const AHEAD: Duration = Duration::from_millis(20);

/// Spins until dropped.
#[derive(Debug)]
pub(super) struct Busy(Child);

impl Busy {
    pub(super) fn start() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        // It ends with its input, so that none is left over if this program is killed.
        let child = command.arg(SPIN).stdin(Stdio::piped()).spawn()?;
        std::thread::sleep(AHEAD);
        Ok(Self(child))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Spin until the input ends.
pub(crate) fn spin() {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            spin_loop();
        }
    });
}
