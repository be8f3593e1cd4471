//! SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE as a front end with a pipe sends them.

use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};

use super::client::{Client, PATIENCE, code, state};
use super::wire::{Answer, NEED_REPLY, REPLY, VERSION};

/// Directions of a transfer.
pub(crate) const SAVE: u32 = 0;
pub(crate) const LOAD: u32 = 1;

/// SET_DEVICE_STATE_FD in the only phase, "stopped". Returns the reply.
pub(crate) fn transfer(client: &Client, direction: u32, fd: BorrowedFd<'_>) -> u64 {
    let flags = if client.acks { NEED_REPLY } else { 0 };
    let payload = state(direction, 0);
    assert!(client.send(code::SET_DEVICE_STATE_FD, flags, &payload, &[fd]));
    let Answer::Message(reply) = client.wire.receive(PATIENCE) else {
        panic!("no reply to SET_DEVICE_STATE_FD");
    };
    let header = (reply.code, reply.flags);
    assert_eq!(header, (code::SET_DEVICE_STATE_FD, VERSION | REPLY));
    // Bit 8 says that the reply has no descriptor.
    assert_eq!(reply.fds.is_empty(), reply.u64() & 0x100 != 0);
    reply.u64()
}

/// CHECK_DEVICE_STATE: zero is success.
pub(crate) fn check(client: &Client) -> u64 {
    client.get(code::CHECK_DEVICE_STATE).u64()
}

/// Save the state, which must succeed, and return it.
pub(crate) fn save(client: &Client) -> Vec<u8> {
    let (mut reader, writer) = pipe().unwrap();
    assert_eq!(transfer(client, SAVE, writer.as_fd()), 0x100);
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(check(client), 0, "check of a saved state");
    bytes
}

/// Send `bytes`, and return the result of the check.
pub(crate) fn load(client: &Client, bytes: &[u8]) -> u64 {
    let (reader, mut writer) = pipe().unwrap();
    assert_eq!(transfer(client, LOAD, reader.as_fd()), 0x100);
    drop(reader);
    // A back end may close its end early.
    let _ = writer.write_all(bytes);
    drop(writer);
    check(client)
}
