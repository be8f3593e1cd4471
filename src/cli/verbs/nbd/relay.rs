//! The socket of `ramblk nbd`: each client that connects gets an NBD connection to the daemon.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::cli::error::Error;
use crate::cli::print::output::say;
use crate::client::{Bytes, Client};
use crate::daemon::Ender;
use crate::nbd;
use crate::threads::{self, Role};

/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long clients may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// The pause after a client could not be accepted, most likely for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A view of a disk, which is there until this is ended.
pub(super) struct Relay {
    keeper: UnixStream,
    shared: Arc<Shared>,
    /// The size of the export.
    pub(super) size_bytes: u64,
}

struct Shared {
    api_socket: PathBuf,
    /// The path and query of the view.
    path: String,
    state: Mutex<State>,
    ended: Condvar,
    /// Why the view ended, if it did by itself.
    lost: OnceLock<()>,
}

#[derive(Default)]
struct State {
    is_ending: bool,
    /// The daemon's side of each client.
    clients: HashMap<u64, Arc<UnixStream>>,
    /// The number of the next one.
    started: u64,
}

impl Relay {
    /// Open the view at this path of the API, and keep it open.
    pub(super) fn open(client: &Client, path: String) -> Result<Self, Error> {
        let (mut keeper, ahead) = client.upgrade(&path, "nbd")?;
        let mut both = Ahead(ahead, &mut keeper);
        let size_bytes = nbd::keep(&mut both).map_err(broken)?;
        let shared = Arc::new(Shared {
            api_socket: client.socket().to_owned(),
            path,
            state: Mutex::default(),
            ended: Condvar::new(),
            lost: OnceLock::new(),
        });
        Ok(Self {
            keeper,
            shared,
            size_bytes,
        })
    }

    /// Serve the clients that connect to `listener`. If the daemon ends the view, `ender` ends too.
    pub(super) fn listen(&self, listener: UnixListener, ender: Ender) -> Result<(), Error> {
        let mut keeper = self.keeper.try_clone().map_err(no_thread)?;
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            // The server says nothing that it isn't asked for, so this is the end.
            let _ = keeper.read(&mut [0]);
            let _ = shared.lost.set(());
            ender.end();
        };
        threads::spawn(Role::NbdRelay, watch).map_err(no_thread)?;
        let shared = Arc::clone(&self.shared);
        let accept = move || accept(&shared, &listener);
        threads::spawn(Role::NbdAccept, accept).map_err(no_thread)?;
        Ok(())
    }

    /// Whether the view has ended by itself.
    pub(super) fn is_lost(&self) -> bool {
        self.shared.lost.get().is_some()
    }

    /// End the view. When this returns, the daemon has let go of the disk.
    pub(super) fn end(self) {
        let deadline = Instant::now() + END_WITHIN;
        let mut state = self.shared.state.lock();
        state.is_ending = true;
        for daemon in state.clients.values() {
            let _ = daemon.shutdown(Shutdown::Write);
        }
        while !state.clients.is_empty() {
            if self
                .shared
                .ended
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                break;
            }
        }
        drop(state);
        let mut keeper = self.keeper;
        let _ = keeper.shutdown(Shutdown::Write);
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = keeper.set_read_timeout(Some(left.max(Duration::from_millis(1))));
        let _ = keeper.read(&mut [0]);
    }
}

/// A stream of which a part was read already.
struct Ahead<'a>(Bytes, &'a mut UnixStream);

impl Read for Ahead<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return self.1.read(into);
        }
        let count = self.0.len().min(into.len());
        into[..count].copy_from_slice(&self.0.split_to(count));
        Ok(count)
    }
}

impl Write for Ahead<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.1.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(error: io::Error) -> Error {
    Error::Other(format!("the daemon ended the NBD connection: {error}"))
}

fn no_thread(error: io::Error) -> Error {
    Error::Other(format!("can't start a thread: {error}"))
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                say(&format!("warning: can't accept an NBD client: {error}"));
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let own = Arc::clone(shared);
        let started = threads::spawn(Role::NbdRelay, move || {
            if let Err(error) = own.relay(client) {
                say(&format!("warning: an NBD client was turned away: {error}"));
            }
        });
        if let Err(error) = started {
            say(&format!("warning: {}", no_thread(error)));
        }
    }
}

impl Shared {
    /// Connect a client to the daemon, and pass bytes on in both directions until one of them ends.
    fn relay(self: &Arc<Self>, client: UnixStream) -> Result<(), Error> {
        let api = Client::new(&self.api_socket)?;
        let (daemon, ahead) = api.upgrade(&self.path, "nbd")?;
        drop(api);
        let (client, daemon) = (Arc::new(client), Arc::new(daemon));
        let Some(number) = self.enrol(&daemon) else {
            return Ok(());
        };
        let passed = self.pass(&client, &daemon, &ahead);
        self.state.lock().clients.remove(&number);
        self.ended.notify_all();
        passed
    }

    fn enrol(&self, daemon: &Arc<UnixStream>) -> Option<u64> {
        let mut state = self.state.lock();
        if state.is_ending {
            return None;
        }
        let number = state.started;
        state.started += 1;
        state.clients.insert(number, Arc::clone(daemon));
        Some(number)
    }

    fn pass(
        &self,
        client: &Arc<UnixStream>,
        daemon: &Arc<UnixStream>,
        ahead: &[u8],
    ) -> Result<(), Error> {
        if (&mut &**client).write_all(ahead).is_err() {
            return Ok(());
        }
        let (from, to) = (Arc::clone(client), Arc::clone(daemon));
        let requests = threads::spawn(Role::NbdRelay, move || {
            copy(&from, &to);
            // The server then answers what it has, and ends. A write of which a part is missing
            // ends too.
            let _ = to.shutdown(Shutdown::Write);
        });
        let requests = requests.map_err(no_thread)?;
        copy(daemon, client);
        // After the server's end no request can be answered any more.
        let _ = client.shutdown(Shutdown::Both);
        let _ = daemon.shutdown(Shutdown::Both);
        let _ = requests.join();
        Ok(())
    }
}

/// Pass bytes on until either end has ended.
fn copy(mut from: &UnixStream, to: &UnixStream) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if send(piece.get(..count).unwrap_or_default(), from, to).is_err() {
            return;
        }
    }
}

/// Send all of `left`. If there is no room for it, and the sender at `from` is gone, it needs no
/// answer: then this is an error.
fn send(mut left: &[u8], from: &UnixStream, to: &UnixStream) -> io::Result<()> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    while !left.is_empty() {
        match rustix::net::send(to, left, flags) {
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for_room(from, to)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn wait_for_room(from: &UnixStream, to: &UnixStream) -> io::Result<()> {
    let mut polled = [
        PollFd::new(to, PollFlags::OUT),
        // Asked for nothing, it still says that its other end was closed.
        PollFd::new(from, PollFlags::empty()),
    ];
    match poll(&mut polled, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let [to, from] = polled.map(|it| it.revents());
    if to.is_empty() && !from.is_empty() {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}
