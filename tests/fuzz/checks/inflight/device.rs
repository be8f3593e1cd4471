//! The ring under test, and the model's copy of the state that the device keeps in its own memory.

use ramblk::vhost_user::fuzz::SplitRing;

use super::AVAIL;
use super::model::State;

/// The ring, and the model's copy of its state.
pub(super) struct Device {
    pub(super) ring: SplitRing,
    pub(super) unreturned: Vec<u16>,
    pub(super) next_avail: u16,
    /// The avail index when the ring last looked.
    pub(super) seen_avail: u16,
    pub(super) next_used: u16,
    pub(super) counter: u64,
    pub(super) batch: Vec<u16>,
    /// A request that was taken and not finished, and whether it came from the avail ring.
    pub(super) current: Option<(u16, bool)>,
}

impl Device {
    /// Whether the avail ring has a next request.
    pub(super) fn look(&mut self, state: &State) -> Result<bool, &'static str> {
        if self.current.is_some() || !self.unreturned.is_empty() {
            return Ok(false);
        }
        if self.next_avail == self.seen_avail {
            let there = state.avail_index();
            if there.wrapping_sub(self.next_avail) > state.size {
                return Err("AvailJump");
            }
            self.seen_avail = there;
        }
        Ok(self.next_avail != self.seen_avail)
    }

    fn head(state: &State, position: u16) -> u16 {
        state.memory_u16(AVAIL + 4 + usize::from(position % state.size) * 2)
    }

    /// What the ring must serve next: the head, and whether it comes from the avail ring.
    pub(super) fn next(&mut self, state: &mut State) -> Result<Option<(u16, bool)>, &'static str> {
        if self.current.is_some() {
            return Ok(self.current);
        }
        if let Some(&head) = self.unreturned.first() {
            return Ok(Some((head, false)));
        }
        if !self.look(state)? {
            return Ok(None);
        }
        let head = Self::head(state, self.next_avail);
        if head >= state.size {
            return Err("Head");
        }
        self.take(state, head);
        Ok(Some((head, true)))
    }

    fn take(&mut self, state: &mut State, head: u16) {
        state.take(head, self.counter);
        self.counter = self.counter.wrapping_add(1);
    }

    /// If all requests are plain: the next ones, all taken before any is served.
    pub(super) fn take_plain(
        &mut self,
        state: &mut State,
        most: u32,
    ) -> Result<Vec<u16>, &'static str> {
        if !self.look(state)? {
            return Ok(Vec::new());
        }
        let waiting = self.seen_avail.wrapping_sub(self.next_avail);
        let heads: Vec<u16> = (0..waiting.min(most.min(16) as u16))
            .map(|offset| Self::head(state, self.next_avail.wrapping_add(offset)))
            .take_while(|&head| head < state.size)
            .collect();
        heads.iter().for_each(|&head| self.take(state, head));
        Ok(heads)
    }

    /// The request of `head` is done, with `answer` as its status.
    pub(super) fn complete(&mut self, state: &mut State, head: u16, answer: u8, len: u32) {
        state.complete(head, self.next_used, answer, len);
        self.next_used = self.next_used.wrapping_add(1);
        self.batch.push(head);
    }
}
