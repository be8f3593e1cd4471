//! A driver with a request now and then, which checks all that it reads.

use std::path::Path;
use std::sync::Arc;

use super::clock::{Moment, now_ms};
use crate::driver::client::Client;
use crate::driver::data::pattern;
use crate::driver::disk::request_header;
use crate::driver::kind::{IN, OUT};
use crate::driver::memory::{MIB, Memory, Region};
use crate::driver::ring::{Ring, readable_at, writable_at};
use crate::driver::status::{OK, UNTOUCHED};
use crate::front::{Base, Calls, come};

const PAGE: usize = 4096;
/// How many pages of its disk it uses, and the golden disk has.
pub(super) const PAGES: u64 = 16;
/// Time between two requests.
const PAUSE_MS: u64 = 400;
/// The longest that a request may take.
const PATIENCE_MS: u64 = 8000;

const HEADER: u64 = 0;
const STATUS: u64 = 0x100;
const DATA: u64 = 0x1000;

/// The golden disk's content of a page.
pub(super) fn golden(page: u64) -> Vec<u8> {
    pattern(PAGE, 100 + page as u8)
}

/// The content of a page, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Golden,
    Version(u8),
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    kind: u32,
    page: u64,
    since: u64,
}

/// What a turn found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing, or that all is well.
    Fine,
    /// It has just connected.
    Attached,
    /// The disk is gone: a request has failed.
    Failed,
}

/// A driver and its front end.
pub(super) struct Guest {
    ring: Ring,
    mem: Arc<Memory>,
    client: Option<Client>,
    pages: [Content; PAGES as usize],
    out: Option<Request>,
    turn: u64,
    next_at: u64,
    /// When it leaves; from then on it is away until it is told to return.
    pub(super) leaves_at: u64,
    /// When it comes, while it is away.
    pub(super) comes_at: Option<u64>,
}

impl Guest {
    /// A driver that connects at its first turn.
    pub(super) fn new(leaves_at: u64) -> Self {
        let mem = Arc::new(Memory::new(vec![Region::new(0, 4 * MIB, 0)]));
        Self {
            ring: Ring::new(&mem, 0, 8, false),
            mem,
            client: None,
            pages: [Content::Golden; PAGES as usize],
            out: None,
            turn: 0,
            next_at: 0,
            leaves_at,
            comes_at: Some(0),
        }
    }

    pub(super) fn is_attached(&self) -> bool {
        self.client.is_some()
    }

    /// The daemon is gone.
    pub(super) fn lose(&mut self) {
        if self.client.take().is_some() {
            self.comes_at = Some(0);
        }
    }

    /// The disk was reset, or may have been.
    pub(super) fn forget(&mut self, is_reset: bool) {
        let content = match is_reset {
            true => Content::Golden,
            false => Content::Unknown,
        };
        self.pages = [content; PAGES as usize];
    }

    /// Disconnect, if no request is outstanding. Returns when it did.
    pub(super) fn leave(&mut self) -> Option<Moment> {
        if self.out.is_some() || self.client.is_none() {
            return None;
        }
        self.comes_at = None;
        Some(Moment::of(|| self.client = None).0)
    }

    /// Whatever is next, from a daemon that has answered since `up`.
    pub(super) fn turn(&mut self, socket: &Path, up: u64) -> Turn {
        let now = now_ms();
        if self.client.is_none() {
            if self.comes_at.is_none_or(|at| at > now) {
                return Turn::Fine;
            }
            let calls = Calls::Last;
            self.client = come(socket, &self.mem, &[&self.ring], None, Base::Used, calls);
            return match self.client {
                Some(_) => Turn::Attached,
                None => Turn::Fine,
            };
        }
        if let Some(request) = self.out {
            let waited = now.saturating_sub(request.since.max(up));
            assert!(waited < PATIENCE_MS, "{request:?} has no answer");
            return self.take(request);
        }
        if now >= self.next_at && now < self.leaves_at {
            self.next_at = now + PAUSE_MS;
            self.submit(now);
        }
        Turn::Fine
    }

    fn submit(&mut self, now: u64) {
        // Written, read, and so on, and each read before it is written for the first time.
        let page = self.turn / 3 % PAGES;
        let kind = if self.turn % 3 == 1 { OUT } else { IN };
        self.turn += 1;
        let at = |offset| self.ring.area(offset);
        let (header, data, status) = (at(HEADER), at(DATA), at(STATUS));
        let sector = page * (PAGE as u64 / 512);
        self.mem.write(header, &request_header(kind, sector));
        self.mem.fill(status, 1, UNTOUCHED);
        let piece = if kind == OUT {
            self.mem.write(data, &pattern(PAGE, self.version()));
            readable_at(data, PAGE as u32)
        } else {
            self.mem.fill(data, PAGE, 0xdd);
            writable_at(data, PAGE as u32)
        };
        let pieces = [readable_at(header, 16), piece, writable_at(status, 1)];
        let head = self.ring.direct(0, &pieces);
        self.ring.submit(head);
        let since = now;
        self.out = Some(Request { kind, page, since });
    }

    fn version(&self) -> u8 {
        (self.turn / 3 % 90) as u8
    }

    fn take(&mut self, request: Request) -> Turn {
        if self.ring.pop().is_none() {
            return Turn::Fine;
        }
        self.out = None;
        if self.mem.read(self.ring.area(STATUS), 1)[0] != OK {
            return Turn::Failed;
        }
        let page = request.page as usize;
        if request.kind == OUT {
            self.pages[page] = Content::Version(self.version());
            return Turn::Fine;
        }
        let expected = match self.pages[page] {
            Content::Golden => golden(request.page),
            Content::Version(version) => pattern(PAGE, version),
            Content::Unknown => return Turn::Fine,
        };
        let found = self.mem.read(self.ring.area(DATA), PAGE);
        let pages = self.pages;
        assert!(
            found == expected,
            "page {page} has other content: {pages:?}"
        );
        Turn::Fine
    }
}
