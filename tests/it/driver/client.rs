//! The front end's half of vhost-user, message by message.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use super::feature;
use super::memory::{Memory, Region};
use super::ring::Ring;
use super::wire::{Answer, Message, NEED_REPLY, REPLY, VERSION, Wire, message};

/// Longer than any answer may take, including a second front end's wait for the first (5 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Message codes.
pub(crate) mod code {
    pub(crate) const GET_FEATURES: u32 = 1;
    pub(crate) const SET_FEATURES: u32 = 2;
    pub(crate) const SET_OWNER: u32 = 3;
    pub(crate) const RESET_OWNER: u32 = 4;
    pub(crate) const SET_MEM_TABLE: u32 = 5;
    pub(crate) const SET_LOG_BASE: u32 = 6;
    pub(crate) const SET_VRING_NUM: u32 = 8;
    pub(crate) const SET_VRING_ADDR: u32 = 9;
    pub(crate) const SET_VRING_BASE: u32 = 10;
    pub(crate) const GET_VRING_BASE: u32 = 11;
    pub(crate) const SET_VRING_KICK: u32 = 12;
    pub(crate) const SET_VRING_CALL: u32 = 13;
    pub(crate) const SET_VRING_ERR: u32 = 14;
    pub(crate) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(crate) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(crate) const GET_QUEUE_NUM: u32 = 17;
    pub(crate) const SET_VRING_ENABLE: u32 = 18;
    pub(crate) const SET_BACKEND_REQ_FD: u32 = 21;
    pub(crate) const IOTLB_MSG: u32 = 22;
    pub(crate) const GET_CONFIG: u32 = 24;
    pub(crate) const SET_CONFIG: u32 = 25;
    pub(crate) const POSTCOPY_ADVISE: u32 = 28;
    pub(crate) const GET_INFLIGHT_FD: u32 = 31;
    pub(crate) const SET_INFLIGHT_FD: u32 = 32;
    pub(crate) const RESET_DEVICE: u32 = 34;
    pub(crate) const GET_MAX_MEM_SLOTS: u32 = 36;
    pub(crate) const ADD_MEM_REG: u32 = 37;
    pub(crate) const REM_MEM_REG: u32 = 38;
    pub(crate) const SET_STATUS: u32 = 39;
    pub(crate) const SET_DEVICE_STATE_FD: u32 = 42;
    pub(crate) const CHECK_DEVICE_STATE: u32 = 43;
}

/// Protocol features, as bits.
pub(crate) mod protocol {
    pub(crate) const MQ: u64 = 1 << 0;
    pub(crate) const REPLY_ACK: u64 = 1 << 3;
    pub(crate) const BACKEND_REQ: u64 = 1 << 5;
    pub(crate) const CONFIG: u64 = 1 << 9;
    pub(crate) const INFLIGHT: u64 = 1 << 12;
    pub(crate) const RESET_DEVICE: u64 = 1 << 13;
    pub(crate) const MEM_SLOTS: u64 = 1 << 15;
    pub(crate) const DEVICE_STATE: u64 = 1 << 19;
}

/// A connection, and whether its messages request an acknowledgement.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    pub(crate) acks: bool,
}

