//! The workers' mail: rings that move while they receive orders. The mail is the real one; rings,
//! orders, eventfds and the workers' loops are test doubles.

use std::collections::HashMap;
use std::sync::Arc;

use ramblk::vhost_user::mail::{
    Kind, Mailbox, Mailboxes, Message, OrderReceiver, OrderSender, Placed, Rings, Waker, orders,
    read,
};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::explore;

/// An eventfd.
#[derive(Debug, Default)]
struct Eventfd(Mutex<bool>, Condvar);

impl Waker for Eventfd {
    fn wake(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

impl Eventfd {
    fn wait(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

#[derive(Debug)]
struct Test;

impl Kind for Test {
    /// A ring is the list of its call descriptors, by number.
    type Ring = Vec<u8>;
    type Order = Order;
    type Waker = Eventfd;
}

#[derive(Debug)]
enum Order {
    SetCall(u8),
    /// With the ring's final state as the answer.
    Stop(Sender<Vec<u8>>),
}

/// A worker that hands over each ring as often as `moves` says, one at a time.
struct Worker {
    number: usize,
    mailboxes: Mailboxes<Test>,
    rings: HashMap<u64, (OrderReceiver<Test>, Vec<u8>)>,
    moves: Arc<Mutex<HashMap<u64, usize>>>,
}

impl Rings<Test> for Worker {
    fn take(&mut self, placed: Placed<Test>) {
        let ring = (placed.orders, placed.ring);
        assert!(self.rings.insert(placed.id, ring).is_none());
    }

    fn orders(&self, id: u64) -> Option<&OrderReceiver<Test>> {
        self.rings.get(&id).map(|(orders, _)| orders)
    }

    fn carry_out(&mut self, id: u64, order: Order) {
        match order {
            Order::SetCall(call) => self.rings.get_mut(&id).unwrap().1.push(call),
            Order::Stop(reply) => {
                let (_, ring) = self.rings.remove(&id).unwrap();
                self.mailboxes[self.number].lost_ring();
                reply.send(ring).unwrap();
            }
        }
    }
}

impl Worker {
    fn run(mut self) {
        let mailbox = Arc::clone(&self.mailboxes[self.number]);
        loop {
            if mailbox.take_waiting() && !read(self.number, &mailbox, &mut self) {
                return;
            }
            if !self.hands_over() {
                mailbox.waker().wait();
            }
        }
    }

    /// As if it were busier than another worker.
    fn hands_over(&mut self) -> bool {
        let mut moves = self.moves.lock().unwrap();
        let has_moves = |id: &&u64| moves.get(id).is_some_and(|&left| left > 0);
        let Some(&id) = self.rings.keys().min().filter(has_moves) else {
            return false;
        };
        *moves.get_mut(&id).unwrap() -= 1;
        drop(moves);
        let (orders, ring) = self.rings.remove(&id).unwrap();
        self.mailboxes[self.number].lost_ring();
        let other = (self.number + 1) % self.mailboxes.len();
        self.mailboxes[other].hand_in(Placed { id, orders, ring })
    }
}

struct Workers {
    mailboxes: Mailboxes<Test>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Start `count` workers, where ring `n` moves `moves[n]` times.
    fn start(count: usize, moves: &[usize]) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(Eventfd::default()));
        let mailboxes: Mailboxes<Test> = (0..count).map(mailbox).collect();
        let moves = moves.iter().enumerate().map(|(id, &n)| (id as u64, n));
        let moves = Arc::new(Mutex::new(moves.collect()));
        let threads = (0..count).map(|number| {
            let worker = Worker {
                number,
                mailboxes: Arc::clone(&mailboxes),
                rings: HashMap::new(),
                moves: Arc::clone(&moves),
            };
            thread::spawn(move || worker.run())
        });
        Self {
            threads: threads.collect(),
            mailboxes,
        }
    }

    /// A new ring of the first worker.
    fn serve(&self, id: u64) -> OrderSender<Test> {
        let (sender, orders) = orders(id, 0, &self.mailboxes);
        let ring = Vec::new();
        assert!(self.mailboxes[0].hand_in(Placed { id, orders, ring }));
        sender
    }

    fn quit(self) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Message::Quit);
        }
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn stop(sender: &OrderSender<Test>) -> Receiver<Vec<u8>> {
    let (reply, answer) = channel();
    sender.post(Order::Stop(reply));
    answer
}

#[test]
fn a_stop_behind_one_for_a_ring_that_moved_is_answered() {
    explore(|| {
        let workers = Workers::start(2, &[1, 0]);
        let rings = [workers.serve(0), workers.serve(1)];
        let sessions = rings.map(|ring| {
            thread::spawn(move || {
                assert_eq!(stop(&ring).recv(), Ok(Vec::new()));
            })
        });
        for session in sessions {
            session.join().unwrap();
        }
        assert!(workers.mailboxes.iter().all(|mailbox| mailbox.rings() == 0));
        workers.quit();
    });
}

#[test]
fn orders_for_a_ring_that_goes_from_worker_to_worker_keep_their_order() {
    explore(|| {
        let workers = Workers::start(3, &[3]);
        let ring = workers.serve(0);
        // The sender waits for no answer in between.
        for call in 1..=3 {
            assert!(ring.post(Order::SetCall(call)));
        }
        assert_eq!(stop(&ring).recv(), Ok(vec![1, 2, 3]));
        assert!(!ring.post(Order::SetCall(4)));
        workers.quit();
    });
}

#[test]
fn a_ring_that_is_taken_in_behind_other_mail_is_served() {
    explore(|| {
        let workers = Workers::start(2, &[1, 1, 0]);
        let rings = [0, 1, 2].map(|id| workers.serve(id));
        let sessions = rings.map(|ring| {
            thread::spawn(move || {
                ring.post(Order::SetCall(7));
                assert_eq!(stop(&ring).recv(), Ok(vec![7]));
            })
        });
        for session in sessions {
            session.join().unwrap();
        }
        workers.quit();
    });
}

#[test]
fn whoever_waits_for_a_worker_that_quits_learns_that_no_answer_comes() {
    explore(|| {
        let workers = Workers::start(2, &[1]);
        let ring = workers.serve(0);
        let session = thread::spawn(move || {
            let first = stop(&ring).recv();
            assert!(first.is_err() || first == Ok(Vec::new()));
            assert!(stop(&ring).recv().is_err());
        });
        workers.quit();
        session.join().unwrap();
    });
}
