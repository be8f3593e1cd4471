//! A split ring by the specification (virtio 1.3 §2.7), over unshared memory.

use ramblk::vhost_user::fuzz::Setup;

use super::guest::Guest;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A stretch of a buffer that lies in one region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) at: u64,
    pub(crate) len: usize,
}

/// A request as its chain describes it.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) head: u16,
    pub(crate) readable: Vec<Stretch>,
    pub(crate) writable: Vec<Stretch>,
    pub(crate) damaged: bool,
    pub(crate) gap: bool,
    no_status: bool,
    /// What is wrong with its descriptors, if anything.
    pub(crate) fault: Option<&'static str>,
}

/// A request of a header, one buffer and a status byte, each in one region.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) head: u16,
    /// A copy made when the request is taken: serving the requests before it changes nothing.
    pub(crate) header: [u8; 16],
    pub(crate) data: Stretch,
    /// Whether the device writes the data.
    pub(crate) reads: bool,
    pub(crate) status: u64,
    /// Whether it lies in a table of its own.
    pub(crate) table: bool,
}

/// Maximum number of plain requests taken at once, and of their data.
const MOST_AT_ONCE: u16 = 16;
const MOST_PLAIN_BYTES: u32 = 64 << 10;

/// What a working ring does with its next entry.
#[derive(Debug)]
pub(crate) enum Next {
    Dry,
    Serve(Chain),
    Broken(&'static str),
}

#[derive(Debug)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

/// The device's side of a ring.
#[derive(Debug)]
pub(crate) struct Model {
    setup: Setup,
    desc: u64,
    avail: u64,
    used: u64,
    size: u16,
    next_avail: u16,
    seen_avail: u16,
    pub(crate) next_used: u16,
    shown_used: u16,
    quiet: bool,
    /// The rest of a long request.
    pub(crate) unfinished: Option<Chain>,
}

impl Model {
    pub(crate) fn new(guest: &Guest, setup: Setup) -> Result<Self, &'static str> {
        let size = u16::try_from(setup.size).map_err(|_| "Size")?;
        if !size.is_power_of_two() {
            return Err("Size");
        }
        let event = if setup.event_idx { 2 } else { 0 };
        let n = u64::from(size);
        let find = |user: u64, len, align: u64| {
            guest
                .guest_of(user, len)
                .filter(|&at| user.is_multiple_of(align) && guest.is_aligned(at, align))
                .ok_or("Address")
        };
        let desc = find(setup.desc, n * 16, 16)?;
        let avail = find(setup.avail, 4 + n * 2 + event, 2)?;
        let used = find(setup.used, 4 + n * 8 + event, 4)?;
        let index = guest.u16(used + 2);
        Ok(Self {
            setup,
            desc,
            avail,
            used,
            size,
            next_avail: index,
            seen_avail: index,
            next_used: index,
            shown_used: index,
            quiet: false,
            unfinished: None,
        })
    }

    fn longest(&self) -> u16 {
        self.size.max(1024)
    }

