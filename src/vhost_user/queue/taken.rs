//! Tokens for requests that were taken out of a ring.
//!
//! A token borrows its ring, so nothing else can be taken meanwhile. It must be completed, kept or
//! parked: dropping it is a panic in debug builds, since its request would be neither returned to
//! the driver nor served again.

use super::ring::Ring;
use crate::device::{Attempt, Begun, Buffers, Found, Lane, PlainRequest, WaitReason};

/// Where a request was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the avail ring.
    Avail,
    /// Among those that the last process had taken and not returned.
    Unreturned,
    /// First in a lane of waiting requests.
    Parked(Lane),
}

/// One request, by its head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) head: u16,
    pub(crate) from: Origin,
    pub(crate) attempt: Attempt,
    /// When it was taken, if others were published since.
    pub(crate) since_ns: Option<u64>,
}

/// A request that was taken: [`Taken::complete`], [`Taken::keep`] or [`Taken::park`] it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken<'r> {
    ring: &'r mut Ring,
    request: Request,
    is_settled: bool,
}

impl<'r> Taken<'r> {
    pub(crate) fn new(ring: &'r mut Ring, request: Request) -> Self {
        Self {
            ring,
            request,
            is_settled: false,
        }
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.request.attempt
    }

    /// When it was taken, if others were published since.
    pub(crate) fn since_ns(&self) -> Option<u64> {
        self.request.since_ns
    }

    /// Its state after its last step.
    pub(crate) fn take_begun(&mut self) -> Option<Begun> {
        self.ring.take_begun()
    }

    /// The head of its chain.
    pub(crate) fn head(&self) -> u16 {
        self.request.head
    }

    /// Where it was found.
    pub(crate) fn found(&self) -> Found {
        match self.request.from {
            Origin::Avail => Found::Avail(self.ring.next_avail),
            Origin::Unreturned => Found::Unreturned,
            Origin::Parked(_) => Found::Waiting(self.request.head),
        }
    }

    /// The cost of serving it, in bytes.
    pub(crate) fn take_cost(&mut self) -> u64 {
        self.ring.pieces().take_cost()
    }

    /// Its buffers. Serving it consumes them.
    pub(crate) fn buffers(&mut self) -> Buffers<'_, '_> {
        self.ring.pieces().lend()
    }

    /// Whether its chain had room for this many bytes: for assertions.
    pub(crate) fn offered(&mut self, written: u32) -> bool {
        self.ring.pieces().offered(written)
    }

    /// Complete it. This many bytes were written into its buffers.
    pub(crate) fn complete(mut self, written: u32) {
        self.is_settled = true;
        self.ring.complete(self.request, written);
    }

    /// Keep it for its next step, with what is left of its buffers. It was taken at `since_ns`.
    pub(crate) fn keep(mut self, begun: Option<Begun>, since_ns: u64) {
        self.is_settled = true;
        let since_ns = Some(since_ns);
        let request = Request {
            since_ns,
            ..self.request
        };
        self.ring.keep(request, begun);
    }

    /// Park it. It will be served again from its start. It was taken at `since_ns`.
    pub(crate) fn park(mut self, reason: WaitReason, since_ns: u64) {
        self.is_settled = true;
        self.ring.park(self.request, reason, since_ns);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        debug_assert!(
            self.is_settled || std::thread::panicking(),
            "a request was taken and dropped: {:?}",
            self.request
        );
    }
}

/// Plain requests that were taken together: [`Gathered::complete`] them.
#[derive(Debug)]
#[must_use]
pub(crate) struct Gathered<'r> {
    ring: &'r mut Ring,
    /// Bytes of their data.
    bytes: u64,
    is_settled: bool,
}

/// How many of the gathered requests were completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) requests: u32,
    /// Bytes of their data.
    pub(crate) bytes: u64,
}

impl<'r> Gathered<'r> {
    #[inline]
    pub(crate) fn new(ring: &'r mut Ring, bytes: u64) -> Self {
        Self {
            ring,
            bytes,
            is_settled: false,
        }
    }

    #[inline]
    pub(crate) fn requests(&self) -> &[PlainRequest<'_>] {
        self.ring.plain().requests()
    }

    /// Whether this can be what was written of the first ones of them: for assertions.
    pub(crate) fn offered(&self, written: &[u32]) -> bool {
        self.ring.plain().offered(written)
    }

    /// Complete the first requests, with these used lengths, in their order. The others stay in the
    /// avail ring.
    #[inline]
    pub(crate) fn complete(mut self, written: &[u32]) -> Done {
        self.is_settled = true;
        let left_bytes = self.ring.complete_plain(written);
        Done {
            requests: u32::try_from(written.len()).unwrap_or(u32::MAX),
            bytes: self.bytes - left_bytes,
        }
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        debug_assert!(
            self.is_settled || std::thread::panicking(),
            "requests were gathered and dropped"
        );
    }
}
