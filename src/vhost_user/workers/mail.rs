//! How workers are told things, and how an order for a ring finds the worker that has it.
//!
//! A worker has a [`Mailbox`]. A ring has a queue of orders, which moves with it from worker to
//! worker: [`OrderSender`] is the session's end of it, [`OrderReceiver`] is the end of the worker
//! that has the ring. The sender puts an order into the queue, and then tells the worker that has
//! the ring at that instant to look there; a worker that takes a ring in looks by itself. So the
//! worker that has the ring finds each order, in its place among the others, however often the ring
//! moves meanwhile. A worker that is told to look for a ring that it no longer has ignores that.
//! Nothing is forwarded, so nothing is lost or overtaken on the way.
//!
//! The receiver is dropped with the ring, and orders that were not carried out are dropped with it:
//! a session that waits for an answer learns from that that none comes.
//!
//! This file knows neither rings nor descriptors: `tests/schedules` drives it with rings, orders
//! and wakers of its own, under a scheduler that tries out interleavings.
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
    /// What the worker that has a ring is told to do with it.
    type Order: Debug + Send;
    /// What wakes a worker that sleeps.
    type Waker: Waker;
}

/// What wakes a worker that sleeps.
pub trait Waker: Debug + Send + Sync {
    /// Wake the worker, or keep it from falling asleep.
    fn wake(&self);
}

/// What a worker is told.
#[derive(Debug)]
pub enum Message<K: Kind> {
    /// Serve this ring from now on: it is new, or another worker had it.
    Take(Placed<K>),
    /// There is an order for the ring of this number.
    Look(u64),
    /// Serve nothing any more.
    Quit,
}

/// A ring that a worker has, or that is on its way to one.
#[derive(Debug)]
pub struct Placed<K: Kind> {
    /// The ring's number, which no other ring has.
    pub id: u64,
    /// What it is ordered to do.
    pub orders: OrderReceiver<K>,
    /// The ring.
    pub ring: K::Ring,
}

/// The way to a worker, and what others may know of it.
#[derive(Debug)]
pub struct Mailbox<K: Kind> {
    queue: Mutex<Queue<K>>,
    waker: K::Waker,
    /// Whether there may be a message: a worker that is busy looks here, and one that sleeps is
    /// woken.
    waiting: AtomicBool,
    /// Rings that the worker has, or is about to have.
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
    /// An empty mailbox of a worker that `waker` wakes.
    pub fn new(waker: K::Waker) -> Self {
        Self {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                closed: false,
            }),
            waker,
            waiting: AtomicBool::new(false),
            rings: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        }
    }

    /// Post a message. `false`: the worker is gone, and the message is dropped.
    pub fn post(&self, message: Message<K>) -> bool {
        {
            let mut queue = self.queue.lock();
            if queue.closed {
                return false;
            }
            queue.messages.push_back(message);
        }
        self.waiting.store(true, Ordering::Release);
        self.waker.wake();
        true
    }

    /// Post a ring, which counts as the worker's from now on.
    pub fn hand_in(&self, placed: Placed<K>) -> bool {
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.post(Message::Take(placed))
    }

    /// Whether there may be a message, for a worker amid other things.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether there may be a message, for the worker, which must then [`read`] all.
    #[inline]
    pub fn take_waiting(&self) -> bool {
        self.is_waiting() && self.waiting.swap(false, Ordering::Acquire)
    }

    fn next(&self) -> Option<Message<K>> {
        self.queue.lock().messages.pop_front()
    }

    /// Take no message any more. Those that are left are dropped, and with them the rings that were
    /// on their way.
    pub fn close(&self) {
        let left = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.messages)
        };
        drop(left);
    }

    /// What wakes its worker.
    pub fn waker(&self) -> &K::Waker {
        &self.waker
    }

    /// How many rings the worker has, or is about to have.
    pub fn rings(&self) -> usize {
        self.rings.load(Ordering::Relaxed)
    }

    /// The worker has one ring less.
    pub fn lost_ring(&self) {
        let before = self.rings.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a worker lost a ring that it never had");
    }

    /// How many rings the worker had work for lately.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// The worker has counted the rings that it had work for.
    pub fn set_busy(&self, busy: usize) {
        self.busy.store(busy, Ordering::Relaxed);
    }
}

