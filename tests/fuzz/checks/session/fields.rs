//! Messages with nearly valid fields.

use super::super::bytes::Bytes;
use super::pool::{CHANNEL, KICK, RING_SIZE, USER, place};

/// Queues of the device.
pub(crate) const QUEUES: u16 = 2;

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
    pub(crate) const GET_CONFIG: u32 = 24;
    pub(crate) const SET_CONFIG: u32 = 25;
    pub(crate) const GET_INFLIGHT_FD: u32 = 31;
    pub(crate) const SET_INFLIGHT_FD: u32 = 32;
    pub(crate) const GPU_SET_SOCKET: u32 = 33;
    pub(crate) const RESET_DEVICE: u32 = 34;
    pub(crate) const GET_MAX_MEM_SLOTS: u32 = 36;
    pub(crate) const ADD_MEM_REG: u32 = 37;
    pub(crate) const REM_MEM_REG: u32 = 38;
    pub(crate) const GET_SHARED_OBJECT: u32 = 41;
    pub(crate) const SET_DEVICE_STATE_FD: u32 = 42;
    pub(crate) const CHECK_DEVICE_STATE: u32 = 43;
    pub(crate) const GET_SHMEM_CONFIG: u32 = 44;
}

/// The codes that inputs select from, with their names in the test of the corpus.
const CODES: [(u32, &str); 31] = [
    (code::GET_FEATURES, "GET_FEATURES"),
    (code::SET_FEATURES, "SET_FEATURES"),
    (code::SET_OWNER, "SET_OWNER"),
    (code::RESET_OWNER, "RESET_OWNER"),
    (code::SET_MEM_TABLE, "SET_MEM_TABLE"),
    (code::SET_LOG_BASE, "SET_LOG_BASE"),
    (code::SET_VRING_NUM, "SET_VRING_NUM"),
    (code::SET_VRING_ADDR, "SET_VRING_ADDR"),
    (code::SET_VRING_BASE, "SET_VRING_BASE"),
    (code::GET_VRING_BASE, "GET_VRING_BASE"),
    (code::SET_VRING_KICK, "SET_VRING_KICK"),
    (code::SET_VRING_CALL, "SET_VRING_CALL"),
    (code::SET_VRING_ERR, "SET_VRING_ERR"),
    (code::GET_PROTOCOL_FEATURES, "GET_PROTOCOL_FEATURES"),
    (code::SET_PROTOCOL_FEATURES, "SET_PROTOCOL_FEATURES"),
    (code::GET_QUEUE_NUM, "GET_QUEUE_NUM"),
    (code::SET_VRING_ENABLE, "SET_VRING_ENABLE"),
    (code::SET_BACKEND_REQ_FD, "SET_BACKEND_REQ_FD"),
    (code::GET_CONFIG, "GET_CONFIG"),
    (code::SET_CONFIG, "SET_CONFIG"),
    (code::GET_INFLIGHT_FD, "GET_INFLIGHT_FD"),
    (code::SET_INFLIGHT_FD, "SET_INFLIGHT_FD"),
    (code::GPU_SET_SOCKET, "GPU_SET_SOCKET"),
    (code::RESET_DEVICE, "RESET_DEVICE"),
    (code::GET_MAX_MEM_SLOTS, "GET_MAX_MEM_SLOTS"),
    (code::ADD_MEM_REG, "ADD_MEM_REG"),
    (code::REM_MEM_REG, "REM_MEM_REG"),
    (code::GET_SHARED_OBJECT, "GET_SHARED_OBJECT"),
    (code::SET_DEVICE_STATE_FD, "SET_DEVICE_STATE_FD"),
    (code::CHECK_DEVICE_STATE, "CHECK_DEVICE_STATE"),
    (code::GET_SHMEM_CONFIG, "GET_SHMEM_CONFIG"),
];

/// All features of the device and its rings.
pub(super) const OFFERED: u64 = 1 << 2
    | 1 << 6
    | 1 << 9
    | 1 << 10
    | 1 << 11
    | 1 << 12
    | 1 << 13
    | 1 << 14
    | 1 << 28
    | 1 << 29
    | 1 << 30
    | 1 << 32
    | 1 << 35;
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// MQ, REPLY_ACK, BACKEND_REQ, CONFIG, INFLIGHT_SHMFD, RESET_DEVICE, CONFIGURE_MEM_SLOTS,
/// DEVICE_STATE.
pub(super) const OFFERED_PROTOCOL: u64 =
    1 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 19;