    /// Whether there is something new.
    fn look(&mut self, guest: &Guest) -> Result<bool, &'static str> {
        let to = guest.u16(self.avail + 2);
        if to.wrapping_sub(self.next_avail) > self.size {
            return Err("AvailJump");
        }
        self.seen_avail = to;
        Ok(to != self.next_avail)
    }

    /// The next request. It counts as taken once [`Model::complete`] is called.
    pub(crate) fn next(&mut self, guest: &Guest) -> Next {
        if let Some(chain) = self.unfinished.take() {
            return Next::Serve(chain);
        }
        if self.next_avail == self.seen_avail {
            match self.look(guest) {
                Ok(true) => {}
                Ok(false) => return Next::Dry,
                Err(error) => return Next::Broken(error),
            }
        }
        let head = self.head(guest, self.next_avail);
        if head >= self.size {
            return Next::Broken("Head");
        }
        Next::Serve(self.walk(guest, head))
    }

    fn head(&self, guest: &Guest, position: u16) -> u16 {
        guest.u16(self.avail + 4 + u64::from(position % self.size) * 2)
    }

    /// The next plain requests, as far as they are taken at once.
    pub(crate) fn plain(
        &mut self,
        guest: &Guest,
        most_requests: u32,
        most_bytes: u64,
    ) -> Result<Vec<Plain>, &'static str> {
        let mut list = Vec::new();
        let mut bytes = 0;
        if self.unfinished.is_some() || self.next_avail == self.seen_avail && !self.look(guest)? {
            return Ok(list);
        }
        let waiting = self.seen_avail.wrapping_sub(self.next_avail);
        for offset in 0..waiting.min(MOST_AT_ONCE) {
            let head = self.head(guest, self.next_avail.wrapping_add(offset));
            let Some(plain) = self.plain_at(guest, head) else {
                break;
            };
            bytes += plain.data.len as u64;
            list.push(plain);
            if list.len() == most_requests as usize || bytes >= most_bytes {
                break;
            }
        }
        Ok(list)
    }

    /// The request at `head`, if it is plain.
    fn plain_at(&self, guest: &Guest, head: u16) -> Option<Plain> {
        let (list, table) = self.three(guest, head)?;
        let flags = list
            .each_ref()
            .map(|each| each.flags & (NEXT | WRITE | INDIRECT));
        let lens = list.each_ref().map(|each| each.len);
        let shape = flags[0] == NEXT && flags[1] & !WRITE == NEXT && flags[2] == WRITE;
        let sizes = lens[0] == 16 && lens[2] == 1 && (1..=MOST_PLAIN_BYTES).contains(&lens[1]);
        let whole = |each: &Descriptor| is_whole(guest, each.addr, each.len);
        if !shape || !sizes || !list.iter().all(whole) {
            return None;
        }
        let header: [u8; 16] = guest.read(list[0].addr).unwrap();
        let reads = flags[1] & WRITE != 0;
        let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if kind != u32::from(!reads) {
            return None;
        }
        // A plain request must be the same as the walk of its chain.
        let chain = self.walk(guest, head);
        assert!(!chain.damaged && !chain.gap, "{chain:?}");
        let all = chain.readable.iter().chain(&chain.writable);
        let found: Vec<(u64, usize)> = all.map(|piece| (piece.at, piece.len)).collect();
        let wanted = list.each_ref().map(|each| (each.addr, each.len as usize));
        assert_eq!(found, wanted, "{chain:?}");
        assert_eq!(chain.readable.len(), if reads { 1 } else { 2 });
        Some(Plain {
            head,
            header,
            data: Stretch {
                at: list[1].addr,
                len: list[1].len as usize,
            },
            reads,
            status: list[2].addr,
            table,
        })
    }

    /// Three descriptors that name each other, or all of a table of three in order; and whether it
    /// is a table.
    fn three(&self, guest: &Guest, head: u16) -> Option<([Descriptor; 3], bool)> {
        if head >= self.size {
            return None;
        }
        let first = read(guest, self.desc, head)?;
        if first.flags & INDIRECT == 0 {
            let next = |from: &Descriptor| {
                let follows = from.flags & NEXT != 0 && from.next < self.size;
                follows.then(|| read(guest, self.desc, from.next))?
            };
            let second = next(&first)?;
            let third = next(&second)?;
            return Some(([first, second, third], false));
        }
        let good = first.flags & NEXT == 0 && first.len == 48;
        if !good || !is_whole(guest, first.addr, 48) {
            return None;
        }
        let entry = |index| read(guest, first.addr, index);
        let list = [entry(0)?, entry(1)?, entry(2)?];
        (list[0].next == 1 && list[1].next == 2).then_some((list, true))
    }

    /// The request at `head`. If its chain can't be followed to its end, or is too long, only its
    /// status is left: the last writable byte found within that many descriptors.
    fn walk(&self, guest: &Guest, head: u16) -> Chain {
        let (list, fault) = self.descriptors(guest, head);
        let mut chain = Chain {
            head,
            fault,
            ..Chain::default()
        };
        let longest = usize::from(self.longest());
        for descriptor in list.iter().take(longest) {
            chain.add(guest, descriptor);
        }
        if fault.is_some() {
            let mut rest = list.iter().skip(longest);
            if let Some(last) = rest.rfind(|it| it.flags & WRITE != 0 && it.len > 0) {
                chain.writable.clear();
                chain.no_status = false;
                chain.add(guest, last);
            }
            (chain.damaged, chain.gap) = (true, true);
            chain.readable.clear();
            if let Some(last) = chain.writable.pop() {
                let skip = last.len - 1;
                chain.writable = vec![Stretch {
                    at: last.at + skip as u64,
                    len: 1,
                }];
            }
        }
        if chain.no_status {
            chain.writable.clear();
        }
        chain
    }

    /// The descriptors of a chain that are found and read, and what is wrong.
    fn descriptors(&self, guest: &Guest, head: u16) -> (Vec<Descriptor>, Option<&'static str>) {
        let mut list = Vec::new();
        let (mut table, mut entries) = (self.desc, u32::from(self.size));
        let mut inside = false;
        let mut index = head;
        let fault = loop {
            let Some(descriptor) = read(guest, table, index) else {
                break "IndirectTable";
            };
            if descriptor.flags & INDIRECT != 0 {
                if inside {
                    break "Nested";
                }
                if descriptor.flags & NEXT != 0 {
                    break "IndirectNext";
                }
                if descriptor.len == 0 || descriptor.len % 16 != 0 {
                    break "IndirectTable";
                }
                (table, entries) = (descriptor.addr, descriptor.len / 16);
                (inside, index) = (true, 0);
                continue;
            }
            let next = (descriptor.flags & NEXT != 0).then_some(descriptor.next);
            list.push(descriptor);
            if next.is_some_and(|next| u32::from(next) >= entries) {
                break "Next";
            }
            let Some(next) = next else {
                let is_long = list.len() > usize::from(self.longest());
                return (list, is_long.then_some("TooLong"));
            };
            if list.len() >= usize::from(self.longest().max(4096)) {
                break "TooLong";
            }
            index = next;
        };
        let is_long = list.len() > usize::from(self.longest());
        (list, Some(if is_long { "TooLong" } else { fault }))
    }

    /// The request of `head` is done; `len` is the device's result.
    pub(crate) fn complete(&mut self, guest: &mut Guest, head: u16, len: u32) {
        let slot = u64::from(self.next_used % self.size);
        let at = self.used + 4 + slot * 8;
        guest.expect(at, &u32::from(head).to_le_bytes());
        guest.expect(at + 4, &len.to_le_bytes());
        self.next_avail = self.next_avail.wrapping_add(1);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Returns whether the driver wants a call.
    pub(crate) fn publish(&mut self, guest: &mut Guest) -> bool {
        let (old, new) = (self.shown_used, self.next_used);
        if old == new {
            return false;
        }
        guest.expect(self.used + 2, &new.to_le_bytes());
        self.shown_used = new;
        if !self.setup.event_idx {
            return guest.u16(self.avail) & 1 == 0;
        }
        let event = guest.u16(self.avail + 4 + u64::from(self.size) * 2);
        // §2.7.10: the entry after `event` is one of those published just now.
        let mut index = old;
        while index != new {
            if index == event {
                return true;
            }
            index = index.wrapping_add(1);
        }
        false
    }

    pub(crate) fn quiet(&mut self, guest: &mut Guest) {
        if !self.quiet && !self.setup.event_idx {
            guest.expect(self.used, &1u16.to_le_bytes());
        }
        self.quiet = true;
    }

    pub(crate) fn listen(&mut self, guest: &mut Guest) -> Result<bool, &'static str> {
        let (at, wish) = if self.setup.event_idx {
            (4 + u64::from(self.size) * 8, self.next_avail)
        } else {
            (0, 0)
        };
        guest.expect(self.used + at, &wish.to_le_bytes());
        self.quiet = false;
        self.look(guest)
    }
}

