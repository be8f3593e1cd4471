//! Requests, parsed: against the export, so that what is served can't be wrong.

use super::error::Error;
use super::export::{About, Errno};
use super::numbers::{
    CMD_BLOCK_STATUS, CMD_CACHE, CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE,
    CMD_WRITE_ZEROES, FLAG_DF, FLAG_FAST_ZERO, FLAG_FUA, FLAG_NO_HOLE, FLAG_REQ_ONE,
    MOST_PAYLOAD_BYTES, REQUEST_MAGIC,
};

/// Bytes of a request without its payload.
pub(super) const REQUEST_BYTES: usize = 28;

/// A request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    flags: u16,
    command: u16,
    /// What names the request in replies.
    pub(super) cookie: u64,
    at_bytes: u64,
    len_bytes: u32,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Read; in one piece if `whole`.
    Read { range: Range, whole: bool },
    /// Write the payload.
    Write { range: Range },
    /// Have the range read zero.
    Zero { range: Range, may_unmap: bool },
    /// Give the range back.
    Trim { range: Range },
    /// Bring the range near. All of it is.
    Cache,
    /// Say what the range is; only its first run if `one`.
    Status { range: Range, one: bool },
    /// Make earlier writes stable.
    Flush,
    /// End, after all earlier requests.
    Leave,
}

/// A part of an export, which is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) at_bytes: u64,
    pub(super) len_bytes: u32,
}

impl Range {
    pub(super) fn end_bytes(self) -> u64 {
        self.at_bytes + u64::from(self.len_bytes)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) errno: Errno,
    pub(super) why: &'static str,
}

/// What was agreed that decides which requests are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) structured: bool,
    pub(super) has_contexts: bool,
}

fn refused(errno: Errno, why: &'static str) -> Refused {
    Refused { errno, why }
}

