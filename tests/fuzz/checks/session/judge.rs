//! Checks the effect of a message, and its reply.

use ramblk::vhost_user::fuzz::RingState;

use super::fields::{CONFIG_BYTES, Message, OFFERED, OFFERED_PROTOCOL, QUEUES, code};

/// Check the effect of a message.
pub(crate) fn judge(
    message: &Message,
    _features: u64,
    before: &[RingState],
    handled: &Result<bool, String>,
) {
    let first = message.u32(0);
    let second = message.u32(4);
    let is_queue = first < u32::from(QUEUES);
    let running = before.get(first as usize).is_some_and(|ring| ring.running);
    let must_fail = match message.code {
        code::SET_FEATURES => message.u64() & !OFFERED != 0,
        code::SET_PROTOCOL_FEATURES => message.u64() & !OFFERED_PROTOCOL != 0,
        code::SET_VRING_NUM => !is_queue || !second.is_power_of_two() || second > 32768,
        code::SET_VRING_ADDR | code::GET_VRING_BASE => !is_queue,
        code::SET_VRING_BASE => !is_queue || second > 0xffff || running,
        code::SET_VRING_ENABLE => !is_queue || second > 1,
        code::SET_VRING_KICK => {
            let polled = message.u64() & 0x100 != 0;
            message.u64() & 0xff >= QUEUES.into() || message.fds.len() != usize::from(!polled)
        }
        code::SET_VRING_CALL | code::SET_VRING_ERR => message.u64() & 0xff >= QUEUES.into(),
        code::GET_SHMEM_CONFIG | code::SET_LOG_BASE => !message.need_reply,
        _ => false,
    };
    assert!(!must_fail || *handled != Ok(true), "{message:?} was taken");
    let whole = message.body.is_empty() && message.fds.is_empty();
    let must_go = match message.code {
        code::GET_FEATURES | code::GET_PROTOCOL_FEATURES | code::SET_OWNER => whole,
        _ => false,
    };
    assert!(!must_go || is_fine(handled), "{message:?}: {handled:?}");
}

/// Handled, or ended by something unrelated to this message.
fn is_fine(handled: &Result<bool, String>) -> bool {
    match handled {
        Ok(more) => *more,
        Err(error) => error.contains("truncated a file"),
    }
}

/// Check the reply to a message.
pub(crate) fn judge_reply(
    message: &Message,
    body: &[u8],
    fds: usize,
    handled: &Result<bool, String>,
    disk_bytes: u64,
) {
    let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| body[at + i]));
    let is_u64 = body.len() == 8;
    assert!(fds == 0 || message.code == code::GET_INFLIGHT_FD);
    match message.code {
        code::GET_FEATURES => assert!(is_u64 && u64_at(0) == OFFERED, "{body:?}"),
        code::GET_PROTOCOL_FEATURES => {
            assert!(is_u64 && u64_at(0) == OFFERED_PROTOCOL, "{body:?}");
        }
        code::GET_QUEUE_NUM => assert!(is_u64 && u64_at(0) == u64::from(QUEUES), "{body:?}"),
        code::GET_MAX_MEM_SLOTS => assert!(is_u64 && u64_at(0) == 509, "{body:?}"),
        code::GET_VRING_BASE => {
            assert!(is_u64 && body[..4] == message.body[..4], "{body:?}");
            assert!(u64_at(0) >> 48 == 0, "{body:?}");
        }
        code::GET_CONFIG => {
            assert_eq!(body[..12], message.body[..12]);
            assert_eq!(body.len(), message.body.len());
            let offset = message.u32(0) as usize;
            for (at, &byte) in (offset..).zip(&body[12..]) {
                match at {
                    0..8 => assert_eq!(byte, (disk_bytes / 512).to_le_bytes()[at]),
                    CONFIG_BYTES.. => assert_eq!(byte, 0, "beyond the configuration space"),
                    _ => {}
                }
            }
        }
        code::GET_INFLIGHT_FD => {
            assert!(fds == 1 && body.len() == 24, "{fds}: {body:?}");
            let (queues, entries) = (u64_at(16) & 0xffff, u64_at(16) >> 16 & 0xffff);
            assert!(u64_at(0) >= queues * 16 * (entries + 1), "{body:?}");
        }
        code::SET_DEVICE_STATE_FD => assert!(is_u64 && u64_at(0) & !1 == 0x100, "{body:?}"),
        code::CHECK_DEVICE_STATE => assert!(is_u64 && u64_at(0) <= 1, "{body:?}"),
        // A requested acknowledgement.
        _ => {
            assert!(is_u64 && message.need_reply, "{message:?}: {body:?}");
            let refused = message.code == code::SET_CONFIG;
            let ok = u64_at(0) == 0;
            assert!(
                ok == is_fine(handled) || refused || is_fine(handled),
                "{message:?}: {body:?}"
            );
        }
    }
}
