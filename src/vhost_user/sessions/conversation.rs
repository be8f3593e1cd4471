//! A connection, message by message, until it ends.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::PollFlags;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures as Feature};
use vhost::vhost_user::{BackendReqHandler, Error as WireError};

use super::session::Session;
use crate::store::points;
use crate::vhost_user::error::{Error, patience};
use crate::vhost_user::wire::descriptor::check_channel;
use crate::vhost_user::wire::peek;
use crate::vhost_user::wire::ready::wait_ready;
use crate::vhost_user::wire::unserved::{self, Verdict};

/// Handle messages until the connection ends. When this returns, no ring of the session is served.
pub(super) fn converse(stream: UnixStream, session: Session) -> Result<(), Error> {
    let mut conversation = Conversation::new(stream, session)?;
    while conversation.step()? {}
    Ok(())
}

/// A connection, message by message. When it is dropped, no ring of its session is served.
pub(crate) struct Conversation {
    peeker: UnixStream,
    /// The crate requires its handler to be behind a lock, which no other thread ever takes.
    session: Arc<std::sync::Mutex<Session>>,
    handler: BackendReqHandler<std::sync::Mutex<Session>>,
}

impl Conversation {
    pub(crate) fn new(stream: UnixStream, session: Session) -> Result<Self, Error> {
        let peeker = stream.try_clone().map_err(Error::Socket)?;
        let session = Arc::new(std::sync::Mutex::new(session));
        let handler = BackendReqHandler::from_stream(stream, Arc::clone(&session));
        Ok(Self {
            peeker,
            session,
            handler,
        })
    }

    /// Wait for the next message and handle it. Returns `false` if the front end has closed the
    /// connection.
    pub(crate) fn step(&mut self) -> Result<bool, Error> {
        while let Some(limit) = self.session.lock().ok().and_then(|it| it.look_again_in()) {
            if peek::comes_within(&self.peeker, limit)? {
                break;
            }
            self.check_memory()?;
            if let Ok(mut session) = self.session.lock() {
                session.look_out();
            }
        }
        let Some(message) = peek::next(&self.peeker)? else {
            self.check_memory()?;
            return Ok(false);
        };
        self.await_room()?;
        points::may_fail("session-asked").map_err(Error::Socket)?;
        let request = message.request;
        let acked = self.session.lock().map(|session| session.acked_protocol);
        match unserved::judge(&message, acked.unwrap_or_else(|_| Feature::empty())) {
            Verdict::Serve => {}
            Verdict::Refuse => {
                tracing::debug!(request, "message refused: it is not supported");
                return message.refuse(&self.peeker).map(|()| true);
            }
            Verdict::Skip => {
                self.log_skipped(request);
                return message.pass_over(&self.peeker).map(|()| true);
            }
            Verdict::End(reason) => {
                let reason = reason.to_owned();
                return Err(Error::Protocol { request, reason });
            }
        }
        if request == FrontendReq::SET_BACKEND_REQ_FD as u32
            && let Ok([socket]) = <[OwnedFd; 1]>::try_from(message.fds)
        {
            check_channel(&socket).map_err(|error| Error::Protocol {
                request,
                reason: error.to_string(),
            })?;
            if let Ok(mut session) = self.session.lock() {
                session.channel_arrives(socket);
            }
        }
        let handled = self.handler.handle_request();
        self.check_memory()?;
        match handled {
            Ok(()) => Ok(true),
            Err(WireError::Disconnected) => Ok(false),
            Err(WireError::ReqHandlerError(error))
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                tracing::debug!(request, %error, "message refused");
                Ok(true)
            }
            Err(error) => Err(Error::Protocol {
                request,
                reason: error.to_string(),
            }),
        }
    }

    fn log_skipped(&self, request: u32) {
        if let Ok(session) = self.session.lock()
            && let Some(withheld) = session.backend.log_limit.may_log()
        {
            tracing::warn!(request, withheld, "message skipped: it is not supported");
        }
    }

    /// Wait until a reply can be sent, since the crate would try for ever. A writable socket has
    /// room for more than the longest reply.
    fn await_room(&self) -> Result<(), Error> {
        let deadline = Instant::now() + patience();
        wait_ready(&self.peeker, PollFlags::OUT, deadline).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Error::Deaf,
            _ => Error::Socket(error),
        })
    }

    fn check_memory(&self) -> Result<(), Error> {
        if self.session.lock().is_ok_and(|session| session.is_lost()) {
            return Err(Error::MemoryLost);
        }
        Ok(())
    }
}

#[cfg(ramblk_rings)]
impl Conversation {
    /// Call `look` with the session, between two messages.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Session) -> T) -> Option<T> {
        self.session.lock().ok().map(|session| look(&session))
    }
}
