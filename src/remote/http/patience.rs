//! How long to wait for a server, and how often to try again.

use std::time::Duration;

use super::super::error::Fault;

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(15);
/// Bytes after which a try counts as one that went on.
pub(super) const GOES_ON_BYTES: u64 = 64 << 10;

/// How long to wait for a server, and how often to try again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest time in which nothing comes.
    pub quiet: Duration,
    /// How often a request is tried that makes no progress.
    pub tries: u32,
    /// The first pause before it is tried again. Each one after it is twice as long, with some
    /// randomness.
    pub first_pause: Duration,
    /// The longest pause, unless the server asks for a longer one.
    pub longest_pause: Duration,
    /// The longest pause that a server may ask for.
    pub longest_asked: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(30),
            tries: 6,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            longest_asked: Duration::from_secs(120),
        }
    }
}

/// The tries of one request.
#[derive(Debug)]
pub(in crate::remote) struct Tries<'a> {
    patience: &'a Patience,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(in crate::remote) fn new(patience: &'a Patience) -> Self {
        Self {
            patience,
            failed: 0,
        }
    }

    /// The last try brought the request this many bytes further.
    pub(in crate::remote) fn went_on(&mut self, bytes: u64) {
        if bytes >= GOES_ON_BYTES {
            self.failed = 0;
        }
    }

    /// Pause before the next try.
    ///
    /// # Errors
    /// The fault, if trying again is of no use, or was tried often enough.
    pub(in crate::remote) async fn pause(&mut self, fault: Fault) -> Result<(), Fault> {
        self.failed += 1;
        if !fault.may_pass() || self.failed >= self.patience.tries {
            return Err(fault);
        }
        let asked = match &fault {
            Fault::Status { wait, .. } => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if asked > self.patience.longest_asked {
            return Err(fault);
        }
        let pause = self.patience.first_pause * 2_u32.saturating_pow(self.failed - 1);
        let pause = pause.min(self.patience.longest_pause);
        // Many clients of a server that was away must not all return at the same moment.
        let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked);
        tracing::debug!(%fault, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