/// Where the configuration space ends.
pub(super) const CONFIG_BYTES: usize = 60;

/// A message that is well formed.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) code: u32,
    pub(crate) need_reply: bool,
    pub(crate) body: Vec<u8>,
    /// Numbers of descriptors in the pool.
    pub(crate) fds: Vec<u8>,
    /// The ranges to map of the first descriptors: offset and size in the file.
    pub(crate) regions: Vec<(u64, u64)>,
}

impl Message {
    fn new(code: u32, body: Vec<u8>) -> Self {
        Self {
            code,
            need_reply: false,
            body,
            fds: Vec::new(),
            regions: Vec::new(),
        }
    }

    fn with(self, fd: u8) -> Self {
        Self {
            fds: vec![fd],
            ..self
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        let known = CODES.iter().find(|(code, _)| *code == self.code);
        known.map_or("unknown", |(_, name)| name)
    }

    pub(crate) fn u64(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| {
            self.body.get(i).copied().unwrap_or(0)
        }))
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| {
            self.body.get(at + i).copied().unwrap_or(0)
        }))
    }

    /// Whether the protocol defines a reply to it.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(
            self.code,
            code::GET_FEATURES
                | code::GET_VRING_BASE
                | code::GET_PROTOCOL_FEATURES
                | code::GET_QUEUE_NUM
                | code::GET_CONFIG
                | code::GET_INFLIGHT_FD
                | code::GET_MAX_MEM_SLOTS
                | code::SET_DEVICE_STATE_FD
                | code::CHECK_DEVICE_STATE
        )
    }
}

