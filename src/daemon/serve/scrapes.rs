//! The socket for scrapes of metrics, which is made before the sandbox and listens later.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::daemon::Error;

/// The most connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket that has no address yet.
#[derive(Debug)]
pub(super) struct Scrapes {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Scrapes {
    /// Make the socket.
    ///
    /// # Errors
    /// [`Error::Usage`] if the system has no such sockets.
    pub(super) fn new(address: SocketAddr) -> Result<Self, Error> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(family, kind, flags, None);
        let socket = socket.map_err(|error| refused(address, error.into()))?;
        Ok(Self { socket, address })
    }

    /// Listen for scrapes. Any host that reaches the address can read them.
    ///
    /// # Errors
    /// [`Error::Usage`] if the address can't be used.
    pub(super) fn listen(self) -> Result<TcpListener, Error> {
        let (socket, address) = (self.socket, self.address);
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "metrics can be read by other hosts");
        }
        // As the standard library does, for a restart while old connections linger.
        let listening = sockopt::set_socket_reuseaddr(&socket, true)
            .and_then(|()| rustix::net::bind(&socket, &address))
            .and_then(|()| rustix::net::listen(&socket, BACKLOG));
        listening.map_err(|error| refused(address, error.into()))?;
        Ok(TcpListener::from(socket))
    }
}

fn refused(address: SocketAddr, error: std::io::Error) -> Error {
    Error::Usage(format!(
        "can't listen for scrapes at {address}: {error}; choose another --metrics-listen (in a \
         service, RestrictAddressFamilies= must have AF_INET and AF_INET6)"
    ))
}
