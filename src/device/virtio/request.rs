//! Serving one request of any shape, up to its status byte and the length for the used ring.

use super::BlockDevice;
use super::parse::{self, Mistake, Segments, Status};
use crate::device::block::{
    Asked, Attempt, OperationKind, Pace, Progress, Refusal, Rest, User, WaitReason,
};
use crate::store::{self, Sink, Source, points};

/// The buffers of a request in order, cut into descriptors in any way (virtio 1.3 §2.7.4.1: the
/// device must not assume a layout). Serving the request consumes them.
#[derive(Debug)]
pub struct Buffers<'a, 'm> {
    /// What the driver wrote for the device.
    pub readable: &'a mut [Source<'m>],
    /// What the device writes.
    pub writable: &'a mut [Sink<'m>],
    /// The ring could not find all of them, so the request fails.
    pub damaged: bool,
}

/// Whose requests are served.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Feature bits that it accepted.
    pub acked: u64,
    /// Who its front end is to the disk.
    pub user: User,
}

/// The outcome of serving a request, or a step of it.
#[derive(Debug)]
pub enum Outcome {
    /// It is done, and its status byte written.
    Done(Answer),
    /// Part of a long request is done. Serve it again with this value and with what is left of its
    /// buffers. If you don't, that part stays done.
    Begun(Begun),
    /// It must wait. Serve it again from its start, with all of its buffers.
    Wait(WaitReason),
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes written, for the used ring.
    pub written: u32,
    /// What it asked for, as far as that is known.
    pub asked: Asked,
    /// Whether the status is OK.
    pub ok: bool,
}

/// A long request between two steps.
#[derive(Debug)]
pub struct Begun {
    rest: Rest,
    asked: Asked,
}

impl BlockDevice {
    /// Serve one request (virtio 1.3 §5.2.6) to its end, however long that takes. Returns the
    /// number of bytes written, for the used ring. It doesn't wait: limits don't apply, and without
    /// memory the request fails.
    pub fn handle<'m>(
        &self,
        acked: u64,
        damaged: bool,
        readable: &mut [Source<'m>],
        writable: &mut [Sink<'m>],
    ) -> u32 {
        let mut begun = None;
        loop {
            let buffers = Buffers {
                readable: &mut *readable,
                writable: &mut *writable,
                damaged,
            };
            let by = Driver {
                acked,
                user: User::UNKNOWN,
            };
            match self.serve(by, buffers, begun, Pace::Alone, Attempt::Last) {
                Outcome::Done(answer) => return answer.written,
                Outcome::Begun(rest) => begun = Some(rest),
                Outcome::Wait(_) => begun = None,
            }
        }
    }

    /// Serve a request of a driver, or one step of it at this pace. `begun` is what the step before
    /// returned. Without a writable byte there is no room for a status, and nothing is done.
    pub fn serve(
        &self,
        by: Driver,
        buffers: Buffers<'_, '_>,
        begun: Option<Begun>,
        pace: Pace,
        attempt: Attempt,
    ) -> Outcome {
        let Buffers {
            readable,
            writable,
            damaged,
        } = buffers;
        let Some((status_at, data_in)) = parse::split_status(writable) else {
            return Outcome::Done(Answer {
                written: 0,
                asked: Asked::default(),
                ok: false,
            });
        };
        let last = data_in.len() - 1;
        let data_in_bytes = store::total_bytes(data_in);
        let mut segments = Segments::new();
        let (asked, progress) = match begun {
            // The process may have crashed on one of this disk's requests, so none is parsed.
            begun if damaged || self.volume.has_failed() => {
                let asked = begun.map(|begun| begun.asked).unwrap_or_default();
                let written = written_bytes(0, data_in_bytes);
                return answer(status_at, Status::IoErr, asked, written);
            }
            Some(Begun { rest, asked }) => {
                let volume = &self.volume;
                (asked, volume.resume(rest, readable, data_in, pace, attempt))
            }
            None => {
                let capacity = self.volume.capacity();
                match parse::parse(capacity, by.acked, readable, data_in, &mut segments) {
                    Ok(operation) => {
                        let asked = operation.asked();
                        let progress = self.volume.execute(by.user, operation, pace, attempt);
                        (asked, progress)
                    }
                    Err(Mistake { kind, status }) => {
                        let asked = Asked { kind, bytes: 0 };
                        let written = written_bytes(0, data_in_bytes);
                        return answer(status_at, status, asked, written);
                    }
                }
            }
        };
        let (status, data_bytes) = match progress {
            Ok(Progress::Done(data_bytes)) => (Status::Ok, data_bytes),
            Ok(Progress::Rest(rest)) => {
                // The next step finds the status byte again, behind what is left of the data.
                writable[last] = writable[last].join(status_at);
                return Outcome::Begun(Begun { rest, asked });
            }
            Err(Refusal::Wait(reason)) => return Outcome::Wait(reason),
            Err(Refusal::Unsupported) => (Status::Unsupported, 0),
            Err(Refusal::Failed | Refusal::Fault | Refusal::Error(_)) => (Status::IoErr, 0),
        };
        debug_assert!(
            !matches!(asked.kind, OperationKind::Read) || data_bytes <= asked.bytes,
            "a read of {} bytes wrote {data_bytes}",
            asked.bytes
        );
        let written = written_bytes(data_bytes, data_in_bytes);
        answer(status_at, status, asked, written)
    }
}

/// Finish a request.
#[inline(always)]
fn answer(status_at: Sink<'_>, status: Status, asked: Asked, written: u32) -> Outcome {
    points::reach("request-served");
    finish(status_at, status);
    Outcome::Done(Answer {
        written,
        asked,
        ok: status == Status::Ok,
    })
}

/// Write the status byte.
#[inline]
pub(super) fn finish(status_at: Sink<'_>, status: Status) {
    status_at.copy_from(&[status.byte()]);
    points::reach("status-written");
}

/// The length for the used ring, if `data_bytes` of `data_in_bytes` were written before the status.
/// It counts from the first writable byte (§2.7.8.2), so the status, which is the last byte, counts
/// only if everything before it was written too.
#[inline]
pub(super) fn written_bytes(data_bytes: u64, data_in_bytes: u64) -> u32 {
    let written_bytes = data_bytes + u64::from(data_bytes >= data_in_bytes);
    u32::try_from(written_bytes).unwrap_or(u32::MAX)
}
