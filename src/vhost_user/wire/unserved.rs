//! Messages that are not supported: their feature is not offered or was not negotiated, or they are
//! unknown.
//!
//! If the front end asks for an acknowledgement (NEED_REPLY), it gets a failure, and the connection
//! goes on (REPLY_ACK: a back end must answer). Otherwise a message that means nothing to a disk is
//! skipped. If the front end would wait for a reply that never comes, or believe that something was
//! done that wasn't, its connection ends.

use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures as Feature};

use super::peek::Peeked;

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is handled.
    Serve,
    /// It is answered with a failure.
    Refuse,
    /// It is skipped.
    Skip,
    /// It ends the connection, for this reason.
    End(&'static str),
}

/// What a message needs to be handled.
enum Needs {
    Nothing,
    Feature(Feature),
    /// It is never handled. `can_skip` says whether its front end can go on without an answer.
    Never {
        can_skip: bool,
    },
}

/// What to do with `message` if these features were negotiated.
pub(crate) fn judge(message: &Peeked, acked: Feature) -> Verdict {
    let (can_skip, why) = match needs(message.request) {
        Needs::Nothing => return Verdict::Serve,
        Needs::Feature(feature) if acked.contains(feature) => return Verdict::Serve,
        Needs::Feature(_) => (false, "its protocol feature was not negotiated"),
        Needs::Never { can_skip } => (can_skip, "this back end does not support it"),
    };
    if !message.is_sound() {
        // The crate's handler refuses it with a reason.
        Verdict::Serve
    } else if message.needs_reply() && acked.contains(Feature::REPLY_ACK) {
        Verdict::Refuse
    } else if can_skip {
        Verdict::Skip
    } else {
        Verdict::End(why)
    }
}

fn needs(request: u32) -> Needs {
    let Ok(known) = FrontendReq::try_from(request) else {
        return Needs::Never { can_skip: true };
    };
    match known {
        FrontendReq::GET_FEATURES
        | FrontendReq::SET_FEATURES
        | FrontendReq::SET_OWNER
        | FrontendReq::RESET_OWNER
        | FrontendReq::SET_MEM_TABLE
        | FrontendReq::SET_VRING_NUM
        | FrontendReq::SET_VRING_ADDR
        | FrontendReq::SET_VRING_BASE
        | FrontendReq::GET_VRING_BASE
        | FrontendReq::SET_VRING_KICK
        | FrontendReq::SET_VRING_CALL
        | FrontendReq::SET_VRING_ERR
        | FrontendReq::GET_PROTOCOL_FEATURES
        | FrontendReq::SET_PROTOCOL_FEATURES
        | FrontendReq::SET_VRING_ENABLE => Needs::Nothing,
        FrontendReq::GET_QUEUE_NUM => Needs::Feature(Feature::MQ),
        FrontendReq::SET_BACKEND_REQ_FD => Needs::Feature(Feature::BACKEND_REQ),
        FrontendReq::GET_CONFIG | FrontendReq::SET_CONFIG => Needs::Feature(Feature::CONFIG),
        FrontendReq::GET_INFLIGHT_FD | FrontendReq::SET_INFLIGHT_FD => {
            Needs::Feature(Feature::INFLIGHT_SHMFD)
        }
        FrontendReq::RESET_DEVICE => Needs::Feature(Feature::RESET_DEVICE),
        FrontendReq::GET_MAX_MEM_SLOTS | FrontendReq::ADD_MEM_REG | FrontendReq::REM_MEM_REG => {
            Needs::Feature(Feature::CONFIGURE_MEM_SLOTS)
        }
        FrontendReq::SET_DEVICE_STATE_FD | FrontendReq::CHECK_DEVICE_STATE => {
            Needs::Feature(Feature::DEVICE_STATE)
        }
        FrontendReq::SET_LOG_FD
        | FrontendReq::SEND_RARP
        | FrontendReq::NET_SET_MTU
        | FrontendReq::CLOSE_CRYPTO_SESSION
        | FrontendReq::GPU_SET_SOCKET
        | FrontendReq::SET_STATUS => Needs::Never { can_skip: true },
        // These have a reply of their own, or change how rings are served.
        _ => Needs::Never { can_skip: false },
    }
}
