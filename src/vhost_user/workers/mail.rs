//! How workers are told things, and how what concerns a ring finds the worker that has it.
//!
//! A worker has a [`Mailbox`]. A ring has a [`Letterbox`], which goes with it from worker to
//! worker. An order for the ring is put into the letterbox, and the worker that has the ring at
//! that instant is told to look there; a worker that takes a ring in looks by itself. So an order
//! is found by whoever has the ring, in its place among the others, however often the ring moves
//! meanwhile; a worker that is told to look for a ring that it no longer has ignores that. Nothing
//! is sent on, so nothing is left behind or overtaken on the way.
//!
//! Who holds the ring holds the [`Tenancy`] of its letterbox. That is dropped with the ring, and
//! what is not carried out by then is dropped too: who waits for an answer learns it from that.
//!
//! This file knows neither rings nor descriptors: `tests/schedules` drives it with rings, orders
//! and a bell of its own, under a scheduler that tries out interleavings.
#![cfg_attr(
    not(ramblk_schedules),
    allow(unreachable_pub, reason = "public for a test of interleavings only")
)]

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use crate::store::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};

/// What goes through the mail.
pub trait Kind: Debug + 'static {
    /// A ring, with all that a worker needs to go on with it.
    type Ring: Debug + Send;
    /// What whoever has a ring is told to do with it.
    type Order: Debug + Send;
    /// What wakes a worker that sleeps.
    type Bell: Bell;
}

/// What wakes a worker that sleeps.
pub trait Bell: Debug + Send + Sync {
    /// Wake it, or have it not fall asleep.
    fn ring(&self);
}

/// What a worker is told.
#[derive(Debug)]
pub enum Message<K: Kind> {
    /// Serve this ring from now on: it is new, or another worker had it.
    Take(Parcel<K>),
    /// There is an order for the ring of this number.
    Look(u64),
    /// Serve nothing any more.
    Quit,
}

/// A ring on its way to a worker.
#[derive(Debug)]
pub struct Parcel<K: Kind> {
    /// The ring's number, which no other one has.
    pub id: u64,
    /// The right to its letterbox.
    pub tenancy: Tenancy<K>,
    /// The ring.
    pub ring: K::Ring,
}

/// The way to a worker, and what others may know of it.
#[derive(Debug)]
pub struct Mailbox<K: Kind> {
    queue: Mutex<Queue<K>>,
    bell: K::Bell,
    /// Whether there may be a message: a worker that is busy looks here, and one that sleeps is
    /// woken by the bell.
    waiting: AtomicBool,
    /// Rings that it has, or is about to have.
    rings: AtomicUsize,
    /// Rings that it had work for lately.
    busy: AtomicUsize,
}

#[derive(Debug)]
struct Queue<K: Kind> {
    messages: VecDeque<Message<K>>,
    /// The worker reads no more.
    closed: bool,
}

impl<K: Kind> Mailbox<K> {
    /// An empty one, of a worker that is woken by `bell`.
    pub fn new(bell: K::Bell) -> Self {
        Self {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                closed: false,
            }),
            bell,
            waiting: AtomicBool::new(false),
            rings: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        }
    }

    /// Hand in a message; `false`: the worker is gone, and the message with it.
    pub fn post(&self, message: Message<K>) -> bool {
        {
            let mut queue = self.queue.lock();
            if queue.closed {
                return false;
            }
            queue.messages.push_back(message);
        }
        self.waiting.store(true, Ordering::Release);
        self.bell.ring();
        true
    }

    /// Hand in a ring, which counts from now on.
    pub fn hand_in(&self, parcel: Parcel<K>) -> bool {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.post(Message::Take(parcel))
    }

    /// Whether there may be a message, for a worker amid other things.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether there may be a message, for the worker, who then reads all.
    #[inline]
    pub fn take_waiting(&self) -> bool {
        self.is_waiting() && self.waiting.swap(false, Ordering::Acquire)
    }

    fn next(&self) -> Option<Message<K>> {
        self.queue.lock().messages.pop_front()
    }

    /// Take no message any more; what is left goes, and with it the rings that were on their way.
    pub fn close(&self) {
        let left = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.messages)
        };
        drop(left);
    }

    /// What wakes its worker.
    pub fn bell(&self) -> &K::Bell {
        &self.bell
    }

    /// How many rings the worker has, or is about to have.
    pub fn rings(&self) -> usize {
        self.rings.load(Ordering::Relaxed)
    }

    /// The worker has a ring less.
    pub fn lost_ring(&self) {
        self.rings.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many rings the worker had work for lately.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// The worker has counted.
    pub fn set_busy(&self, busy: usize) {
        self.busy.store(busy, Ordering::Relaxed);
    }
}