fn words(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn pair(a: u32, b: u32) -> Vec<u8> {
    [a.to_le_bytes(), b.to_le_bytes()].concat()
}

/// A region of a file: guest address, size, front end's address, offset.
type Region = [u64; 4];

const WHOLE: Region = [0, 0x1_0000, USER, 0];

fn region(bytes: &mut Bytes<'_>) -> (Region, u8) {
    let how = bytes.u8();
    let file = bytes.u8();
    let mut region = match how & 7 {
        0 => [bytes.u64(), bytes.u64(), bytes.u64(), bytes.u64()],
        1 => [0x1_0000, 0x4000, USER + 0x1_0000, 0],
        2 => [0x20_0000, 0x1000, USER + 0x20_0000, 0x64],
        3 => [0x8000, 0x8000, USER + 0x8000, 0x8000],
        4 => [0, 0x8000, USER, 0],
        _ => WHOLE,
    };
    if how & 8 != 0 {
        let by = u64::from(bytes.u16()) << (how >> 4 & 3);
        let field = usize::from(how >> 6);
        region[field] = region[field].wrapping_add(by);
    }
    let file = match how & 7 {
        3..=7 if file < 0x80 => 0,
        1 | 2 if file < 0x80 => how & 3,
        _ => file,
    };
    (region, file)
}

fn mem_table(regions: &[(Region, u8)]) -> Message {
    let mut body = words(&[regions.len() as u64]);
    regions
        .iter()
        .for_each(|(region, _)| body.extend(words(region)));
    Message {
        fds: regions.iter().map(|(_, file)| *file).collect(),
        regions: regions.iter().map(|(at, _)| (at[3], at[1])).collect(),
        ..Message::new(code::SET_MEM_TABLE, body)
    }
}

fn addresses(index: u32, desc: u64, avail: u64, used: u64) -> Message {
    let mut body = pair(index, 0);
    body.extend(words(&[desc, used, avail, 0]));
    Message::new(code::SET_VRING_ADDR, body)
}

fn index(bytes: &mut Bytes<'_>) -> u32 {
    match bytes.u8() {
        0..=0x5f => 0,
        0x60..=0xbf => 1,
        0xc0..=0xdf => u32::from(QUEUES),
        0xe0..=0xfe => 0xff,
        0xff => bytes.u32(),
    }
}

/// Feature bits: all that are offered, fewer, or any.
fn features(bytes: &mut Bytes<'_>, offered: u64) -> u64 {
    match bytes.u8() {
        0..=0x7f => offered,
        0x80..=0x9f => offered & bytes.u64(),
        0xa0..=0xbf => offered & !PROTOCOL_FEATURES,
        0xc0..=0xdf => offered ^ 1 << (bytes.u8() & 63),
        0xe0..=0xef => 0,
        _ => bytes.u64(),
    }
}

/// A message that the input selects.
pub(crate) fn message(bytes: &mut Bytes<'_>, acked: u64) -> Message {
    let (code, _) = CODES[usize::from(bytes.u8()) % CODES.len()];
    let how = bytes.u8();
    let mut message = typed(bytes, code, acked);
    message.need_reply = how & 1 != 0;
    // Descriptors too few, too many, or of another kind; a body too short or too long.
    if how & 0xf0 == 0x90 {
        message.fds.pop();
    }
    if how & 0xf0 == 0xa0 {
        let more = bytes.take(usize::from(how >> 1 & 7));
        message.fds.extend(more);
    }
    if how & 0xf0 == 0xb0 {
        let len = message.body.len() + usize::from(bytes.u8() & 31);
        message.body.resize(len.saturating_sub(8), 0);
    }
    message
}

fn typed(bytes: &mut Bytes<'_>, code: u32, acked: u64) -> Message {
    match code {
        code::SET_FEATURES => Message::new(code, words(&[features(bytes, OFFERED)])),
        code::SET_PROTOCOL_FEATURES => {
            Message::new(code, words(&[features(bytes, OFFERED_PROTOCOL)]))
        }
        code::SET_MEM_TABLE => {
            let count = bytes.u8();
            let count = if count == 0xff { 9 } else { count % 4 };
            let regions: Vec<_> = (0..count).map(|_| region(bytes)).collect();
            mem_table(&regions)
        }
        code::ADD_MEM_REG | code::REM_MEM_REG => {
            let (region, file) = region(bytes);
            let mut body = words(&[0]);
            body.extend(words(&region));
            let mut message = Message::new(code, body);
            if code == code::ADD_MEM_REG {
                message.regions.push((region[3], region[1]));
                message.fds.push(file);
            }
            message
        }
        code::SET_VRING_NUM => {
            let index = index(bytes);
            let num = match bytes.u8() {
                0..=0x7f => u32::from(RING_SIZE),
                0x80..=0xef => 1 << bytes.below(18),
                _ => bytes.u32(),
            };
            Message::new(code, pair(index, num))
        }
        code::SET_VRING_ADDR => {
            let index = index(bytes);
            let how = bytes.u8();
            let place = place(u64::from(how & 3));
            let mut parts = [place.desc, place.avail, place.used].map(|at| USER + at);
            if how & 4 != 0 {
                let by = u64::from(bytes.u16()) << (how >> 5);
                let part = usize::from(how >> 3 & 3).min(2);
                parts[part] = parts[part].wrapping_add(by);
            }
            addresses(index, parts[0], parts[1], parts[2])
        }
        _ => ring_typed(bytes, code, acked),
    }
}

fn ring_typed(bytes: &mut Bytes<'_>, code: u32, acked: u64) -> Message {
    let fd = |bytes: &mut Bytes<'_>| match bytes.u8() {
        usual @ 0..=0x7f => KICK + (usual & 3),
        any => any & 0x7f,
    };
    match code {
        code::SET_VRING_BASE => {
            let index = index(bytes);
            let base = bytes.u16();
            let high = u32::from(base == 0xffff) << 16;
            Message::new(code, pair(index, u32::from(base) | high))
        }
        code::GET_VRING_BASE => Message::new(code, pair(index(bytes), 0)),
        code::SET_VRING_KICK | code::SET_VRING_CALL | code::SET_VRING_ERR => {
            let index = u64::from(index(bytes) & 0xff);
            let fd = fd(bytes);
            if fd == 0x7f {
                // No descriptor: poll.
                return Message::new(code, words(&[index | 0x100]));
            }
            Message::new(code, words(&[index])).with(fd)
        }
        code::SET_VRING_ENABLE => {
            let index = index(bytes);
            let enable = match bytes.u8() {
                0..=0xbf => 1,
                0xc0..=0xef => 0,
                _ => bytes.u32(),
            };
            Message::new(code, pair(index, enable))
        }
        code::SET_BACKEND_REQ_FD | code::GPU_SET_SOCKET => {
            let fd = match bytes.u8() {
                0..=0xbf => CHANNEL,
                any => any,
            };
            Message::new(code, Vec::new()).with(fd)
        }
        _ => other(bytes, code, acked),
    }
}

