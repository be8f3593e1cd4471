//! The workers' mail: rings that move while they receive orders. The mail is the real one; rings,
//! orders, eventfds and the workers' loops are test doubles.

use std::collections::HashMap;
use std::sync::Arc;

use ramblk::vhost_user::mail::{
    Address, Bell, Desk, Kind, Mailbox, Mailboxes, Message, Parcel, Tenancy, read,
};
use shuttle::sync::mpsc::{Receiver, Sender, channel};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread::{self, JoinHandle};

use crate::explore;

/// An eventfd.
#[derive(Debug, Default)]
struct Eventfd(Mutex<bool>, Condvar);

impl Bell for Eventfd {
    fn ring(&self) {
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
struct Rings;

impl Kind for Rings {
    /// A ring is the list of its call descriptors, by number.
    type Ring = Vec<u8>;
    type Order = Order;
    type Bell = Eventfd;
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
    mailboxes: Mailboxes<Rings>,
    rings: HashMap<u64, (Tenancy<Rings>, Vec<u8>)>,
    moves: Arc<Mutex<HashMap<u64, usize>>>,
}

impl Desk<Rings> for Worker {
    fn take(&mut self, parcel: Parcel<Rings>) {
        let ring = (parcel.tenancy, parcel.ring);
        assert!(self.rings.insert(parcel.id, ring).is_none());
    }

    fn tenancy(&self, id: u64) -> Option<&Tenancy<Rings>> {
        self.rings.get(&id).map(|(tenancy, _)| tenancy)
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
                mailbox.bell().wait();
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
        let (tenancy, ring) = self.rings.remove(&id).unwrap();
        self.mailboxes[self.number].lost_ring();
        let other = (self.number + 1) % self.mailboxes.len();
        self.mailboxes[other].hand_in(Parcel { id, tenancy, ring })
    }
}

struct Workers {
    mailboxes: Mailboxes<Rings>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Start `count` workers, where ring `n` moves `moves[n]` times.
    fn start(count: usize, moves: &[usize]) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(Eventfd::default()));
        let mailboxes: Mailboxes<Rings> = (0..count).map(mailbox).collect();
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
    fn serve(&self, id: u64) -> Address<Rings> {
        let (tenancy, address) = Tenancy::new(id, 0, &self.mailboxes);
        let ring = Vec::new();
        assert!(self.mailboxes[0].hand_in(Parcel { id, tenancy, ring }));
        address
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

fn stop(address: &Address<Rings>) -> Receiver<Vec<u8>> {
    let (reply, answer) = channel();
    address.post(Order::Stop(reply));
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
