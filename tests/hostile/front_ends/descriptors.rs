//! Descriptors that could make a thread hang while it serves others.

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::inotify;
use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

use super::fuse::Hanging;
use crate::driver::client::{Client, code, single, table};
use crate::driver::data::pattern;
use crate::driver::disk::{ALL, Disk};
use crate::driver::memory::Memory;
use crate::harness::{Ramblk, eventually};
use crate::victim::{KEPT, Victim, odd_descriptors};

/// Descriptors that are neither eventfds nor pipes, each with a word that the log must contain.
fn no_signals() -> Vec<(&'static str, OwnedFd)> {
    let clock = TimerfdClockId::Monotonic;
    let mut found = vec![
        (
            "timerfd",
            timerfd_create(clock, TimerfdFlags::empty()).unwrap(),
        ),
        (
            "inotify",
            inotify::init(inotify::CreateFlags::empty()).unwrap(),
        ),
        (
            "eventpoll",
            epoll::create(epoll::CreateFlags::empty()).unwrap(),
        ),
        ("ptmx", File::open("/dev/ptmx").unwrap().into()),
    ];
    for (name, fd) in odd_descriptors() {
        let word = match name {
            "closed socket" => "a socket",
            "null device" => "/dev/null",
            "directory" => "a directory",
            "regular file" => "a regular file",
            _ => continue,
        };
        found.push((word, fd));
    }
    found
}

#[test]
fn kick_call_and_error_descriptors_in_which_a_worker_might_hang_are_refused_by_name() {
    let messages = [
        (code::SET_VRING_KICK, "kick"),
        (code::SET_VRING_CALL, "call"),
        (code::SET_VRING_ERR, "error"),
    ];
    for (word, fd) in no_signals() {
        // A new process each time, since the log of a disk is bounded.
        let ramblk = Ramblk::run(&[]);
        for (code, purpose) in messages {
            let client = Client::negotiated(ramblk.socket(), ALL);
            assert!(
                client.refused(code, &[0; 8], &[fd.as_fd()]),
                "{purpose}: {word}"
            );
            let said = format!("{purpose} descriptor is ");
            let has = |line: &str| line.contains(&said) && line.contains(word);
            eventually(&format!("{purpose} {word} is named"), || {
                ramblk.stderr().lines().any(has)
            });
        }
    }
    let victim = Victim::new();
    let blocking = eventfd(0, EventfdFlags::empty()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let client = victim.client();
    for (code, _) in messages {
        for fd in [blocking.as_fd(), reader.as_fd(), writer.as_fd()] {
            client.tell(code, &[0; 8], &[fd]);
        }
    }
    drop(client);
    victim.is_unharmed("descriptors of all kinds");
}

#[test]
fn a_back_end_channel_that_is_no_unix_stream_socket_is_refused_by_name() {
    let victim = Victim::new();
    let (datagrams, _) = UnixDatagram::pair().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    for fd in [
        OwnedFd::from(datagrams),
        tcp.into(),
        File::open("/dev/null").unwrap().into(),
    ] {
        let client = victim.client();
        assert!(client.refused(code::SET_BACKEND_REQ_FD, &[], &[fd.as_fd()]));
    }
    eventually("it is named", || {
        let log = victim.ramblk.stderr();
        log.contains("channel is a socket") && log.contains("/dev/null")
    });
    let (ours, _theirs) = UnixStream::pair().unwrap();
    victim
        .client()
        .tell(code::SET_BACKEND_REQ_FD, &[], &[ours.as_fd()]);
    victim.is_unharmed("channels of all kinds");
}

/// A page of such memory never arrives. A worker that touches it waits for ever, beyond the reach
/// of signals.
#[test]
#[allow(
    clippy::print_stderr,
    reason = "a host where it can not be tried says so"
)]
fn memory_kicks_and_calls_on_a_file_system_that_hangs_hold_up_nobody() {
    let Some(hanging) = Hanging::mount() else {
        eprintln!("not tried: FUSE can't be mounted here");
        return;
    };
    let victim = Victim::new();
    let file = hanging.file();
    let memory = Memory::standard();
    let regions = memory.regions();
    let files = vec![file.as_fd(); regions.len()];
    let client = victim.client();
    assert!(client.refused(code::SET_MEM_TABLE, &table(regions), &files));
    drop(client);
    let client = victim.client();
    assert!(client.refused(code::ADD_MEM_REG, &single(&regions[0]), &[file.as_fd()]));
    drop(client);
    // Two queues of 128, in a region of a megabyte.
    let mut region = [1u64 << 20, 0].map(u64::to_ne_bytes).concat();
    region.extend([2u16, 128].map(u16::to_ne_bytes).concat());
    region.extend([0; 4]);
    let client = victim.client();
    assert!(client.refused(code::SET_INFLIGHT_FD, &region, &[file.as_fd()]));
    drop(client);
    for code in [
        code::SET_VRING_KICK,
        code::SET_VRING_CALL,
        code::SET_VRING_ERR,
    ] {
        let client = victim.client();
        assert!(client.refused(code, &[0; 8], &[file.as_fd()]));
    }
    eventually("the file system is named", || {
        victim.ramblk.stderr().contains("on FUSE")
    });
    assert_eq!(hanging.waiting(), 0, "the file system was used");
    let mut disk = Disk::attach(victim.ramblk.socket());
    assert_eq!(disk.q().read(KEPT, 8192), Ok(pattern(8192, 42)));
    drop(disk);
    drop(file);
    drop(hanging);
    victim.is_unharmed("a file system that hangs");
}