/// Orders for one ring, in order.
#[derive(Debug)]
pub struct Letterbox<K: Kind>(Mutex<Letters<K>>);

#[derive(Debug)]
struct Letters<K: Kind> {
    /// The worker that has the ring, by number, or had it last if it is on its way. `None`: nobody
    /// has it any more.
    place: Option<usize>,
    orders: VecDeque<K::Order>,
}

/// The right to a ring's letterbox: it is where the ring is. When it is dropped, the ring is gone,
/// and orders for it are refused.
#[derive(Debug)]
pub struct Tenancy<K: Kind>(Arc<Letterbox<K>>);

impl<K: Kind> Tenancy<K> {
    /// For a ring that is about to be handed to worker `place`, and the way to it.
    pub fn new(id: u64, place: usize, mailboxes: &Mailboxes<K>) -> (Self, Address<K>) {
        let letterbox = Arc::new(Letterbox(Mutex::new(Letters {
            place: Some(place),
            orders: VecDeque::new(),
        })));
        let address = Address {
            id,
            letterbox: Arc::clone(&letterbox),
            mailboxes: Arc::clone(mailboxes),
        };
        (Self(letterbox), address)
    }

    /// Orders are announced to worker `place` from now on. Those that came before are in the
    /// letterbox, and that worker must look.
    fn moves_in(&self, place: usize) {
        self.0.0.lock().place = Some(place);
    }

    /// The next order.
    pub fn next(&self) -> Option<K::Order> {
        self.0.0.lock().orders.pop_front()
    }
}

impl<K: Kind> Drop for Tenancy<K> {
    fn drop(&mut self) {
        let left = {
            let mut letters = self.0.0.lock();
            letters.place = None;
            std::mem::take(&mut letters.orders)
        };
        drop(left);
    }
}

/// The mailboxes of all workers, by number.
pub type Mailboxes<K> = Arc<[Arc<Mailbox<K>>]>;

/// The way to a ring, wherever it is.
#[derive(Debug)]
pub struct Address<K: Kind> {
    id: u64,
    letterbox: Arc<Letterbox<K>>,
    mailboxes: Mailboxes<K>,
}

impl<K: Kind> Address<K> {
    /// Have whoever has the ring carry out an order, after all that were posted before. `false`:
    /// nobody has the ring, and the order is dropped. It may be dropped later too, if the ring goes
    /// first.
    pub fn post(&self, order: K::Order) -> bool {
        let place = {
            let mut letters = self.letterbox.0.lock();
            let Some(place) = letters.place else {
                return false;
            };
            letters.orders.push_back(order);
            place
        };
        // A worker that is gone has dropped its rings, and their orders with them.
        self.mailboxes
            .get(place)
            .is_some_and(|mailbox| mailbox.post(Message::Look(self.id)))
    }
}

/// The rings of a worker, as the mail needs them.
pub trait Desk<K: Kind> {
    /// Serve a ring from now on. Where that can't be, its tenancy is dropped.
    fn take(&mut self, parcel: Parcel<K>);

    /// The tenancy of a ring, while it is here.
    fn tenancy(&self, id: u64) -> Option<&Tenancy<K>>;

    /// Carry out an order for a ring that is here.
    fn carry_out(&mut self, id: u64, order: K::Order);
}

/// Do all that was posted to worker `number`; `false`: it is to end, and gets no mail any more.
pub fn read<K: Kind>(number: usize, mailbox: &Mailbox<K>, desk: &mut impl Desk<K>) -> bool {
    while let Some(message) = mailbox.next() {
        match message {
            Message::Take(parcel) => {
                let id = parcel.id;
                parcel.tenancy.moves_in(number);
                desk.take(parcel);
                look(id, desk);
            }
            Message::Look(id) => look(id, desk),
            Message::Quit => {
                mailbox.close();
                return false;
            }
        }
    }
    true
}

fn look<K: Kind>(id: u64, desk: &mut impl Desk<K>) {
    while let Some(order) = desk.tenancy(id).and_then(Tenancy::next) {
        desk.carry_out(id, order);
    }
}
