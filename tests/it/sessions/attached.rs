//! What a server reports about its front ends, and how it lets go of them.

use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ramblk::device::{BlockDevice, Serial};
use ramblk::store::{DiskSpec, SectorSize, Store};
use ramblk::vhost_user::{
    Departure, Error, Hub, Peer, Server, ServerEvent, ServerOptions, Share, WorkerOptions,
};
use tempfile::TempDir;

use crate::driver::client::{Client, code};
use crate::driver::disk::{DATA, Disk};
use crate::driver::load::{prepare_reads, publish_reads};
use crate::driver::memory::MIB;
use crate::harness::eventually;

struct Served {
    server: Server,
    events: mpsc::Receiver<ServerEvent>,
    socket: PathBuf,
    _folder: TempDir,
}

impl Served {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("vhost.sock");
        let store = Store::new(64 * MIB).unwrap();
        let spec = DiskSpec::new(SectorSize::S512, 16 * MIB);
        let disk = store.create("disk", &spec).unwrap();
        let queues = NonZeroU16::new(2).unwrap();
        let device = BlockDevice::new(disk, Serial::new("disk").unwrap(), queues);
        let hub = Hub::new(&WorkerOptions {
            count: 1,
            poll: Duration::from_micros(32),
            cpus: Vec::new(),
        });
        let options = ServerOptions {
            share: Share::None,
            in_order: false,
        };
        let server = Server::new(device, &options, &hub.unwrap());
        let (tell, events) = mpsc::channel();
        assert!(server.on_event(Box::new(move |event| tell.send(event).unwrap())));
        assert!(!server.on_event(Box::new(|_| ())), "a second one");
        server.listen(UnixListener::bind(&socket).unwrap()).unwrap();
        Self {
            server,
            events,
            socket,
            _folder: folder,
        }
    }

    fn next(&self) -> ServerEvent {
        self.events.recv_timeout(Duration::from_secs(5)).unwrap()
    }
}

#[test]
fn front_ends_are_told_apart_and_looked_at() {
    let served = Served::new();
    assert!(served.server.front_ends().is_empty());
    let disk = Disk::attach(&served.socket);
    let own = Peer {
        pid: Some(std::process::id()),
        uid: rustix::process::getuid().as_raw(),
    };
    let peer = Some(own);
    assert_eq!(served.next(), ServerEvent::Attached { session: 0, peer });
    let idle = Client::connect(&served.socket);
    assert_eq!(served.next(), ServerEvent::Attached { session: 1, peer });
    let look = || {
        let found = served.server.front_ends();
        assert_eq!(found.len(), served.server.sessions());
        assert!(found.iter().all(|front_end| front_end.peer == Some(own)));
        let look = |f: &ramblk::vhost_user::FrontEnd| (f.session, f.live, f.notifiable);
        found.iter().map(look).collect::<Vec<_>>()
    };
    assert_eq!(look(), [(0, true, false), (1, false, false)]);
    let (_ours, theirs) = UnixStream::pair().unwrap();
    disk.client
        .tell(code::SET_BACKEND_REQ_FD, &[], &[theirs.as_fd()]);
    assert_eq!(look(), [(0, true, true), (1, false, false)]);
    disk.client.stop(0);
    assert_eq!(look(), [(0, false, true), (1, false, false)]);
    drop(disk);
    assert_eq!(
        served.next(),
        ServerEvent::Detached {
            session: 0,
            peer,
            reason: Departure::Left
        }
    );
    eventually("the first one is forgotten", || {
        served.server.sessions() == 1
    });
    assert_eq!(look(), [(1, false, false)]);
    // An invalid message, with an unknown version.
    idle.send(code::GET_FEATURES, 3, &[], &[]);
    match served.next() {
        ServerEvent::Detached {
            session: 1,
            reason: Departure::Failed(reason),
            ..
        } => assert!(!reason.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn closing_stops_rings_that_are_busy_and_ends_all_connections() {
    let served = Served::new();
    let mut disk = Disk::attach(&served.socket);
    let other = Client::connect(&served.socket);
    assert!(other.answers());
    prepare_reads(disk.q(), 80);
    publish_reads(disk.q(), 80);
    disk.q().kick();
    let began = Instant::now();
    served.server.close();
    assert!(began.elapsed() < Duration::from_millis(500));
    assert_eq!(served.server.sessions(), 0);
    let mut events: Vec<_> = served.events.try_iter().collect();
    let gone = events.split_off(2);
    assert_eq!(gone.len(), 2, "told before it returned");
    for event in gone {
        let reason = Departure::Closed;
        assert!(matches!(event, ServerEvent::Detached { reason: r, .. } if r == reason));
    }
    // The guest's memory is no longer written.
    let used = disk.q().used_idx();
    let q = disk.q();
    q.mem.fill(q.area(DATA), 65536, 0x77);
    let before = q.mem.read(q.area(0), 0x4_0000);
    q.kick();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(q.used_idx(), used);
    assert!(q.mem.read(q.area(0), 0x4_0000) == before);
    assert!(disk.client.closes_within(Duration::from_secs(1)));
    assert!(other.closes_within(Duration::from_secs(1)));
    // And no front end can connect any more, in any way.
    assert!(UnixStream::connect(&served.socket).is_err());
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(matches!(served.server.connect(ours), Err(Error::Closed)));
    let late = UnixListener::bind(served.socket.with_extension("late")).unwrap();
    assert!(matches!(served.server.listen(late), Err(Error::Closed)));
    let late = UnixStream::connect(served.socket.with_extension("late"));
    assert!(late.is_err(), "its listener is closed");
    served.server.close();
}