pub(crate) fn state(index: u32, num: u32) -> Vec<u8> {
    [index, num].iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// SET_VRING_ADDR: descriptors, used, available, in the front end's addresses.
pub(crate) fn addresses(index: u32, desc: u64, used: u64, avail: u64) -> Vec<u8> {
    let mut bytes = state(index, 0);
    bytes.extend([desc, used, avail, 0].iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

pub(crate) fn table(regions: &[Region]) -> Vec<u8> {
    let mut bytes = state(regions.len() as u32, 0);
    bytes.extend(regions.iter().flat_map(Region::entry));
    bytes
}

/// ADD_MEM_REG and REM_MEM_REG: 8 bytes of padding, then the region.
pub(crate) fn single(region: &Region) -> Vec<u8> {
    [vec![0; 8], region.entry()].concat()
}

pub(crate) fn config_request(offset: u32, size: u32, flags: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = [offset, size, flags]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    bytes.resize(12 + size as usize, 0);
    bytes
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Self {
        Self {
            wire: Wire::connect(path),
            acks: false,
        }
    }

    /// Connect and negotiate: all features of `wanted` that are offered, and every protocol
    /// feature.
    pub(crate) fn negotiated(path: &Path, wanted: u64) -> Self {
        let mut client = Self::connect(path);
        client.tell(code::SET_OWNER, &[], &[]);
        let offered = client.features();
        let protocol = client.get(code::GET_PROTOCOL_FEATURES).u64();
        client.tell(code::SET_PROTOCOL_FEATURES, &protocol.to_le_bytes(), &[]);
        client.acks = true;
        client.set_features(offered & (wanted | feature::PROTOCOL));
        client
    }

    /// Send any message, and return whether the back end refused: it closed the connection or
    /// acknowledged with an error.
    pub(crate) fn refused(&self, code: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        self.acked(code, payload, fds) != Some(0)
    }

    pub(crate) fn send(
        &self,
        code: u32,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> bool {
        self.wire
            .send(&message(code, VERSION | flags, payload), fds)
    }

    /// Send a message that has its own reply, and return the reply.
    pub(crate) fn ask(&self, code: u32, payload: &[u8]) -> Message {
        // cloud-hypervisor sets NEED_REPLY on such messages too; there is still only one answer.
        let flags = if self.acks { NEED_REPLY } else { 0 };
        assert!(
            self.send(code, flags, payload, &[]),
            "closed before message {code}"
        );
        self.reply_to(code)
    }

    pub(crate) fn reply_to(&self, code: u32) -> Message {
        match self.wire.receive(PATIENCE) {
            Answer::Message(m) => {
                assert_eq!(
                    (m.code, m.flags),
                    (code, VERSION | REPLY),
                    "header of the reply"
                );
                assert!(m.fds.is_empty(), "descriptors with the reply to {code}");
                m
            }
            other => panic!("no reply to message {code}: {other:?}"),
        }
    }

    pub(crate) fn get(&self, code: u32) -> Message {
        self.ask(code, &[])
    }

    /// Send with NEED_REPLY, whatever was negotiated. Zero is success, `None` a closed connection.
    pub(crate) fn acked(&self, code: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Option<u64> {
        if !self.send(code, NEED_REPLY, payload, fds) {
            return None;
        }
        match self.wire.receive(PATIENCE) {
            Answer::Message(m) => {
                assert_eq!(
                    (m.code, m.flags),
                    (code, VERSION | REPLY),
                    "header of the ack"
                );
                Some(m.u64())
            }
            Answer::Closed => None,
            Answer::Silence => panic!("message {code} was neither acked nor refused"),
        }
    }

    /// The guest turns the writeback of its device on (1) or off (0).
    pub(crate) fn set_writeback(&self, on: u8) {
        let mut payload = config_request(32, 1, 0);
        payload[12] = on;
        self.tell(code::SET_CONFIG, &payload, &[]);
    }

    /// Send a message that must succeed.
    pub(crate) fn tell(&self, code: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        if self.acks {
            assert_eq!(
                self.acked(code, payload, fds),
                Some(0),
                "ack of message {code}"
            );
        } else {
            assert!(
                self.send(code, 0, payload, fds),
                "closed before message {code}"
            );
        }
    }

    /// Returns true once everything sent before has been handled and the connection still answers.
    pub(crate) fn answers(&self) -> bool {
        let answer = |m: &Message| m.code == code::GET_FEATURES;
        self.send(code::GET_FEATURES, 0, &[], &[])
            && matches!(self.wire.receive(PATIENCE), Answer::Message(m) if answer(&m))
    }

    /// Returns true if the back end closes the connection within `limit`; replies before that are
    /// dropped.
    pub(crate) fn closes_within(&self, limit: Duration) -> bool {
        loop {
            match self.wire.receive(limit) {
                Answer::Message(_) => {}
                Answer::Closed => return true,
                Answer::Silence => return false,
            }
        }
    }

    pub(crate) fn features(&self) -> u64 {
        self.get(code::GET_FEATURES).u64()
    }

    pub(crate) fn set_features(&self, features: u64) {
        self.tell(code::SET_FEATURES, &features.to_le_bytes(), &[]);
    }

    pub(crate) fn set_memory(&self, memory: &Memory) {
        let fds: Vec<_> = memory.regions().iter().map(Region::fd).collect();
        self.tell(code::SET_MEM_TABLE, &table(memory.regions()), &fds);
    }

    /// Config bytes at `offset`. The reply must repeat the request and have exactly the requested
    /// size.
    pub(crate) fn config(&self, offset: u32, size: u32, flags: u32) -> Vec<u8> {
        let request = config_request(offset, size, flags);
        let reply = self.ask(code::GET_CONFIG, &request).payload;
        assert_eq!(
            reply.len(),
            request.len(),
            "size of the config at {offset}+{size}"
        );
        assert_eq!(
            reply[..8],
            request[..8],
            "offset and size of the config at {offset}+{size}"
        );
        reply[12..].to_vec()
    }

    /// The disk's size in sectors of 512 bytes.
    pub(crate) fn capacity(&self) -> u64 {
        u64::from_le_bytes(self.config(0, 8, 0).try_into().unwrap())
    }

    pub(crate) fn vring(&self, code: u32, index: u32, num: u32) {
        self.tell(code, &state(index, num), &[]);
    }

    pub(crate) fn vring_fd(&self, code: u32, index: u32, fd: impl AsFd) {
        self.tell(code, &u64::from(index).to_le_bytes(), &[fd.as_fd()]);
    }

    pub(crate) fn vring_addr(&self, ring: &Ring) {
        self.tell(code::SET_VRING_ADDR, &ring.addresses(), &[]);
    }

    /// Send everything up to and including the kick, in cloud-hypervisor's order, with this `base`.
    pub(crate) fn set_up(&self, ring: &Ring, base: u16) {
        self.vring(code::SET_VRING_NUM, ring.index, u32::from(ring.size));
        self.vring_addr(ring);
        self.vring(code::SET_VRING_BASE, ring.index, u32::from(base));
        self.vring_fd(code::SET_VRING_CALL, ring.index, &ring.call);
        self.vring_fd(code::SET_VRING_ERR, ring.index, &ring.err);
        self.vring_fd(code::SET_VRING_KICK, ring.index, &ring.kick);
    }

    /// `set_up` and enable.
    pub(crate) fn start(&self, ring: &Ring) {
        self.set_up(ring, ring.next_avail);
        self.vring(code::SET_VRING_ENABLE, ring.index, 1);
    }

    /// GET_VRING_BASE: stop the ring, and return its position.
    pub(crate) fn stop(&self, index: u32) -> u32 {
        let reply = self.ask(code::GET_VRING_BASE, &state(index, 0)).payload;
        assert_eq!(
            reply[..4],
            index.to_le_bytes(),
            "index in the reply to GET_VRING_BASE"
        );
        u32::from_le_bytes(reply[4..8].try_into().unwrap())
    }
}