impl Request {
    /// Read a head.
    pub(super) fn parse(bytes: &[u8; REQUEST_BYTES]) -> Result<Self, Error> {
        let [m0, m1, m2, m3, f0, f1, c0, c1, rest @ ..] = *bytes;
        let magic = u32::from_be_bytes([m0, m1, m2, m3]);
        if magic != REQUEST_MAGIC {
            return Err(Error::Magic {
                what: "a request",
                found: magic.into(),
            });
        }
        let [k0, k1, k2, k3, k4, k5, k6, k7, rest @ ..] = rest;
        let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3] = rest;
        Ok(Self {
            flags: u16::from_be_bytes([f0, f1]),
            command: u16::from_be_bytes([c0, c1]),
            cookie: u64::from_be_bytes([k0, k1, k2, k3, k4, k5, k6, k7]),
            at_bytes: u64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            len_bytes: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }

    /// Bytes of payload that follow.
    pub(super) fn payload_bytes(&self) -> u32 {
        if self.command == CMD_WRITE {
            self.len_bytes
        } else {
            0
        }
    }

    /// What it asks for, if this export can be asked for it.
    pub(super) fn command(&self, about: &About, terms: Terms) -> Result<Command, Refused> {
        let (own_flags, writes) = match self.command {
            CMD_READ if terms.structured => (FLAG_DF, false),
            CMD_READ | CMD_CACHE | CMD_FLUSH => (0, false),
            CMD_DISC => return Ok(Command::Leave),
            CMD_BLOCK_STATUS => (FLAG_REQ_ONE, false),
            CMD_WRITE | CMD_TRIM => (0, true),
            CMD_WRITE_ZEROES => (FLAG_NO_HOLE | FLAG_FAST_ZERO, true),
            _ => return Err(refused(Errno::Inval, "there is no such command")),
        };
        if self.flags & !(own_flags | FLAG_FUA) != 0 {
            return Err(refused(Errno::Inval, "the command has no such flag"));
        }
        if writes && !about.is_writable {
            return Err(refused(Errno::Perm, "the export is read-only"));
        }
        if self.command == CMD_FLUSH {
            return Ok(Command::Flush);
        }
        let range = self.range(about)?;
        let has = |flag| self.flags & flag != 0;
        Ok(match self.command {
            CMD_READ => Command::Read {
                range,
                whole: has(FLAG_DF),
            },
            CMD_WRITE => Command::Write { range },
            CMD_TRIM => Command::Trim { range },
            CMD_WRITE_ZEROES => Command::Zero {
                range,
                may_unmap: !has(FLAG_NO_HOLE),
            },
            CMD_BLOCK_STATUS if !terms.has_contexts => {
                return Err(refused(Errno::Inval, "no metadata context was negotiated"));
            }
            CMD_BLOCK_STATUS => Command::Status {
                range,
                one: has(FLAG_REQ_ONE),
            },
            _ => Command::Cache,
        })
    }

    fn range(&self, about: &About) -> Result<Range, Refused> {
        let (at_bytes, len_bytes) = (self.at_bytes, self.len_bytes);
        if len_bytes == 0 {
            return Err(refused(Errno::Inval, "the range is empty"));
        }
        let moves = matches!(self.command, CMD_READ | CMD_WRITE);
        if moves && len_bytes > MOST_PAYLOAD_BYTES {
            return Err(refused(Errno::Inval, "at most 32 MiB can be moved at once"));
        }
        let end = at_bytes.checked_add(len_bytes.into());
        if end.is_none_or(|end| end > about.size_bytes) {
            let errno = match self.command {
                CMD_WRITE | CMD_WRITE_ZEROES => Errno::NoSpace,
                _ => Errno::Inval,
            };
            return Err(refused(errno, "the range lies beyond the end"));
        }
        let block_bytes = about.block_bytes;
        if !at_bytes.is_multiple_of(block_bytes.into()) || !len_bytes.is_multiple_of(block_bytes) {
            return Err(refused(
                Errno::Inval,
                "offset and length must be multiples of the minimum block size",
            ));
        }
        Ok(Range {
            at_bytes,
            len_bytes,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        structured: true,
        has_contexts: true,
    };

    fn about(is_writable: bool) -> About {
        About {
            name: "vm1".into(),
            description: String::new(),
            size_bytes: 1 << 20,
            block_bytes: 512,
            is_writable,
            is_shared: true,
        }
    }

    fn request(command: u16, flags: u16, at_bytes: u64, len_bytes: u32) -> Request {
        let bytes = [
            &REQUEST_MAGIC.to_be_bytes()[..],
            &flags.to_be_bytes(),
            &command.to_be_bytes(),
            &7_u64.to_be_bytes(),
            &at_bytes.to_be_bytes(),
            &len_bytes.to_be_bytes(),
        ];
        let bytes = bytes.concat();
        let request = Request::parse(bytes.first_chunk().unwrap()).unwrap();
        assert_eq!(request.cookie, 7);
        request
    }

    fn errno(request: Request, is_writable: bool) -> Option<Errno> {
        let command = request.command(&about(is_writable), TERMS);
        command.err().map(|refused| refused.errno)
    }

    #[test]
    fn what_is_no_request_ends_the_conversation() {
        let wrong = Request::parse(&[0x41; REQUEST_BYTES]);
        assert!(matches!(wrong, Err(Error::Magic { .. })));
    }

    #[test]
    fn each_command_has_its_flags() {
        for (command, flags) in [
            (CMD_READ, FLAG_DF),
            (CMD_WRITE, 0),
            (CMD_TRIM, 0),
            (CMD_CACHE, 0),
            (CMD_FLUSH, 0),
            (CMD_WRITE_ZEROES, FLAG_NO_HOLE | FLAG_FAST_ZERO),
            (CMD_BLOCK_STATUS, FLAG_REQ_ONE),
        ] {
            for bit in 0..16 {
                let flag = 1 << bit;
                let refused = errno(request(command, flag, 0, 512), true);
                let is_known = flag & (flags | FLAG_FUA) != 0;
                let wanted = (!is_known).then_some(Errno::Inval);
                assert_eq!(refused, wanted, "flag {flag:#x} of command {command}");
            }
        }
        assert_eq!(errno(request(8, 0, 0, 512), true), Some(Errno::Inval));
        assert_eq!(
            errno(request(u16::MAX, 0, 0, 512), true),
            Some(Errno::Inval)
        );
        let plain = Terms {
            structured: false,
            has_contexts: false,
        };
        let one_piece = request(CMD_READ, FLAG_DF, 0, 512);
        assert!(one_piece.command(&about(true), plain).is_err());
        let status = request(CMD_BLOCK_STATUS, 0, 0, 512);
        assert!(status.command(&about(true), plain).is_err());
    }

    #[test]
    fn ranges_lie_inside_the_export_and_are_aligned() {
        let at = |command, at, len| errno(request(command, 0, at, len), true);
        let end = 1 << 20;
        for (command, beyond) in [
            (CMD_READ, Errno::Inval),
            (CMD_WRITE, Errno::NoSpace),
            (CMD_TRIM, Errno::Inval),
            (CMD_WRITE_ZEROES, Errno::NoSpace),
            (CMD_CACHE, Errno::Inval),
            (CMD_BLOCK_STATUS, Errno::Inval),
        ] {
            assert_eq!(at(command, end - 512, 512), None);
            assert_eq!(at(command, 0, 0), Some(Errno::Inval));
            assert_eq!(at(command, end - 512, 1024), Some(beyond));
            assert_eq!(at(command, end, 512), Some(beyond));
            assert_eq!(at(command, u64::MAX - 511, 512), Some(beyond));
            assert_eq!(at(command, 1, 512), Some(Errno::Inval));
            assert_eq!(at(command, 512, 513), Some(Errno::Inval));
        }
        let large = About {
            size_bytes: 1 << 40,
            ..about(true)
        };
        let most = request(CMD_READ, 0, 0, MOST_PAYLOAD_BYTES);
        assert!(most.command(&large, TERMS).is_ok());
        let more = request(CMD_READ, 0, 0, MOST_PAYLOAD_BYTES + 512);
        assert!(more.command(&large, TERMS).is_err());
        let zeros = request(CMD_WRITE_ZEROES, 0, 0, !511);
        assert!(zeros.command(&large, TERMS).is_ok());
    }

    #[test]
    fn a_read_only_export_can_be_flushed_and_not_written() {
        for command in [CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES] {
            let refused = errno(request(command, 0, 0, 512), false);
            assert_eq!(refused, Some(Errno::Perm));
        }
        assert_eq!(errno(request(CMD_FLUSH, 0, 0, 0), false), None);
        assert_eq!(errno(request(CMD_CACHE, 0, 0, 512), false), None);
        assert_eq!(request(CMD_WRITE, 0, 0, 512).payload_bytes(), 512);
        assert_eq!(request(CMD_READ, 0, 0, 512).payload_bytes(), 0);
    }
}