/// Whether a buffer lies in one region.
fn is_whole(guest: &Guest, at: u64, len: u32) -> bool {
    guest
        .find(at)
        .is_some_and(|(_, there)| there >= u64::from(len))
}

fn read(guest: &Guest, table: u64, index: u16) -> Option<Descriptor> {
    let at = table.checked_add(u64::from(index) * 16)?;
    let bytes = u128::from_le_bytes(guest.read(at)?);
    Some(Descriptor {
        addr: bytes as u64,
        len: (bytes >> 64) as u32,
        flags: (bytes >> 96) as u16,
        next: (bytes >> 112) as u16,
    })
}

impl Chain {
    fn add(&mut self, guest: &Guest, descriptor: &Descriptor) {
        let mut rest = u64::from(descriptor.len);
        if rest == 0 {
            return;
        }
        let writable = descriptor.flags & WRITE != 0;
        if !writable && !self.writable.is_empty() {
            self.damaged = true;
        }
        let mut at = descriptor.addr;
        while rest > 0 {
            let Some((_, there)) = guest.find(at) else {
                self.damaged = true;
                if writable {
                    (self.gap, self.no_status) = (true, true);
                }
                return;
            };
            let len = there.min(rest);
            let list = if writable {
                &mut self.writable
            } else {
                &mut self.readable
            };
            list.push(Stretch {
                at,
                len: len as usize,
            });
            rest -= len;
            // The last region ends before the last address: nothing wraps.
            at += len;
        }
        if writable {
            self.no_status = false;
        }
    }
}
