//! Messages that are not served here: their feature is not offered or was not negotiated, or they
//! are unknown.
//!
//! A front end that asks for an acknowledgement (NEED_REPLY) gets a negative one, and goes on
//! ("REPLY_ACK": a back end must answer). Any other can go on too if the message means nothing to a
//! disk. If it would wait for a reply that never comes, or believe that something is done which
//! isn't, its connection ends instead.

use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures as Feature};

use super::peek::Peeked;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is handled.
    Serve,
    /// It gets a negative acknowledgement.
    Refuse,
    /// It is skipped.
    Skip,
    /// The connection can't go on, and why.
    End(&'static str),
}

/// What it takes to serve a message.
enum Needs {
    Nothing,
    Feature(Feature),
    /// It never is; whether a front end that sent it could be left without an answer.
    Never {
        can_skip: bool,
    },
}

/// What becomes of `message` where these features were taken.
pub(crate) fn judge(message: &Peeked, acked: Feature) -> Verdict {
    let (can_skip, why) = match needs(message.request) {
        Needs::Nothing => return Verdict::Serve,
        Needs::Feature(feature) if acked.contains(feature) => return Verdict::Serve,
        Needs::Feature(_) => (false, "its protocol feature was not negotiated"),
        Needs::Never { can_skip } => (can_skip, "this back end does not serve it"),
    };
    if !message.is_sound() {
        // The handler of messages refuses it with a reason.
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
        // Those that have a reply of their own, and those that change how rings are served.
        _ => Needs::Never { can_skip: false },
    }
}