/// The mailboxes of all workers, by number.
pub type Mailboxes<K> = Arc<[Arc<Mailbox<K>>]>;

/// Orders for one ring, in order.
#[derive(Debug)]
struct Orders<K: Kind> {
    /// The worker that has the ring, by number; the last one that had it, while it moves. `None`:
    /// the ring is gone.
    worker: Option<usize>,
    queue: VecDeque<K::Order>,
}

/// A queue of orders for ring `id`, which is about to be handed to `worker`.
pub fn orders<K: Kind>(
    id: u64,
    worker: usize,
    mailboxes: &Mailboxes<K>,
) -> (OrderSender<K>, OrderReceiver<K>) {
    let orders = Arc::new(Mutex::new(Orders {
        worker: Some(worker),
        queue: VecDeque::new(),
    }));
    let sender = OrderSender {
        id,
        orders: Arc::clone(&orders),
        mailboxes: Arc::clone(mailboxes),
    };
    (sender, OrderReceiver(orders))
}

/// A session's way to a ring, wherever that is.
#[derive(Debug)]
pub struct OrderSender<K: Kind> {
    id: u64,
    orders: Arc<Mutex<Orders<K>>>,
    mailboxes: Mailboxes<K>,
}

impl<K: Kind> OrderSender<K> {
    /// Have the worker that has the ring carry out an order, after all that were posted before.
    /// `false`: the ring is gone, and the order is dropped. It may be dropped later too, if the
    /// ring goes first.
    pub fn post(&self, order: K::Order) -> bool {
        let worker = {
            let mut orders = self.orders.lock();
            let Some(worker) = orders.worker else {
                return false;
            };
            orders.queue.push_back(order);
            worker
        };
        debug_assert!(worker < self.mailboxes.len(), "no worker {worker}");
        // A worker that is gone has dropped its rings, and their orders with them.
        self.mailboxes
            .get(worker)
            .is_some_and(|mailbox| mailbox.post(Message::Look(self.id)))
    }
}

/// A worker's end of a ring's orders. It is where the ring is: once it is dropped, orders for the
/// ring are refused.
#[derive(Debug)]
pub struct OrderReceiver<K: Kind>(Arc<Mutex<Orders<K>>>);

impl<K: Kind> OrderReceiver<K> {
    /// Announce orders to `worker` from now on. Those that came before are in the queue, and that
    /// worker must look.
    fn moves_to(&self, worker: usize) {
        self.0.lock().worker = Some(worker);
    }

    /// The next order.
    pub fn next(&self) -> Option<K::Order> {
        self.0.lock().queue.pop_front()
    }
}

impl<K: Kind> Drop for OrderReceiver<K> {
    fn drop(&mut self) {
        let left = {
            let mut orders = self.0.lock();
            orders.worker = None;
            std::mem::take(&mut orders.queue)
        };
        drop(left);
    }
}

/// The rings of a worker, as the mail needs them.
pub trait Rings<K: Kind> {
    /// Serve a ring from now on. If that is impossible, drop it.
    fn take(&mut self, placed: Placed<K>);

    /// The orders of a ring, while it is here.
    fn orders(&self, id: u64) -> Option<&OrderReceiver<K>>;

    /// Carry out an order for a ring that is here.
    fn carry_out(&mut self, id: u64, order: K::Order);
}

/// Do all that was posted to worker `number`. `false`: the worker must end, and gets no mail any
/// more.
pub fn read<K: Kind>(number: usize, mailbox: &Mailbox<K>, rings: &mut impl Rings<K>) -> bool {
    while let Some(message) = mailbox.next() {
        match message {
            Message::Take(placed) => {
                let id = placed.id;
                placed.orders.moves_to(number);
                rings.take(placed);
                look(id, rings);
            }
            Message::Look(id) => look(id, rings),
            Message::Quit => {
                mailbox.close();
                return false;
            }
        }
    }
    true
}

fn look<K: Kind>(id: u64, rings: &mut impl Rings<K>) {
    while let Some(order) = rings.orders(id).and_then(OrderReceiver::next) {
        rings.carry_out(id, order);
    }
}