fn other(bytes: &mut Bytes<'_>, code: u32, _acked: u64) -> Message {
    match code {
        code::GET_CONFIG | code::SET_CONFIG => {
            let (offset, size, flags) = match bytes.u8() {
                0..=0x5f => (0, CONFIG_BYTES as u32, 0),
                0x60..=0x9f => (32, 1, u32::from(bytes.u8() & 3)),
                0xa0..=0xdf => (bytes.u8().into(), bytes.u8().into(), 0),
                _ => (bytes.u32(), bytes.u8().into(), bytes.u8().into()),
            };
            let mut body = pair(offset, size);
            body.extend(flags.to_le_bytes());
            let len = body.len() + size as usize;
            body.resize(len, bytes.u8() & 1);
            Message::new(code, body)
        }
        code::GET_INFLIGHT_FD | code::SET_INFLIGHT_FD => {
            let how = bytes.u8();
            let size: u64 = if how & 1 == 0 {
                0x400
            } else {
                bytes.u16().into()
            };
            let offset = if how & 2 == 0 {
                0
            } else {
                u64::from(bytes.u8()) << 10
            };
            let queues = if how & 4 == 0 { QUEUES } else { bytes.u16() };
            let entries = if how & 8 == 0 {
                RING_SIZE
            } else {
                1 << bytes.below(16)
            };
            let mut body = words(&[size, offset]);
            body.extend(queues.to_le_bytes());
            body.extend(entries.to_le_bytes());
            body.extend([0; 4]);
            let mut message = Message::new(code, body);
            if code == code::SET_INFLIGHT_FD {
                let file = if how & 16 == 0 { 3 } else { bytes.u8() };
                message.fds.push(file);
                message
                    .regions
                    .push((offset, u64::from(queues) * 16 * (u64::from(entries) + 8)));
            }
            message
        }
        code::SET_DEVICE_STATE_FD => {
            let how = bytes.u8();
            let body = pair(u32::from(how & 1), u32::from(how >> 7));
            // A pipe at its end, or one for writing.
            let fd = if how & 2 == 0 {
                10 + (!how & 1)
            } else {
                bytes.u8()
            };
            Message::new(code, body).with(fd)
        }
        code::SET_LOG_BASE => Message::new(code, words(&[0x1000, 0])).with(1),
        code::GET_SHARED_OBJECT => Message::new(code, vec![0; 16]),
        _ => Message::new(code, Vec::new()),
    }
}

/// All messages that set up a ring.
pub(crate) fn bring_up(how: u8) -> Vec<Message> {
    let index = u32::from(how & 1);
    let place = place(u64::from(index));
    let mut list = vec![
        Message::new(code::GET_FEATURES, Vec::new()),
        Message::new(code::SET_PROTOCOL_FEATURES, words(&[OFFERED_PROTOCOL])),
        Message::new(code::SET_FEATURES, words(&[OFFERED])),
        mem_table(&[(WHOLE, 0)]),
        Message::new(code::SET_VRING_NUM, pair(index, RING_SIZE.into())),
        addresses(
            index,
            USER + place.desc,
            USER + place.avail,
            USER + place.used,
        ),
        Message::new(code::SET_VRING_CALL, words(&[index.into()])).with(KICK + 1),
        Message::new(code::SET_VRING_KICK, words(&[index.into()])).with(KICK),
        Message::new(code::SET_VRING_ENABLE, pair(index, 1)),
    ];
    if how & 2 != 0 {
        list.iter_mut()
            .for_each(|message| message.need_reply = true);
    }
    if how & 4 != 0 {
        // The region for requests in flight.
        let mut body = words(&[0x400, 0]);
        body.extend(QUEUES.to_le_bytes());
        body.extend(RING_SIZE.to_le_bytes());
        body.extend([0; 4]);
        let mut message = Message::new(code::SET_INFLIGHT_FD, body).with(3);
        message.regions.push((0, 0x1000));
        list.insert(4, message);
    }
    list
}
